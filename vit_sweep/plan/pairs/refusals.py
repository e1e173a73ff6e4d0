"""What cannot be done with image-caption pairs, and what a reader of their runs should know. Pure."""

from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Attention, BatchPer, Scaling, Task
from vit_sweep.plan.engine.kinds import MEGATRON
from vit_sweep.plan.point import Point
from vit_sweep.plan.predict.pairs import loss_flop
from vit_sweep.plan.predict.vit import train_flop

_GIVEN = "task=contrastive"


def _wrong_text(point: Point) -> str | None:
    text = point.model.text
    if text is None:
        return f"{_GIVEN} model.text=null: captions need a tower of their own; leave model.text out, or say its shape"
    if text.width % text.heads:
        fitting = [heads for heads in range(1, text.width + 1) if text.width % heads == 0]
        nearest = min(fitting, key=lambda heads: (abs(heads - text.heads), heads))
        return (
            f"model.text.heads={text.heads} model.text.width={text.width}: the width must divide by the heads; use "
            f"model.text.heads={nearest}"
        )
    return None


def _what_the_text_tower_lacks(point: Point) -> str | None:
    """Words that work on the blocks of the image tower alone, or on none of two towers."""
    if point.sequence > 1:
        return (
            f"{_GIVEN} sequence={point.sequence}: only images have tokens that ranks share here, and the loss would "
            "compare a pair with itself; use sequence=1"
        )
    if point.attention is not Attention.SDPA:
        return (
            f"{_GIVEN} attention={point.attention.value}: the text tower's attention is causal and takes the kernel "
            "that torch chooses; use attention=sdpa"
        )
    if point.compile:
        return (
            f"{_GIVEN} compile=true: the blocks of the text tower are transformers', and "
            "compiling them has not been tested; use compile=false"
        )
    if point.engine.kind == MEGATRON:
        return (
            f"{_GIVEN} engine={point.engine.name}: two towers under megatron-core have not been tested on a GPU; "
            "use engine=ddp, fsdp2, accelerate or zero0 to zero3"
        )
    return None


def _pair_without_another(point: Point, micro_batch: int) -> str | None:
    if micro_batch * point.gpus > 1:
        return None
    return (
        f"{_GIVEN} batch={point.batch} accum={point.accum} gpus={point.gpus}: a micro step has one pair on all ranks "
        "together, and nothing to compare it with; use a larger batch"
    )


def refused_pairs(point: Point, *, micro_batch: int) -> str | None:
    """The first reason why these pairs cannot be trained; None for other tasks."""
    if point.task is not Task.CONTRASTIVE:
        return None
    return _wrong_text(point) or _what_the_text_tower_lacks(point) or _pair_without_another(point, micro_batch)


def remarks_on_pairs(cell: Cell, point: Point) -> list[str]:
    """What the number of compared pairs means for a reader of these times and losses."""
    if cell.task is not Task.CONTRASTIVE:
        return []
    remarks = []
    if cell.accum > 1:
        remarks.append(
            f"a pair is compared with the {cell.compared} of its micro step on all ranks, not with the "
            f"{cell.global_batch} of the optimizer step: accum={cell.accum} has another loss than accum=1"
        )
    if cell.gpus > 1 and point.scaling is Scaling.STRONG and point.batch_per is BatchPer.GPU:
        remarks.append(
            f"each number of GPUs compares another number of pairs, here {cell.compared}, which is another loss: "
            "counts stand apart, each its own baseline; use batch_per=global for a curve"
        )
    if cell.gpus > 1 and point.scaling is Scaling.WEAK:
        pair = train_flop(cell.model, cell.outputs)
        remarks.append(
            f"{cell.compared} pairs are compared here, {cell.micro_batch} on one GPU: another loss at each count, so "
            f"only times compare; the loss is {loss_flop(cell) / (pair + loss_flop(cell)):.2%} of a GPU's operations"
        )
    return remarks
