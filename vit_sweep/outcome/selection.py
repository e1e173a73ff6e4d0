"""Which cells of a study need a run: those that nobody has run, and those that their user asks for again. Pure."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from launchers.checked import checked
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.policy import POLICIES, Action, Stop, stopped_by
from vit_sweep.outcome.result import Result, Status


class Retry(StrEnum):
    """Which ended cells run again."""

    FAILED = "failed"
    """Every failure but a full GPU."""
    OUT_OF_MEMORY = "out_of_memory"
    """Cells that ran out of memory, GPU's or host's, and the larger ones skipped for it."""
    TIME_LIMIT = "time_limit"
    """Cells that ended at their time limit for good."""
    ALL = "all"

    @classmethod
    def _missing_(cls, value: object) -> "Retry | None":
        """The words of earlier versions, which people's scripts say."""
        return {"oom": cls.OUT_OF_MEMORY, "timeout": cls.TIME_LIMIT}.get(str(value))


class Rerun(StrEnum):
    """Which finished cells run again."""

    STALE = "stale"
    """Those that ran with other code than today's."""


@checked
class Selection:
    """What to run, what to leave out and why."""

    run: tuple[str, ...]
    skipped: Mapping[str, str]
    """Cell id and reason: certain to fail as another cell did."""
    stale: tuple[str, ...]
    """Finished cells that ran with other code, whether they run again or not."""


def select(
    results: Iterable[Result],
    *,
    code: str,
    stops: Iterable[Stop],
    retry: Retry | None = None,
    rerun: Rerun | None = None,
) -> Selection:
    """Choose by content: what is done stays, what is under way stays, what was asked for again runs.

    `code`: digest of the code that would run. `stops` of cells that run again hold nobody back.
    """
    results = tuple(results)
    stale = {r.file.cell_id for r in results if r.record is not None and r.record.code and r.record.code != code}
    runnable = [r for r in results if _wanted(r, retry) or (rerun is Rerun.STALE and r.file.cell_id in stale)]
    rerun_ids = {r.file.cell_id for r in runnable}
    standing = [stop for stop in stops if stop.cell_id not in rerun_ids]
    reasons = {r.file.cell_id: stopped_by(r.file.cell, code, standing) for r in runnable}
    return Selection(
        run=tuple(r.file.cell_id for r in runnable if reasons[r.file.cell_id] is None),
        skipped={cell: reason for cell, reason in reasons.items() if reason is not None},
        stale=tuple(r.file.cell_id for r in results if r.file.cell_id in stale),
    )


def _wanted(result: Result, retry: Retry | None) -> bool:
    match result.status:
        case Status.MISSING | Status.CANCELLED | Status.RETRY:
            return True
        case Status.OUT_OF_MEMORY:
            return retry in (Retry.OUT_OF_MEMORY, Retry.ALL)
        case Status.SKIPPED:
            # Asked again each time: what had stopped it may have been mended or run again.
            return True
        case Status.FAILED:
            ended_from_outside = POLICIES[Cause(result.cause)].action is Action.WHEN_ASKED if result.cause else False
            words = {Retry.FAILED, Retry.ALL, _GROUPS.get(result.cause, Retry.ALL)}
            return ended_from_outside or retry in words
    return False


_GROUPS: dict[str, Retry] = {Cause.TIME_LIMIT: Retry.TIME_LIMIT, Cause.HOST_OUT_OF_MEMORY: Retry.OUT_OF_MEMORY}
"""Failures that can be asked for by a word of their own."""
