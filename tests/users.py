"""Other users of this machine: an act in a forked process that has given up root. What it needs is imported before."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

OWNER, COLLEAGUE = 65501, 65502
"""Users without a name."""
GROUP = 65503


def act_as(uid: int, act: Callable[[], int], *, output: Path, umask: int = 0o022) -> tuple[int, str]:
    """Run `act` as the user `uid` of `GROUP`, in the current folder; returns its exit code, and what it printed."""
    with output.open("w+") as screen:
        child = os.fork()
        if child == 0:
            os.dup2(screen.fileno(), 1)
            os.dup2(screen.fileno(), 2)
            code = 99
            try:
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                os.setgroups([])
                os.setgid(GROUP)
                os.setuid(uid)
                os.umask(umask)
                code = act()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text()
