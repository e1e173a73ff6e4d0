"""For how long attempts held their GPUs, also those that left no record: whoever pays for a study pays for these. Pure.

An attempt begins when its first rank says so. It ends when its job says so. Where nobody said it (killed, a node that
failed), it ended at the latest when a client found that, when the next start of its job began, or at its time limit:
that is what is counted, so that no budget is overspent by what nobody saw.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from vit_sweep.outcome.verdict import Attempt


def held_s(attempts: Sequence[Attempt], *, limit_s: float) -> list[float]:
    """Seconds of each attempt of a cell that has a verdict, oldest first; 0 of one that runs, or never began.

    `limit_s`: the time limit of a job. The ranks of `attempts` have been read.
    """
    began = [_began(attempt) for attempt in attempts]
    return [
        _held_s(attempt, start, [later for later in began[place:] if later is not None], limit_s)
        for place, (attempt, start) in enumerate(zip(attempts, began, strict=True), start=1)
    ]


def _held_s(attempt: Attempt, start: float | None, following: Sequence[float], limit_s: float) -> float:
    if start is None or attempt.exit is None:
        return 0.0
    end = _instant(attempt.exit.at)
    if attempt.exit.judged_by != "job" or end is None:
        end = min([start + limit_s, *following, *([end] if end is not None else [])])
    return max(0.0, end - start)


def _began(attempt: Attempt) -> float | None:
    """Unix time."""
    said = [rank.started_at for rank in attempt.ranks]
    said += [attempt.progress.started_at] if attempt.progress is not None else []
    return min((moment for moment in map(_instant, said) if moment is not None), default=None)


def _instant(text: str) -> float | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return None
