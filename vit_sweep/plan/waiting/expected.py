"""When a job is expected to start: by a simulation or by Slurm, corrected by how far off earlier forecasts were. Pure.

A forecast is learned from as a ratio of waits, (real + 1 min) / (expected + 1 min): a job that is expected in an hour
may be off by as many parts of it as one that is expected in a day. Forecasts of one look at the queue are off together,
so they count as one. Of n looks:

    start    = expected wait x median ratio, of whose logarithm is left what chance does not explain
    interval = as said, each end moved by the (n + 1) 90 %-th smallest ratio by which earlier starts lay beyond theirs
               (below 1 where they lay inside)

The latter is conformalized quantile regression (Romano, Patterson, Candes, NeurIPS 2019): as many starts as stated lie
inside, if the next look is like the earlier ones. It takes nine looks; with fewer, an end is only moved outwards: as
the start is, or as far as an earlier start lay beyond it.
"""

from collections.abc import Iterable, Sequence
from math import ceil, exp, inf, log, pi
from statistics import median
from typing import NamedTuple

from launchers.outlook import Outlook
from launchers.text import plural
from vit_sweep.plan.waiting.backfill import DRAWS, Stay, Wanted, starts

COVERED = 0.8
"""Of starts that lie in the interval."""
LEAST_S = 60.0
"""An error that is not worth learning from."""
_EACH = (1 + COVERED) / 2
"""Of starts that lie on the right side of one end."""
ENOUGH_LOOKS = round(_EACH / (1 - _EACH))
"""From so many on the interval covers what it says, whatever the errors are like."""
LOOK_S = 300.0
"""Forecasts of one sweep, which is sent within minutes, are of one look."""
LAST_LOOKS = 40
"""A queue of long ago says little."""
_OF_NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""
_ROUNDING = 1e-9
_LEAST_SPREAD = log(2)
"""Standard deviation of the logarithms of the ratios, at least: a few that agree prove nothing."""
_JOBS, _FEWEST = 400, 5
"""Jobs of a queue beyond which it is simulated less often, and the fewest times."""


class Said(NamedTuple):
    """What was said of a start, uncorrected."""

    at_s: float
    """When it was said."""
    start_s: float
    earliest_s: float
    latest_s: float


class Past(NamedTuple):
    """What was said, and what came."""

    said: Said
    started_s: float


class Expected(NamedTuple):
    """A start, and between which times four of five such starts lie."""

    start_s: float
    earliest_s: float
    latest_s: float
    jobs: int
    """Earlier jobs of the study that it is corrected by."""
    looks: int
    """Looks at the queue that these were forecast by."""

    def basis(self, source: str) -> str:
        """What it rests on, after `source`: "from the queue at 14:02", "from Slurm's plan"."""
        if not self.jobs:
            return f"{source}, no earlier job of this study to correct it by"
        few = f" ({plural(self.looks, 'look')}: few)" if self.looks < ENOUGH_LOOKS else ""
        return f"{source}, corrected by {plural(self.jobs, 'earlier job')} of this study{few}"


def from_queue(
    outlook: Outlook | str, wanted: Sequence[Wanted], *, seed: int = 0
) -> tuple[tuple[Said, ...] | str, ...]:
    """What a simulation of the queue says of each task of each wanted job, if all come into it now.

    In place of the tasks' starts: why nothing is known. `outlook`: a look at the queue, or why there is none.
    """
    if isinstance(outlook, str):
        return (outlook,) * len(wanted)
    if outlook.hidden is not None:
        return (outlook.hidden,) * len(wanted)
    drawn = starts(outlook, wanted, draws=draws_of(outlook), seed=seed)
    return tuple(_said(outlook, one, [stays[place] for stays in drawn]) for place, one in enumerate(wanted))


