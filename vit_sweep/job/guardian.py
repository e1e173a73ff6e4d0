"""A rank's second thread: it hears signals, sees a standstill, and notes when memory runs short. An edge, no torch.

It is a thread because the main one may sit in a collective for minutes, where no Python handler would run. USR2 and
TERM are blocked in every thread and taken by this one with `sigtimedwait`. (What a rank starts inherits the
block: the loader's workers are meant to, see `data.prepare.worker`, and nothing is compiled in a job.)

What it learns is written into the rank's file at once, before a KILL can follow.
"""

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable

from launchers.process.environment import SIGNALS
from vit_sweep.job.host_memory import resident_mib
from vit_sweep.job.rank_log import RankLog, now, peak_host_mib, say
from vit_sweep.outcome.ending import Cause, DeviceMemory, HostMemory, RankEnd
from vit_sweep.outcome.failure import StopRequest

TERM_GRACE_S = 20.0
"""How long a rank may take to stop after TERM. Slurm sends KILL after KillWait, 30 s unless the site says otherwise."""
USR2_GRACE_S = 75.0
"""The same after USR2, which scripts ask for 90 s before the time limit."""
START_S = 1200.0
"""How long a start, a checkpoint and any other work without steps may take at least. Longer than a rank waits for the
one that copies the node's data, and for rank 0."""
WAIT_S = 120.0
"""How long a rank that starts may wait for another one, or for the network, without a sign."""
_WAITING = "waiting for "
_SIGN_S = 10.0
"""Between two signs of life of a rank that starts."""
_STEPPING = ("training", "evaluating")
_NEAR, _NEARER = 0.85, 1.05
_TICK_S = 1.0
_STANDSTILL_S = 2.5 * _TICK_S
"""A gap between two ticks from which on the process may have been stopped."""
_TOGETHER_S = 0.2
"""How long after SIGTERM a SIGUSR2 may come and be of the same event."""
_LAST_WRITE_S = 30


