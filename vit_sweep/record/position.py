"""How far a run has come: `position.json`, beside the weights in every checkpoint. Pure.

With the weights, the optimizer's state and this, a run continues as if it had never stopped: the order of samples
depends on seed and epoch only, and nothing else in training is random.
"""

from collections.abc import Mapping
from dataclasses import replace

from launchers.checked import AttemptName, Line, Loss, Name, Quantity, Whole, checked
from vit_sweep.record.record import EpochReport

SCHEMA_VERSION = 1


@checked
class PartEpoch:
    """What ranks have of an epoch that is not finished. Everything is by rank, so that each goes on with its own sums:
    sums of all ranks would round otherwise than in a run without a stop."""

    totals_by_rank: tuple[tuple[Loss, Quantity], ...]
    """Summed loss and right answers."""
    seconds_by_rank: tuple[Quantity, ...]
    """Time within steps so far."""
    step_ms_by_rank: tuple[tuple[Quantity, ...], ...]


@checked
class Position:
    """Where a run goes on, and what its finished epochs were."""

    schema_version: int = SCHEMA_VERSION
    cell_id: Name
    code: Line
    """Digest of the code that wrote this."""
    world_size: Whole
    zero_stage: Whole | None
    epoch: Whole
    """The epoch to go on with, from 1."""
    step: Whole
    """Finished optimizer steps of it; all of them: only its evaluation is missing."""
    part: PartEpoch | None = None
    """None at the start of an epoch."""
    epochs: tuple[EpochReport, ...]
    earlier: tuple[EpochReport, ...] = ()
    """Those before, which other cells ran (`Cell.origin`)."""
    attempts: tuple[AttemptName, ...]
    """Names of the attempts that contributed, oldest first."""
    files: dict[str, Whole]
    """Bytes of every file of the checkpoint, by path below its folder."""

    @property
    def name(self) -> str:
        """Name of the checkpoint's folder; sorts by progress."""
        return checkpoint_name(self.epoch, self.step)


def checkpoint_name(epoch: int, step: int) -> str:
    """Name of a checkpoint's folder: `e0003-s000017`."""
    return f"e{epoch:04d}-s{step:06d}"


def moved(position: Position, *, ranks: int, zero_stage: int | None, sequence: float) -> Position:
    """The same place for another number of ranks, of which none has run an epoch.

    Of an epoch that is not finished the sums stay what they were, and its times are those of the slowest rank; they
    are in no statistic, since a restart lies inside. `sequence`: how many times as many ranks now count each image.
    """
    part = position.part
    if part is not None:
        loss, correct = (sequence * sum(values) for values in zip(*part.totals_by_rank, strict=True))
        steps = tuple(max(ms) for ms in zip(*part.step_ms_by_rank, strict=True))
        part = PartEpoch(
            totals_by_rank=((loss, correct), *[(0.0, 0.0)] * (ranks - 1)),
            seconds_by_rank=(max(part.seconds_by_rank),) * ranks,
            step_ms_by_rank=(steps,) * ranks,
        )
    return replace(
        position,
        world_size=ranks,
        zero_stage=zero_stage,
        part=part,
        epochs=(),
        earlier=position.earlier + position.epochs,
        attempts=(),
    )


def refusal(
    position: Position, *, cell_id: str, world_size: int, zero_stage: int | None, sizes: Mapping[str, int]
) -> str | None:
    """Say why a run of this cell cannot go on from there, or None; `sizes`: bytes of the files that are there."""
    expected = {"cell": cell_id, "ranks": world_size, "zero_stage": zero_stage}
    has = {"cell": position.cell_id, "ranks": position.world_size, "zero_stage": position.zero_stage}
    for key, value in expected.items():
        if has[key] != value:
            return f"it is of {key} {has[key]}, not {value}"
    for name, size in position.files.items():
        if name not in sizes:
            return f"{name} is missing"
        if sizes[name] != size:
            return f"{name} has {sizes[name]} of {size} bytes"
    return None
