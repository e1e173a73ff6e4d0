"""What a stretch of work cost this process on its host: processor time, waiting for a core, standing still. An edge."""

import os
import resource
import time
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
        waited_s=_waited_s(),
        switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        pressure_s=_pressure_s(),
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


def _waited_s() -> float | None:
    """How long this thread could run and had no core: the second number of its schedstat (proc(5)), nanoseconds."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def _pressure_s() -> float | None:
    """How long some task of this host waited for a core: `some ... total=` of its pressure file, microseconds."""
    try:
        return int(Path("/proc/pressure/cpu").read_text().split("total=", 1)[1].split()[0]) / 1e6
    except (OSError, IndexError, ValueError):
        return None
