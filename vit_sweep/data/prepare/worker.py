"""A forked worker of torch's DataLoader: it ends when its rank ends or says so, and by nobody else's signal."""

import ctypes
import multiprocessing
import os
import signal
import threading

from launchers.process.environment import SIGNALS

_PR_SET_PDEATHSIG = 1


def begin_worker(_number: int) -> None:
    """The first thing in a worker.

    It dies with the process that forked it, however that dies: otherwise it would hold the rank's sockets open, and the
    other ranks would not see it go. A scheduler sends its warnings (USR2, TERM) to every process of a job; the rank
    answers them by a checkpoint, and needs its workers until then. So a worker heeds only the TERM of its rank.
    """
    starter = multiprocessing.parent_process()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if starter is None or starter.pid is None or os.getppid() != starter.pid:  # gone before the kernel was asked
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_heed, args=(starter.pid,), name="heed the rank", daemon=True).start()


def _heed(starter: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != starter:
        pass
    os._exit(0)
