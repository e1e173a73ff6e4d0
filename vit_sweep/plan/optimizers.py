"""What the plan knows of each optimizer: its constants, its states, and where it is another algorithm. Pure.

An optimizer that looks at whole tensors (norms, rows, singular values) is another algorithm where it is given something
else: DeepSpeed's ZeRO 1 to 3 update one flat piece of all weights on each rank, FSDP2 some rows of each weight.
`DIFFERENT` was measured on two ranks in fp32 against one process, with weight decay (without it timm's LARS is SGD);
`tests/e2e/train/engines/test_optimizers.py` measures it anew, all of it with
`VIT_SWEEP_LONG_TESTS=1` (last run on 2026-11-29).
"""

import math
from enum import StrEnum

from vit_sweep.plan.choices import OptimizerKind
from vit_sweep.plan.engine.kinds import FSDP2, sharding
from vit_sweep.plan.point import Point
from vit_sweep.plan.predict import text
from vit_sweep.plan.predict.vit import block_shapes, other_shapes, parameters
from vit_sweep.plan.specs import EngineSpec, ModelSpec, OptimizerSpec

_K = OptimizerKind
CONSTANTS: dict[OptimizerKind, frozenset[str]] = {
    _K.ADAMW: frozenset({"beta1", "beta2", "eps"}),
    _K.ADAM: frozenset({"beta1", "beta2", "eps"}),
    _K.SGD: frozenset({"beta1"}),
    _K.LION: frozenset({"beta1", "beta2"}),
    _K.MUON: frozenset({"momentum", "beta1", "beta2", "eps"}),
    _K.LAMB: frozenset({"beta1", "beta2", "eps"}),
    _K.LARS: frozenset({"beta1", "trust_coefficient"}),
    _K.ADAFACTOR: frozenset({"beta2_decay"}),
}
"""Keys of each kind, beside those that all have."""
_OF_SOME = frozenset[str]().union(*CONSTANTS.values())

OF_TIMM = frozenset({_K.LION, _K.MUON, _K.LAMB, _K.LARS})
"""Those that torch does not have: `vit_sweep[timm]`."""
UPDATE_BYTES = {_K.ADAMW: 28, _K.ADAM: 28, _K.SGD: 44, _K.LION: 52}
"""Bytes that an update reads and writes a weight, with momentum and decay: AdamW and Adam in one pass (torch's fused
ones), the others an operation after another. Of those that can be offloaded; counted anew by a test."""


class Pieces(StrEnum):
    """What of the weights an optimizer is given."""

    WHOLE = "whole tensors"
    FLAT = "one flat piece of all weights on each rank"
    ROWS = "some rows of each weight on each rank"


_NORM = "takes the norm of the piece for that of each tensor"
DIFFERENT: dict[Pieces, dict[OptimizerKind, str]] = {
    Pieces.WHOLE: {},
    Pieces.FLAT: {
        _K.LAMB: _NORM,
        _K.LARS: _NORM,
        _K.MUON: "finds no matrices and is AdamW",
        _K.ADAFACTOR: "finds no rows and columns and keeps whole moments",
    },
    Pieces.ROWS: {
        _K.MUON: "orthogonalises in bf16 in another order, 9% off after ten steps",
        _K.ADAFACTOR: "ends with an error of torch's",
    },
}
"""Where an optimizer is another algorithm than on whole tensors, or none, and what it does there."""


def pieces(engine: EngineSpec) -> Pieces:
    """What an engine gives to its optimizer."""
    if engine.kind == FSDP2:
        return Pieces.ROWS
    return Pieces.FLAT if sharding(engine) else Pieces.WHOLE


def another_algorithm(point: Point, engine: EngineSpec) -> str | None:
    """The sentence for an optimizer that would be another one under this engine."""
    kind, implementation = point.optimizer.kind, pieces(engine)
    difference = DIFFERENT[implementation].get(kind)
    if difference is None:
        return None
    return (
        f"optimizer={point.optimizer.name} engine={engine.name}: {kind.value} looks at whole tensors, and this engine "
        f"gives it {implementation.value}, where it {difference}; use engine=zero0 or ddp, or optimizer="
        + " or ".join(other.value for other in OptimizerKind if other not in DIFFERENT[implementation])
    )


def constant_of_another_optimizer(point: Point, _: object) -> str | None:
    """A key that says nothing to this optimizer."""
    spec = point.optimizer
    for name in sorted(_OF_SOME - CONSTANTS[spec.kind]):
        value = getattr(spec, name)
        if value != OptimizerSpec.__dataclass_fields__[name].default:
            return (
                f"optimizer={spec.name} optimizer.{name}={value:g}: {spec.kind.value} has no such constant; leave it "
                f"out, or use optimizer={' or '.join(k.value for k in OptimizerKind if name in CONSTANTS[k])}"
            )
    return None


def moment_bytes(spec: OptimizerSpec, model: ModelSpec, classes: int) -> int:
    """Bytes of an optimizer's own fp32 states of the whole model; counted anew by a test.

    Of a model that others build no shapes are known, so as if all its weights were vectors: at most that.
    """
    numbers = parameters(model, classes)
    text_model = model.text
    blocks = text_model.layers * text.block_shapes(text_model) if text_model is not None else ()
    others = (*text.other_shapes(text_model), (1,)) if text_model is not None else ()
    if model.layers:
        blocks = (*blocks, *model.layers * block_shapes(model))
        others = (*others, *other_shapes(model, classes))
    else:
        others = (*others, (numbers - sum(math.prod(shape) for shape in (*blocks, *others)),))
    match spec.kind:
        case OptimizerKind.ADAMW | OptimizerKind.ADAM | OptimizerKind.LAMB:
            return 8 * numbers
        case OptimizerKind.LION:
            return 4 * numbers
        case OptimizerKind.SGD | OptimizerKind.LARS:
            return 4 * numbers if spec.beta1 else 0
        case OptimizerKind.MUON:
            orthogonal = sum(math.prod(shape) for shape in blocks if len(shape) == 2)
            return 8 * numbers - 4 * orthogonal
        case OptimizerKind.ADAFACTOR:
            return 4 * sum(_factored(shape) for shape in (*blocks, *others))


def _factored(shape: tuple[int, ...]) -> int:
    """Numbers of a second moment that is kept as its rows' and its columns' means; of a vector as it is."""
    size = math.prod(shape)
    return size // shape[-1] + size // shape[-2] if len(shape) > 1 else size
