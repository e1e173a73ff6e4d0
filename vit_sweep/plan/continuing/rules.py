"""Which cell may go on from which checkpoint: another number of GPUs, another engine, the same training. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from launchers.checked import to_plain
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Allocation, LrSchedule, Offload, Task
from vit_sweep.plan.continuing.origin import Origin
from vit_sweep.plan.engine.kinds import DDP, FSDP2, machinery
from vit_sweep.plan.identity import identity
from vit_sweep.plan.point import Point
from vit_sweep.plan.specs import DEEPSPEED

MOVABLE = (DDP, FSDP2, DEEPSPEED)
"""Whose code keeps states that others can take over (Accelerate leaves both to these)."""
_BATCH, _IMAGES, _COMPARED = "global batch", "images of an epoch", "pairs of a micro step"
_DEFAULT = "as by default"
_MOST_NAMED = 6
"""Values in a sentence."""


def training_of(cell: Cell) -> tuple[tuple[str, str], ...]:
    """What a training is, whatever it runs on, by the words of a command: model, data, optimizer, global batch ..."""
    # Weights that it began with are long overwritten.
    model = replace(cell.model, init=None, init_content=None)
    values: dict[str, Any] = {
        "precision": cell.precision.value,
        "epochs": cell.epochs,
        "seed": cell.seed,
        _BATCH: cell.global_batch,
        _IMAGES: cell.train_images,
        "lr_scaling": cell.lr_scaling.value,
        "schedule": cell.schedule.value,
        "lr_warmup_epochs": f"{cell.lr_warmup_epochs:g}",
        "task": cell.task.value,
    }
    if cell.task is Task.CONTRASTIVE:
        values[_COMPARED] = cell.compared
    for group, spec in {"model": model, "data": cell.data, "optimizer": cell.optimizer}.items():
        values |= {
            group if name == "name" else f"{group}.{name}": value
            for name, value in to_plain(spec).items()
            if name in identity(spec)
        }
    return tuple(sorted((name, str(value)) for name, value in values.items()))


def origin_of(cell: Cell, **checkpoint_fields: Any) -> Origin:
    """The origin that a checkpoint of this cell is; `checkpoint_fields`: what is known of its files."""
    return Origin(
        cell_id=cell.cell_id,
        gpus=cell.gpus,
        engine=cell.engine.name,
        machinery=machinery(cell.engine),
        zero_stage=cell.engine.zero_stage,
        offloads=_offloads(cell),
        sequence=cell.sequence,
        training=training_of(cell),
        **checkpoint_fields,
    )


def refusals_of(point: Point, cell: Cell) -> tuple[str, ...]:
    """Say why `cell`, made of `point`, cannot go on from the checkpoint that the point names; empty if it can."""
    if point.origin is None:
        return ()
    setting = f"continue_from={point.continue_from}"
    return tuple(f"{setting}: {reason}" for reason in _reasons(point.origin, cell))


def _reasons(origin: Origin, cell: Cell) -> Iterator[str]:
    yield from _changes(origin, cell)
    for subject, kind in ((f"{origin.cell_id} ran with", origin.machinery), ("this cell has", machinery(cell.engine))):
        if kind not in MOVABLE:
            yield (
                f"{subject} engine {kind}, whose states no other number of ranks can take over; only those of ddp, "
                "fsdp2, accelerate and deepspeed can be taken over"
            )
    if origin.offloads or _offloads(cell):
        subject = origin.cell_id if origin.offloads else "this cell"
        yield (
            f"{subject} keeps states away from the GPUs (offload_optimizer, offload_param), which are not taken over; "
            "both must keep them on the GPUs"
        )
    if cell.allocation is Allocation.SHARED:
        yield "its times belong to no curve, so it shares no allocation; use allocation=per_cell"
    finished_epochs = origin.epoch - 1
    if cell.epochs <= finished_epochs:
        yield f"epochs={cell.epochs}, and {finished_epochs} are done: nothing is left; use more epochs"


def _changes(origin: Origin, cell: Cell) -> Iterator[str]:
    """One sentence of all that is not as it was."""
    before, now = dict(origin.training), dict(training_of(cell))
    if cell.schedule is LrSchedule.CONSTANT:
        now["epochs"] = before["epochs"]  # of which no step depends
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    # What a name stands for says nothing more where the name differs.
    changed = [name for name in changed if "." not in name or name.partition(".")[0] not in changed]
    if not changed:
        return
    values = [f"{name} is {now.get(name, _DEFAULT)}, there {before.get(name, _DEFAULT)}" for name in changed]
    further = f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
    yield (
        f"a training goes on as if nothing had happened, and this would be another one: "
        f"{'; '.join(values[:_MOST_NAMED])}{further}; use {_advice(changed, before)}"
    )


def _advice(changed: list[str], before: dict[str, str]) -> str:
    """The words that make a command the same training."""
    words = [
        f"{name}={before[name]}" for name in changed if name in before and name not in (_BATCH, _IMAGES, _COMPARED)
    ]
    words += [f"{name} as it is by itself" for name in changed if name not in before]
    if _BATCH in changed:
        words.append(f"batch={before[_BATCH]} batch_per=global")
    if _COMPARED in changed:
        words.append(f"batch x gpus / sequence = {before[_COMPARED]}")
    if _IMAGES in changed:
        words.append(f"fraction (or weak_fraction, scaling) that gives {before[_IMAGES]} images")
    return " ".join(words[:_MOST_NAMED])


def _offloads(cell: Cell) -> bool:
    return {cell.engine.offload_optimizer, cell.engine.offload_param} != {Offload.NONE}
