"""What a stretch of work cost this process on its host: processor time, waiting for a core, standing still. An edge."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vit_sweep.record.machine import HostTime


class Moment(NamedTuple):
    """Running sums at one moment, in seconds; None where the kernel does not keep one."""

    wall_s: float
    cpu_s: float
    waited_s: float | None
    switches: int
    pressure_s: float | None
    stopped_s: float


def moment(stopped_s: float) -> Moment:
    """Now, in the thread that does the work; `stopped_s`: how long the process stood still so far."""
    return Moment(
        wall_s=time.perf_counter(),
        cpu_s=time.process_time(),
        # How long this thread could run and had no core: the second number (proc(5)), nanoseconds.
        waited_s=_kept("/proc/thread-self/schedstat", lambda text: text.split()[1], 1e9),
        switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        # How long some task of this host waited for a core: `some ... total=`, microseconds.
        pressure_s=_kept("/proc/pressure/cpu", lambda text: text.split("total=", 1)[1].split()[0], 1e6),
        stopped_s=stopped_s,
    )


def between(before: Moment, after: Moment) -> HostTime:
    """What passed between two moments of the same thread."""
    seconds = after.wall_s - before.wall_s
    waited_s, pressure_s = _passed(before.waited_s, after.waited_s), _passed(before.pressure_s, after.pressure_s)
    return HostTime(
        seconds=round(seconds, 6),
        cpu_s=round(after.cpu_s - before.cpu_s, 6),
        waited_s=waited_s,
        switches=after.switches - before.switches,
        pressure=None if pressure_s is None or not seconds else round(min(pressure_s / seconds, 1.0), 4),
        load=round(os.getloadavg()[0], 2),
        stopped_s=round(after.stopped_s - before.stopped_s, 3),
    )


def _passed(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else round(after - before, 6)


def _kept(path: str, number: Callable[[str], str], per_second: float) -> float | None:
    """A running sum of the kernel's, in seconds: `number` of the text of a file of it."""
    try:
        return int(number(Path(path).read_text())) / per_second
    except (OSError, IndexError, ValueError):
        return None
