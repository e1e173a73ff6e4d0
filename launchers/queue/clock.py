"""When a queue warns a task of its time limit, when it ends it, and when it kills what did not end. Pure."""

from dataclasses import dataclass
from enum import StrEnum

WARNING_S = 90.0
"""How long before its time limit a task is warned."""
SIBLING_GRACE_S = 10.0
"""How long the other ranks may go on writing after one has failed."""


class Due(StrEnum):
    """What a queue has to do for a running task now."""

    NOTHING = "nothing"
    WARN = "warn"
    """SIGUSR2: the time limit is near."""
    TIME_LIMIT = "time_limit"
    """SIGTERM: the time limit is reached."""
    END_THE_REST = "end_the_rest"
    """SIGTERM: a rank has failed, and the others wait for it for ever."""
    KILL = "kill"
    """SIGKILL: it was told to end, and did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What has happened to one start of a task, in seconds of one clock that never steps; None: not yet."""

    begun: float
    limit_s: float
    """Time limit."""
    grace_s: float
    """Between being told to end and being killed."""
    warned: float | None = None
    broken: float | None = None
    """When a rank had failed and others lived."""
    terminated: float | None = None
    """When the ranks were told to end."""
    killed: float | None = None


def warn_after(limit_s: float) -> float:
    """Seconds after its start at which a task is warned: 90 before its limit, or at half of a limit below 180."""
    return max(limit_s - WARNING_S, limit_s / 2)


def next_due(moments: Moments) -> float | None:
    """Return when `due` will have an answer, if nothing happens before; None: never.

    Whoever has done what is due, and noted it, can wait until then.
    """
    if moments.terminated is not None:
        return moments.terminated + moments.grace_s if moments.killed is None else None
    if moments.broken is not None:
        return moments.broken + SIBLING_GRACE_S
    limit = moments.begun + moments.limit_s
    return limit if moments.warned is not None else min(limit, moments.begun + warn_after(moments.limit_s))


def due(moments: Moments, now: float) -> Due:
    """Return what is due at `now`. Each answer but `nothing` holds until its moment has been noted."""
    if moments.terminated is not None:
        grace_is_over = moments.killed is None and now >= moments.terminated + moments.grace_s
        return Due.KILL if grace_is_over else Due.NOTHING
    if moments.broken is not None:
        # A failure just before the limit is a failure: the limit does not cover it up.
        return Due.END_THE_REST if now >= moments.broken + SIBLING_GRACE_S else Due.NOTHING
    if now >= moments.begun + moments.limit_s:
        return Due.TIME_LIMIT
    if moments.warned is None and now >= moments.begun + warn_after(moments.limit_s):
        return Due.WARN
    return Due.NOTHING