def draws_of(outlook: Outlook) -> int:
    """How often a queue is simulated: a long one less often, so that nobody waits for it."""
    return max(_FEWEST, min(DRAWS, DRAWS * _JOBS // max(1, len(outlook.jobs))))


def from_slurm(at_s: float, start_s: float) -> Said:
    """What Slurm says of a submitted job: by limits, so the job may start at any time until then."""
    return Said(at_s, max(at_s, start_s), at_s, max(at_s, start_s))


def corrected(said: Said, past: Iterable[Past]) -> Expected:
    """Correct a forecast by earlier ones of the same kind (simulated, or Slurm's)."""
    alike = (one for one in past if one.said.at_s <= said.at_s and _at_once(one.said) == _at_once(said))
    known = sorted(alike, key=lambda one: one.said.at_s)
    looks = _by_look(known)[-LAST_LOOKS:]
    shift = _shift([median(_beyond(one, one.said.start_s) for one in look) for look in looks])
    before = [median(-_beyond(one, one.said.earliest_s) for one in look) for look in looks]
    after = [median(_beyond(one, one.said.latest_s) for one in look) for look in looks]
    earlier, later = _farther(before, -shift), _farther(after, shift)
    start = _moved(said, said.start_s, shift)
    earliest, latest = _moved(said, said.earliest_s, -earlier), _moved(said, said.latest_s, later)
    return Expected(start, min(earliest, start), max(latest, start), sum(map(len, looks)), len(looks))


def _said(outlook: Outlook, wanted: Wanted, drawn: Sequence[Sequence[Stay]]) -> tuple[Said, ...] | str:
    tasks = [sorted(stays[task].start_s for stays in drawn) for task in range(len(wanted.runs_s))]
    ends = [(times[0], times[-1]) if len(drawn) >= _FEWEST else (outlook.at_s, inf) for times in tasks]
    said = tuple(Said(outlook.at_s, times[(len(times) - 1) // 2], *end) for times, end in zip(tasks, ends, strict=True))
    return why_never(outlook, wanted) if said and said[0].start_s == inf else said


def why_never(outlook: Outlook, wanted: Wanted) -> str:
    """Why nothing that is known lets a job start."""
    partitions = wanted.partitions or outlook.default_partitions
    if not partitions:
        return "the profile names no partition, and which is Slurm's default one is not known here"
    names = " or ".join(partitions)
    there = [room for room in outlook.nodes if set(room.partitions) & set(partitions)]
    fitting = [room for room in there if room.gpus >= wanted.gpus_per_node]
    usable = [room for room in fitting if room.usable]
    if not there:
        return f"the queue shows no node of partition {names}"
    if len(fitting) < wanted.nodes:
        return (
            f"partition {names} has {plural(len(fitting), 'node')} with {plural(wanted.gpus_per_node, 'GPU')} or more, "
            f"and {wanted.nodes} are asked for"
        )
    if len(usable) < wanted.nodes:
        return (
            f"{len(fitting) - len(usable)} of {plural(len(fitting), 'node')} in partition {names} are down or drained"
        )
    return (
        f"partition {names} has too long a queue to follow ({plural(len(outlook.jobs), 'job')}), is held by jobs "
        "without a time limit, or the nodes asked for are not there"
    )


def _by_look(past: Sequence[Past]) -> list[list[Past]]:
    looks: list[list[Past]] = []
    for one in past:
        if not looks or one.said.at_s - looks[-1][0].said.at_s > LOOK_S:
            looks.append([])
        looks[-1].append(one)
    return looks


def _at_once(said: Said) -> bool:
    return said.start_s - said.at_s < LEAST_S


def _wait(said: Said, moment_s: float) -> float:
    return max(0.0, moment_s - said.at_s) + LEAST_S


def _beyond(one: Past, end_s: float) -> float:
    """How far a start lay beyond a moment: the logarithm of the ratio of waits."""
    return log(_wait(one.said, one.started_s)) - log(_wait(one.said, end_s))


def _moved(said: Said, moment_s: float, shift: float) -> float:
    """A moment whose wait is so much longer."""
    return said.at_s + max(0.0, _wait(said, moment_s) * exp(shift) - LEAST_S)


def _shift(ratios: Sequence[float]) -> float:
    """The median of logarithms, less what chance explains: a positive-part James-Stein estimate.

    A median's variance is pi/2 of a mean's; the spread is taken from the median absolute deviation.
    """
    if not ratios or (middle := median(ratios)) == 0:
        return 0.0
    spread = max(_LEAST_SPREAD, _OF_NORMAL * median(abs(ratio - middle) for ratio in ratios))
    return middle * max(0.0, 1 - pi / 2 * spread**2 / len(ratios) / middle**2)


def _farther(beyond: Iterable[float], shift: float) -> float:
    """How far an end of an interval has to move outwards, by how far starts lay beyond it."""
    known = sorted(one for one in beyond if one > -inf)  # an end that was left open teaches nothing
    if len(known) < ENOUGH_LOOKS:
        return max([0.0, shift, *known])
    return known[min(len(known), ceil(_EACH * (len(known) + 1) - _ROUNDING)) - 1]
