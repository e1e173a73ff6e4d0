"""What is done about each cause: once more, elsewhere, or never. Pure; docs/reference/causes.md is made of it."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from launchers.checked import Name, checked
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.engine.kinds import sharding

SCHEMA_VERSION = 1


class Action(StrEnum):
    """What happens after an attempt without anybody's help."""

    NOTHING = "nothing"
    """It stays as it is; `retry=` runs it again."""
    RESULT = "result"
    """It is an answer: a row of the tables, and larger micro batches of its kind are skipped."""
    STOP_SERIES = "stop_series"
    """It stays, and the rest of its series is not run."""
    AGAIN = "again"
    """The same job again, from the last checkpoint."""
    ELSEWHERE = "elsewhere"
    """A new job, not on the host to blame, from the last checkpoint."""
    WHEN_ASKED = "when_asked"
    """The same command again, or `resume`, runs it: it was ended on purpose, or its user has something to mend."""


@checked
class Policy:
    """An action, and how often it is taken in the life of one cell before it becomes `nothing`."""

    action: Action
    times: int = 0
    """0: no bound, or none needed."""
    then: str = ""
    """What a person does about it; the reference shows it."""


_REPAIRED = "the same command again, or `resume`"
_FAILED = "`retry=failed`"
POLICIES: dict[Cause, Policy] = {
    Cause.DONE: Policy(action=Action.NOTHING),
    Cause.OUT_OF_MEMORY: Policy(action=Action.RESULT, then="`retry=out_of_memory`"),
    Cause.HOST_OUT_OF_MEMORY: Policy(action=Action.NOTHING, then="`retry=out_of_memory`"),
    Cause.TIME_LIMIT: Policy(action=Action.AGAIN, times=10, then="`retry=time_limit minutes=MORE`"),
    Cause.PREEMPTED: Policy(action=Action.AGAIN, times=50, then=_FAILED),
    Cause.REQUEUED: Policy(action=Action.AGAIN, times=50, then=_FAILED),
    Cause.NODE_FAILURE: Policy(action=Action.ELSEWHERE, times=3, then=_FAILED),
    Cause.COMMUNICATION: Policy(action=Action.AGAIN, times=1, then=_FAILED),
    Cause.HANG: Policy(action=Action.AGAIN, times=1, then=_FAILED),
    Cause.RANK_DIED: Policy(action=Action.AGAIN, times=1, then=_FAILED),
    Cause.LOST: Policy(action=Action.AGAIN, times=1, then=_FAILED),
    Cause.CANCELLED: Policy(action=Action.WHEN_ASKED, then=_REPAIRED),
    Cause.TERMINATED: Policy(action=Action.WHEN_ASKED, then=_REPAIRED),
    Cause.DATA: Policy(action=Action.WHEN_ASKED, then=f"repair the files, then {_REPAIRED}"),
    Cause.CONFIGURATION: Policy(action=Action.NOTHING, then=_FAILED),
    Cause.MISMATCH: Policy(action=Action.NOTHING, then=_FAILED),
    Cause.WRONG_GRADIENTS: Policy(action=Action.NOTHING, then=f"repair the engine; {_FAILED}"),
    Cause.DIVERGED: Policy(
        action=Action.NOTHING, then=f"a smaller `optimizer.learning_rate`, or `lr_warmup_epochs`; {_FAILED}"
    ),
    Cause.STORAGE: Policy(action=Action.WHEN_ASKED, then=f"make room, then {_REPAIRED}"),
    Cause.BUG: Policy(action=Action.STOP_SERIES, then=f"{_FAILED}, or repaired code"),
    Cause.SKIPPED: Policy(action=Action.NOTHING, then="runs when that cell runs again"),
}


@checked
class Decision:
    """What to do now, and why, in words."""

    action: Action
    reason: str
    exclude: tuple[str, ...] = ()
    """Hosts that failed it."""


def decide(history: Sequence[Exit]) -> Decision:
    """Decide about a cell from the verdicts on all of its attempts since its user last asked for it, oldest first.

    A time limit counts as progress only if an epoch or a step was added since the last one: a job that comes no
    further would be started for ever.
    """
    last = history[-1]
    policy = POLICIES[last.cause]
    if policy.action not in (Action.AGAIN, Action.ELSEWHERE):
        return Decision(action=policy.action, reason=f"{last.cause.value}: {policy.action.value}")
    same_cause = [end for end in history if end.cause is last.cause]
    if len(same_cause) > policy.times:
        return Decision(
            action=Action.NOTHING,
            reason=f"{last.cause.value} for the {len(same_cause)}th time; at most {policy.times} retries",
        )
    if (
        last.cause is Cause.TIME_LIMIT
        and len(same_cause) > 1
        and (last.epoch, last.step) <= (same_cause[-2].epoch, same_cause[-2].step)
    ):
        return Decision(
            action=Action.NOTHING,
            reason=f"it came no further than epoch {last.epoch}, step {last.step} in its time limit; use minutes=MORE",
        )
    hosts = tuple(dict.fromkeys(end.host for end in history if end.cause is Cause.NODE_FAILURE and end.host))
    return Decision(
        action=policy.action,
        reason=f"{last.cause.value}, retry {len(same_cause)} of at most {policy.times}",
        exclude=hosts,
    )


@checked
class Stop:
    """`stops/<cell_id>.json`: how one cell ended, said to all that have not begun."""

    schema_version: int = SCHEMA_VERSION
    cell_id: Name
    cell: Cell
    cause: Cause
    message: str
    code: str
    """Digest of the code that it ran with: a bug is that code's, not its successor's."""


def makes_stop(end: Exit) -> bool:
    """Whether other cells should hear of this end: never for a GPU that somebody else had filled."""
    if end.cause is Cause.OUT_OF_MEMORY:
        memory = end.device_memory
        return memory is None or memory.others_mib < 0.1 * memory.total_mib
    return POLICIES[end.cause].action is Action.STOP_SERIES


def stopped_by(cell: Cell, code: str | None, stops: Iterable[Stop]) -> str | None:
    """Say why `cell` need not be run with the code of that digest, or None. A cell never stops itself."""
    for stop in stops:
        if stop.cell_id == cell.cell_id:
            continue
        if stop.cause is Cause.OUT_OF_MEMORY and _at_least_as_big(cell, stop.cell):
            return (
                f"out of memory is certain: {stop.cell_id} with micro batch {stop.cell.micro_batch} ran out "
                f"({stop.message}); retry=out_of_memory tries again"
            )
        if stop.cause is Cause.BUG and stop.code == code and _kind(cell) == _kind(stop.cell):
            return f"its series was stopped by a bug in {stop.cell_id} ({stop.message}); retry=failed tries again"
    return None


def _at_least_as_big(cell: Cell, other: Cell) -> bool:
    """Whether `cell` needs no less GPU memory than `other`. ZeRO divides states over the ranks; without it more
    ranks need more, for their buckets."""
    if _kind(cell) != _kind(other) or cell.micro_batch < other.micro_batch:
        return False
    if cell.micro_batch == other.micro_batch:
        return cell.gpus == other.gpus and cell.accum == other.accum
    return cell.gpus <= other.gpus if sharding(cell.engine) else cell.gpus >= other.gpus


def _kind(cell: Cell) -> tuple[object, ...]:
    return (
        cell.model,
        cell.data,
        cell.precision,
        cell.engine,
        cell.optimizer,
        cell.pipeline,
        cell.activation_checkpointing,
        cell.compile,
        cell.sequence,
        cell.sequence_method,
        cell.attention,
        cell.task,
        cell.partition,
        cell.device,
        cell.gpu_model,
    )
