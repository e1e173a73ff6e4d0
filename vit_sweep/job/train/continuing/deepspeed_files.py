"""DeepSpeed's files of all ranks, as whole tensors.

Its own universal checkpoint knows Adam's moments alone, and unpickles whatever a file names; here files are read as an
engine reads its own, tensors only. What each stage leaves:

0: `mp_rank_00_model_states.pt`: all whole, by number in the optimizer; of 16-bit weights also the fp32 ones.
1 and 2: beside it `*zero_pp_rank_R_mp_rank_00_optim_states.pt`: of each group of weights one flat part a rank, and
where in it which weight lies.
3: the weights as well. Each is cut into equal parts, the last of which is filled up.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler
from torch import Tensor

from vit_sweep.job.train.continuing.whole_state import Scale, TrainingState, scale_of_deepspeed, scale_of_torch
from vit_sweep.job.train.model import order_of_updates
from vit_sweep.plan.specs import OptimizerSpec

Files = Mapping[str, Any]


def read(folder: Path, *, stage: int, ranks: int, spec: OptimizerSpec, names: Sequence[str]) -> TrainingState:
    """The state that `ranks` ranks left in `folder`, whose optimizer is that of `spec`.

    `names`: of the parameters, in the model's order. Raises what torch raises for a file that is none, and `KeyError`
    or `RuntimeError` where parts do not make a whole.
    """
    if stage == 0:
        model = _load(folder / "mp_rank_00_model_states.pt")
        return _of_stage_0(model, order_of_updates(spec, {name: model["module"][name] for name in names}))
    prefix = "zero_pp_rank_0_" if stage == 3 else ""
    model = _load(folder / f"{prefix}mp_rank_00_model_states.pt")
    parts = [_load(_of_rank(folder, rank))["optimizer_state_dict"] for rank in range(ranks)]
    shapes = {name: torch.Size(shape) for group in model["param_shapes"] for name, shape in group.items()}
    pieces = _pieces_of_stage_3(model["param_shapes"], parts) if stage == 3 else _pieces(parts)
    weights, moments = dict(model["module"]), dict[str, dict[str, Any]]()
    for name, states in pieces:
        joined = {key: _joined(values, shapes[name]) for key, values in states.items()}
        weights[name] = joined.pop(_WEIGHT)
        if joined:
            moments[name] = joined
    if unknown := sorted({*names} - shapes.keys()):
        raise KeyError(f"no state of {unknown[0]}")
    scaler = parts[0]["loss_scaler"]
    scale = _scale(vars(scaler)) if isinstance(scaler, DynamicLossScaler) else None
    return TrainingState(weights, moments, scale)


_WEIGHT = ""
"""The parameter itself among its states."""
Pieces = Iterator[tuple[str, dict[str, list[Any]]]]
"""Of each parameter what each rank has of it and of its states, in order."""


def _load(file: Path) -> Files:
    loaded: Files = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return loaded


def _of_rank(folder: Path, rank: int) -> Path:
    (file,) = folder.glob(f"*zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return file


def _of_stage_0(model: Files, order: Sequence[str]) -> TrainingState:
    """Of stage 0: fp32 weights and torch's optimizer, or 16-bit weights and DeepSpeed's with masters."""
    weights, optimizer = dict(model["module"]), model["optimizer"]
    inner = optimizer.get("optimizer_state_dict", optimizer)
    # Its groups are in the order in which the optimizer numbers weights.
    masters = [master for group in optimizer.get("fp32_groups", ()) for master in group]
    weights |= dict(zip(order, masters, strict=True)) if masters else {}
    moments = {order[number]: dict(states) for number, states in inner["state"].items()}
    scale = _scale(optimizer) if optimizer.get("dynamic_loss_scale") else scale_of_torch(model.get("scaler"))
    return TrainingState(weights, moments, scale)


def _scale(optimizer: Mapping[str, Any]) -> Scale:
    return scale_of_deepspeed(
        **{name: optimizer[name] for name in ("cur_scale", "cur_iter", "last_overflow_iter", "scale_window")}
    )


def _pieces(parts: Sequence[Files]) -> Pieces:
    """Of stages 1 and 2: a rank's part says itself which weights lie where in it."""
    pieces: dict[str, dict[str, list[Any]]] = {}
    for part in parts:
        states = part["base_optimizer_state"]["state"]
        for group, (flat, places) in enumerate(
            zip(part["single_partition_of_fp32_groups"], part["param_slice_mappings"], strict=True)
        ):
            for name, slice_ in places.items():
                for key, state in {_WEIGHT: flat, **states.get(group, {})}.items():
                    pieces.setdefault(name, {}).setdefault(key, []).append(_cut(state, slice_.start, slice_.numel))
    yield from pieces.items()


def _pieces_of_stage_3(groups: Sequence[Mapping[str, Any]], parts: Sequence[Files]) -> Pieces:
    """Of stage 3: in each group of weights a rank has its equal part of each, one after another."""
    for group, shapes in enumerate(groups):
        start = 0
        for name, shape in shapes.items():
            count = -(-torch.Size(shape).numel() // len(parts))
            states: dict[str, list[Any]] = {}
            for part in parts:
                values = {_WEIGHT: part["fp32_flat_groups"][group]}
                values |= part["optimizer_state_dict"]["state"].get(group, {})
                for key, state in values.items():
                    states.setdefault(key, []).append(_cut(state, start, count))
            start += count
            yield name, states


def _cut(state: Any, start: int, count: int) -> Any:
    """What a flat part has of one weight; a number is of all of them."""
    flat = isinstance(state, Tensor) and state.ndim > 0
    return state.narrow(0, start, count) if flat else state


def _joined(values: Sequence[Any], shape: torch.Size) -> Any:
    """All ranks' parts as one; what fills up the last of them is left out."""
    if isinstance(values[0], Tensor) and values[0].ndim > 0:
        return torch.cat(list(values))[: shape.numel()].view(shape)
    return values[0]
