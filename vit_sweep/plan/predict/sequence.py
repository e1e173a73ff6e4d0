"""Tokens of an image over several ranks: who has how many, what they exchange, and which degrees cannot be. Pure.

Symbols of `vit`, and s ranks of a sequence group, n = ceil(N / s) tokens of each, b images of a micro batch.
Ulysses (Jacobs et al. 2023, arXiv:2309.14509): in every block queries, keys, values and what attention makes of them
each go through one all-to-all of b n D numbers, and their gradients through one more: of these, (s - 1) / s go to
other ranks.
"""

from typing import NamedTuple

from launchers.profile import Device
from launchers.text import plural
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Attention, Pool, Precision, SequenceMethod
from vit_sweep.plan.engine.kinds import MEGATRON
from vit_sweep.plan.point import Point
from vit_sweep.plan.predict.vit import local_tokens, tokens

_FP32 = 4
_EXCHANGED = 4
"""Queries, keys, values, and what attention makes of them."""


class Exchange(NamedTuple):
    """All-to-alls of one rank in an optimizer step."""

    calls: int
    size_bytes: int
    """Of the tensors of all calls together; the part that a rank keeps for itself included."""


def exchange(cell: Cell) -> Exchange:
    """What attention exchanges, counted on gloo by tests.

    Of a ring, keys and values go round s - 1 times in forward and again in backward, their gradients s times, and
    those in fp32 (torch's `convert_to_f32`).
    """
    size = cell.precision.products.bytes  # under autocast too: queries, keys and values are products
    numbers = cell.micro_batch * local_tokens(tokens(cell.model), cell.sequence) * cell.model.width
    passes = 3 if cell.activation_checkpointing else 2
    if cell.sequence == 1:
        calls, number_bytes = 0, 0
    elif cell.sequence_method is SequenceMethod.ULYSSES:
        calls = _EXCHANGED * passes
        number_bytes = calls * size
    else:
        rounds = passes * (cell.sequence - 1)
        calls = rounds + cell.sequence
        number_bytes = 2 * (rounds * size + cell.sequence * _FP32)
    blocks = cell.accum * cell.model.layers
    return Exchange(calls=blocks * calls, size_bytes=blocks * number_bytes * numbers)


def sequence_that_does_not_divide(point: Point, _: object) -> str | None:
    """A sequence group of some ranks that leaves others over."""
    if point.gpus % point.sequence == 0:
        return None
    return (
        f"sequence={point.sequence} gpus={point.gpus}: {plural(point.gpus, 'GPU')} cannot be cut into groups of "
        f"{point.sequence} ranks; use {_menu(_divisors(point.gpus))}"
    )


def _shared_tokens_of_others(point: Point, _: object) -> str | None:
    """What works on the blocks of a model that is built here."""
    model = point.model
    if model.target is None:
        return None
    settings = [
        word
        for word, changed in (
            (f"sequence={point.sequence}", point.sequence > 1),
            (f"attention={point.attention.value}", point.attention is not Attention.SDPA),
            (f"model.pool={model.pool.value}", model.pool is not Pool.CLASS),
        )
        if changed
    ]
    if not settings:
        return None
    return (
        f"{settings[0]} model={model.name}: it works on encoder blocks, and which those are in {model.name} of "
        f"{model.target} is not known; leave it out, or use a model that is built here"
    )


def _shared_tokens_that_nobody_tried(point: Point, _: object) -> str | None:
    """Engines and compilers that know of no sequence groups."""
    if point.sequence == 1:
        return None
    if point.engine.kind == MEGATRON:
        return (
            f"sequence={point.sequence} engine={point.engine.name}: megatron-core has sequence groups of its own, "
            "which are not used here; use engine=zero0 to zero3, ddp, fsdp2 or accelerate"
        )
    if point.precision.autocast and point.sequence_method is SequenceMethod.RING:
        return (
            f"sequence_method=ring precision={point.precision.value}: torch's ring under autocast has not been "
            "tested; use sequence_method=ulysses, or precision=fp32, bf16 or fp16"
        )
    if point.compile:
        return (
            f"sequence={point.sequence} compile=true: the exchanges of attention break the graph of a block; use "
            "compile=false"
        )
    return None