def block_signals() -> None:
    """Before any other thread exists: what comes from now on waits for the guardian."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS, signal.SIGCONT})  # blocked or not, SIGCONT continues a process
    for number in SIGNALS:
        # A script that ignores one (`trap ''`) hands that down, and what is ignored is not even kept waiting.
        signal.signal(number, signal.SIG_DFL)


def stop_request_of(number: signal.Signals, *, at: float, ends: float | None) -> StopRequest:
    """What a signal means at unix time `at`, in a job whose time limit is at `ends` (None: it has none)."""
    if number is signal.SIGUSR2:
        if ends is not None and at >= ends - 200:
            cause, message = Cause.TIME_LIMIT, "the scheduler warned that the time limit is near (SIGUSR2)"
        else:
            cause, message = Cause.PREEMPTED, "the scheduler warned that it takes the job's place away (SIGUSR2)"
    elif ends is not None and at >= ends - 60:
        cause, message = Cause.TIME_LIMIT, "the time limit ended the job (SIGTERM)"
    else:
        cause, message = Cause.TERMINATED, "the job was told to end (SIGTERM)"
    return StopRequest(cause=cause, message=message, signal=number.name)


class Guardian:
    """Watches the rank that made it, from `start` until the process is gone."""

    def __init__(self, log: RankLog, *, ends: float | None = None, memory_limit_mib: float | None = None) -> None:
        """`ends`: unix time of the job's time limit. `memory_limit_mib`: this rank's share, None: unknown."""
        self._log, self._ends, self._memory_limit_mib = log, ends, memory_limit_mib
        self._hang_s = START_S
        self._beat = ("starting", 0, 0)
        self._seen, self._silent_s = self._beat, 0.0
        self._noted_mib = 0.0
        self._stopped_s = 0.0
        self._sign_s = 0.0
        self._looked_at = time.monotonic(), time.process_time()
        self._lock = threading.Lock()
        self._ask: Callable[[StopRequest], None] | None = None
        self._request: StopRequest | None = None
        self._grace_s: float | None = None

    @property
    def stop_request(self) -> StopRequest | None:
        """Why the job was told to end, once it was; the first signal's request stays."""
        return self._request

    def start(self) -> None:
        """Begin to watch; the caller has blocked the signals."""
        threading.Thread(target=self._run, name="guardian", daemon=True).start()

    def beat(self, phase: str, epoch: int, step: int) -> None:
        """Say that work goes on: `step` optimizer steps of `epoch` are finished. One store, cheap in a timed loop."""
        self._beat = (phase, epoch, step)

    def starting(self, doing: str) -> bool:
        """Say what the rank does before its first step; returns whether that is new.

        What begins `waiting for` is ended after `WAIT_S`, unless it is said again: by a loop that has a bound itself.
        """
        self.beat(doing or "starting", 0, 0)
        return self._log.doing(doing)

    def watch(self, *, hang_minutes: float) -> None:
        """Set how long steps may make no progress."""
        self._hang_s = hang_minutes * 60

    def stop_by(self, on_request: Callable[[StopRequest], None] | None) -> None:
        """Register what ends the training in good order, or None when nothing can any more.

        Whoever was told to end before is asked now.
        """
        with self._lock:
            self._ask = on_request
            request = self._request
        if on_request is not None and request is not None:
            on_request(request)

    def end_of(
        self,
        cause: Cause,
        message: str,
        *,
        signal: str | None = None,
        device_memory: DeviceMemory | None = None,
        traceback: str | None = None,
    ) -> RankEnd:
        """An end at the place where the rank is now."""
        _, epoch, step = self._beat
        return RankEnd(
            at=now(),
            cause=cause,
            message=message,
            signal=signal,
            epoch=epoch,
            step=step,
            peak_host_mib=peak_host_mib(),
            device_memory=device_memory,
            traceback=traceback,
        )

    def stopped_s(self) -> float:
        """How long the whole process stood still since `start`, in seconds: suspended by the scheduler, or stopped."""
        with self._lock:
            self._look_for_a_stop(continued=signal.SIGCONT in signal.sigpending())
            return self._stopped_s

    def _look_for_a_stop(self, *, continued: bool) -> None:
        """A gap between ticks is a standstill if SIGCONT ended it, or next to nothing was computed meanwhile.

        Otherwise somebody held the interpreter's lock, or the host was busy: the process worked on, if slowly.
        """
        (wall_s, cpu_s), self._looked_at = self._looked_at, (time.monotonic(), time.process_time())
        gap_s, busy_s = self._looked_at[0] - wall_s, self._looked_at[1] - cpu_s
        if gap_s > _STANDSTILL_S and (continued or busy_s < gap_s / 100):
            self._stopped_s += gap_s - _TICK_S / 2  # it stopped somewhere between two ticks

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            received = signal.sigtimedwait({*SIGNALS, signal.SIGCONT}, _TICK_S)
            # CPython: after SIGCONT, when the time is over, it returns what happened to be in memory; the signal waits.
            continued = received is not None and received.si_signo == signal.SIGCONT
            with self._lock:
                self._look_for_a_stop(continued=continued or signal.SIGCONT in signal.sigpending())
            if received is not None and received.si_signo in SIGNALS:
                self._signalled(signal.Signals(received.si_signo))
            # A process that was itself stopped (SIGSTOP, a suspended job) has missed only one tick.
            passed, last = min(time.monotonic() - last, 2 * _TICK_S), time.monotonic()
            self._count_silence(passed)
            self._give_sign(passed)
            self._count_grace(passed)
            self._look_at_memory()

    def _signalled(self, number: signal.Signals) -> None:
        # Slurm sends both at a preemption without a grace, in either order: only USR2 says that it is one.
        warned = number is signal.SIGTERM and signal.sigtimedwait({signal.SIGUSR2}, _TOGETHER_S) is not None
        with self._lock:
            is_first = self._request is None
            why = signal.SIGUSR2 if warned else number
            request = self._request or stop_request_of(why, at=time.time(), ends=self._ends)
            self._request, on_request = request, self._ask
        grace_s = USR2_GRACE_S if number is signal.SIGUSR2 else TERM_GRACE_S
        self._grace_s = grace_s if self._grace_s is None else min(self._grace_s, grace_s)
        if is_first:
            self._log.end(self.end_of(request.cause, request.message, signal=request.signal))
            say(request.message)
            if on_request is not None:
                on_request(request)
        if on_request is None and number is signal.SIGTERM:
            _leave()

    def _count_grace(self, passed: float) -> None:
        if self._grace_s is None or self._request is None:
            return
        self._grace_s -= passed
        if self._grace_s <= 0:
            message = f"{self._request.message}; it could not stop in good order in time"
            self._log.end(self.end_of(self._request.cause, message, signal=self._request.signal))
            _leave()

    def _count_silence(self, passed: float) -> None:
        beat = self._beat
        self._silent_s = self._silent_s + passed if beat is self._seen else 0.0
        self._seen = beat
        phase, epoch, step = beat
        waits = phase.startswith(_WAITING)
        limit_s = WAIT_S if waits else self._hang_s if phase in _STEPPING else max(self._hang_s, START_S)
        if self._silent_s < limit_s or self._request is not None:
            return
        file = self._log.file
        position = f"{phase}, epoch {epoch}, step {step}" if phase in _STEPPING else phase
        message = f"no progress for {limit_s / 60:g} min in {position} (rank {file.rank} on {file.host})"
        if waits:
            message = f"rank {file.rank} on {file.host} was {phase} for {limit_s:g} s"
        # Where the file system itself hangs, the last write would wait for ever.
        faulthandler.dump_traceback_later(_LAST_WRITE_S, exit=True)
        say(message)
        faulthandler.dump_traceback()
        self._log.end(self.end_of(Cause.COMMUNICATION if waits else Cause.HANG, message), last=True)
        _leave()

    def _give_sign(self, passed: float) -> None:
        self._sign_s += passed
        if self._sign_s >= _SIGN_S and self._beat[0] not in _STEPPING:
            self._sign_s = 0.0
            self._log.sign()

    def _look_at_memory(self) -> None:
        limit = self._memory_limit_mib
        if limit is None:
            return
        resident = resident_mib()
        if resident > _NEAR * limit and resident > _NEARER * self._noted_mib:
            self._noted_mib = resident
            self._log.near_limit(HostMemory(resident_mib=round(resident, 1), limit_mib=round(limit, 1)))


def _leave() -> None:
    """End the process now: the main thread may be where no exception reaches it."""
    os._exit(1)
