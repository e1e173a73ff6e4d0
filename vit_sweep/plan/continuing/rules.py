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


def origin_of(cell: Cell, **seen: Any) -> Origin:
    """The origin that a checkpoint of this cell is; `seen`: what was found where it lies."""
    return Origin(
        cell_id=cell.cell_id,
        gpus=cell.gpus,
        engine=cell.engine.name,
        machinery=machinery(cell.engine),
        zero_stage=cell.engine.zero_stage,
        offloads=_offloads(cell),
        sequence=cell.sequence,
        training=training_of(cell),
        **seen,
    )


def refusals_of(point: Point, cell: Cell) -> tuple[str, ...]:
    """Say why `cell`, made of `point`, cannot go on from the checkpoint that the point names; empty if it can."""
    if point.origin is None:
        return ()
    given = f"continue_from={point.continue_from}"
    return tuple(f"{given}: {reason}" for reason in _reasons(point.origin, cell))


def _reasons(origin: Origin, cell: Cell) -> Iterator[str]:
    yield from _unlike(origin, cell)
    for whose, kind in ((f"{origin.cell_id} ran with", origin.machinery), ("this cell has", machinery(cell.engine))):
        if kind not in MOVABLE:
            yield (
                f"{whose} engine {kind}, whose states no other number of ranks can take over; only those of ddp, "
                "fsdp2, accelerate and deepspeed can be taken over"
            )
    if origin.offloads or _offloads(cell):
        whose = origin.cell_id if origin.offloads else "this cell"
        yield (
            f"{whose} keeps states away from the GPUs (offload_optimizer, offload_param), which are not taken over; "
            "both must keep them on the GPUs"
        )
    if cell.allocation is Allocation.SHARED:
        yield "its times belong to no curve, so it shares no allocation; use allocation=per_cell"
    done = origin.epoch - 1
    if cell.epochs <= done:
        yield f"epochs={cell.epochs}, and {done} are done: nothing is left; use more epochs"


def _unlike(origin: Origin, cell: Cell) -> Iterator[str]:
    """One sentence of all that is not as it was."""
    there, here = dict(origin.training), dict(training_of(cell))
    if cell.schedule is LrSchedule.CONSTANT:
        here["epochs"] = there["epochs"]  # of which no step depends
    unlike = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    # What a name stands for says nothing more where the name differs.
    unlike = [name for name in unlike if "." not in name or name.partition(".")[0] not in unlike]
    if not unlike:
        return
    values = [f"{name} is {here.get(name, _DEFAULT)}, there {there.get(name, _DEFAULT)}" for name in unlike]
    more = f" and {len(values) - _MOST_NAMED} more" if len(values) > _MOST_NAMED else ""
    yield (
        f"a training goes on as if nothing had happened, and this would be another one: "
        f"{'; '.join(values[:_MOST_NAMED])}{more}; use {_advice(unlike, there)}"
    )


def _advice(unlike: list[str], there: dict[str, str]) -> str:
    """The words that make a command the same training."""
    words = [f"{name}={there[name]}" for name in unlike if name in there and name not in (_BATCH, _IMAGES, _COMPARED)]
    words += [f"{name} as it is by itself" for name in unlike if name not in there]
    if _BATCH in unlike:
        words.append(f"batch={there[_BATCH]} batch_per=global")
    if _COMPARED in unlike:
        words.append(f"batch x gpus / sequence = {there[_COMPARED]}")
    if _IMAGES in unlike:
        words.append(f"fraction (or weak_fraction, scaling) that gives {there[_IMAGES]} images")
    return " ".join(words[:_MOST_NAMED])


def _offloads(cell: Cell) -> bool:
    return {cell.engine.offload_optimizer, cell.engine.offload_param} != {Offload.NONE}