def _tokens_that_cannot_be_shared(point: Point, _: object) -> str | None:
    """A degree that the model's heads or tokens do not allow."""
    model, degree = point.model, point.sequence
    has_blocks = model.target is None and model.patch_size and model.heads
    if degree == 1 or point.gpus % degree or not has_blocks:
        return None
    count, setting = tokens(model), f"sequence={degree} sequence_method={point.sequence_method.value}"
    if count <= degree:
        return (
            f"{setting}: an image of {model.image_text} px has {count} tokens, no more than the {degree} ranks that "
            "would share them; use a smaller sequence"
        )
    if point.sequence_method is SequenceMethod.ULYSSES:
        if model.heads % degree == 0:
            return None
        use = [d for d in _divisors(point.gpus) if model.heads % d == 0]
        ring = _words_of_a_ring(point)
        return (
            f"{setting}: {model.heads} heads of {model.name} do not divide over {degree} ranks; use "
            f"{_either(_menu(use), ring)}"
        )
    if count % degree:
        use = [d for d in _divisors(point.gpus) if count % d == 0]
        ulysses = "sequence_method=ulysses" if model.heads % degree == 0 else None
        mean = "model.pool=mean" if _patches_divide(point) else None
        return (
            f"{setting}: {count} tokens of an image do not divide over {degree} ranks, and torch's ring masks no "
            f"padding; use {_either(_menu(use), ulysses, mean)}"
        )
    return _ring_without_a_kernel(point)


def _patches_divide(point: Point) -> bool:
    """Whether the ranks share the tokens evenly that are left without a class token."""
    patches = tokens(point.model) - 1
    return point.model.pool is Pool.CLASS and patches % point.sequence == 0 and patches > point.sequence


def _words_of_a_ring(point: Point) -> str | None:
    """With what a ring would share these tokens; None where none can."""
    model, words = point.model, ["sequence_method=ring"]
    if tokens(model) % point.sequence:
        if not _patches_divide(point):
            return None
        words.append("model.pool=mean")
    on_cpu = point.partition.device is Device.CPU
    if on_cpu != (point.attention is Attention.MATH):
        words.append("attention=math" if on_cpu else "attention=sdpa")
    return None if point.precision.autocast else " ".join(words)


def _either(*words: str | None) -> str:
    """What can be used instead.

    >>> _either("sequence=1 or 2", None), _either("sequence=1", "model.pool=mean")
    ('sequence=1 or 2', 'sequence=1, or model.pool=mean')
    """
    return ", or ".join(filter(None, words))


def _ring_without_a_kernel(point: Point) -> str | None:
    on_cpu, kernel = point.partition.device is Device.CPU, point.attention
    if on_cpu == (kernel is Attention.MATH):
        return None
    use = "attention=math" if on_cpu else "attention=sdpa, flash or efficient"
    ulysses = "sequence_method=ulysses" if point.model.heads % point.sequence == 0 else None
    return (
        f"sequence_method=ring attention={kernel.value}: torch has no ring of this kernel on a "
        f"{'processor' if on_cpu else 'GPU'}; use {_either(use, ulysses)}"
    )


def _kernel_that_the_device_lacks(point: Point, _: object) -> str | None:
    """An attention kernel that torch does not have there."""
    profile, kernel = point.partition, point.attention
    if kernel is Attention.EFFICIENT and profile.device is Device.CPU:
        return f"attention=efficient: {profile.name} is a CPU partition, where torch has sdpa, math and flash; use one"
    if kernel is not Attention.FLASH or profile.device is Device.CPU:
        return None
    if point.precision.products in (Precision.FP32, Precision.TF32):
        return (
            f"attention=flash precision={point.precision.value}: on a GPU this kernel takes 16-bit numbers only; use "
            "precision=bf16 or fp16, or attention=efficient"
        )
    if Precision.BF16 in profile.refused_precisions:
        return (
            f"attention=flash: {profile.name} ({profile.gpu_model}) refuses bf16, so its GPUs are older than those "
            "that have this kernel (sm80); use attention=efficient"
        )
    return None


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _menu(degrees: list[int]) -> str:
    return f"sequence={' or '.join(map(str, degrees))}"


OF_SEQUENCE = (
    _shared_tokens_of_others,
    _shared_tokens_that_nobody_tried,
    _tokens_that_cannot_be_shared,
    _kernel_that_the_device_lacks,
)
