"""Full tensors into DeepSpeed's engine of any stage.

A rank's own state, as a fresh engine would save it, is filled with its part of what is given; then DeepSpeed loads
that as it would load its own file.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler
from torch import Tensor, nn

from vit_sweep.job.train.continuing.whole_state import TrainingState, copied, copies

States = dict[int, dict[str, Any]]
"""An optimizer's, by the number of the tensor that they are of."""


def take_over(engine: Any, state: TrainingState) -> None:
    """Load `state`; a collective. `engine`: what `deepspeed.initialize` returned, fresh."""
    stage, zero, model = engine.zero_optimization_stage(), engine.optimizer, engine.module
    names = {id(weight): name for name, weight in model.named_parameters()}
    if stage == 3:
        zero.checkpoint_event_prologue()
        _into_buffers(model, state.weights)
        _load(zero, _of_stage_3(zero, names, state))
        zero.checkpoint_event_epilogue()
    elif stage:
        model.load_state_dict(state.weights)
        _load(zero, _of_stage_1_or_2(zero, names, state))
    else:
        model.load_state_dict(state.weights)
        _into_stage_0(zero, names, state)
    scaler = getattr(zero, "loss_scaler" if stage else "loss_scale_config", None)
    dynamic = isinstance(scaler, DynamicLossScaler) or getattr(scaler, "dynamic_loss_scale", False)
    if state.scale is not None and dynamic:
        state.scale.into_deepspeed(scaler)


def _load(zero: Any, state: dict[str, Any]) -> None:
    """As from its own file: DeepSpeed looks into a list of all ranks' at its own rank's place."""
    ranks = torch.distributed.get_world_size(group=zero.dp_process_group)
    zero.load_state_dict([state] * ranks, load_optimizer_states=True, load_from_fp32_weights=True)


def _into_buffers(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, buffer in model.named_buffers():
        if name in weights:
            buffer.copy_(weights[name])


def _into_stage_0(optimizer: Any, names: Mapping[int, str], state: TrainingState) -> None:
    """Of stage 0: torch's optimizer, or DeepSpeed's around it with fp32 copies of 16-bit weights."""
    inner = getattr(optimizer, "optimizer", optimizer)
    halves = getattr(optimizer, "fp16_groups", None)
    groups = halves if halves is not None else [group["params"] for group in inner.param_groups]
    order = [names[id(weight)] for group in groups for weight in group]
    if halves is not None:
        masters = [master for group in optimizer.fp32_groups for master in group]
        for name, master in zip(order, masters, strict=True):
            master.data.copy_(state.weights[name])
    # Copies: parameters may share a number of steps, which each of them would count.
    states = {number: copies(state.moments[name]) for number, name in enumerate(order) if name in state.moments}
    inner.load_state_dict({"state": states, "param_groups": inner.state_dict()["param_groups"]})


def _of_stage_1_or_2(zero: Any, names: Mapping[int, str], state: TrainingState) -> dict[str, Any]:
    """A rank's flat part of each group holds those parts of weights whose places DeepSpeed knows."""
    local, states, flats = zero.state_dict(), States(), []
    for number, (weights, flat) in enumerate(zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True)):
        mapped = [(names[id(weight)], weight._hp_mapping) for weight in weights if weight._hp_mapping is not None]
        places = [
            (
                name,
                mapping.hp_fragment_address.start,
                mapping.lp_fragment_address.start,
                mapping.lp_fragment_address.numel,
            )
            for name, mapping in mapped
        ]

        def part_of(values: Mapping[str, Tensor], places: Sequence[Any] = places, like: Tensor = flat) -> Tensor:
            part = torch.zeros(like.numel(), dtype=torch.float32)  # flat: (numbers of this rank,)
            for name, offset, start, count in places:
                part[offset : offset + count] = values[name].flatten()[start : start + count]
            return part

        flats.append(part_of(state.weights))
        states |= _states(number, [names[id(weight)] for weight in weights], state, part_of)
    local["single_partition_of_fp32_groups"] = flats
    local["base_optimizer_state"] = local["base_optimizer_state"] | {"state": states}
    return dict(local)


def _of_stage_3(zero: Any, names: Mapping[int, str], state: TrainingState) -> dict[str, Any]:
    """A rank has its equal part of each weight, the last of which is filled up."""
    local, states, flats = zero.state_dict(), States(), []
    for number, weights in enumerate(zero.fp16_groups):
        counts_by_name = [(names[id(weight)], weight.partition_numel()) for weight in weights]
        rank = torch.distributed.get_rank(group=zero.dp_process_group)

        def part_of(values: Mapping[str, Tensor], counts: Sequence[Any] = counts_by_name, rank: int = rank) -> Tensor:
            parts = []
            for name, count in counts:
                own_part = values[name].flatten()[rank * count : (rank + 1) * count].float()
                parts.append(nn.functional.pad(own_part, (0, count - len(own_part))))
            return torch.cat(parts)  # flat: (sum of `counts`,)

        flats.append(part_of(state.weights))
        states |= _states(number, [name for name, _ in counts_by_name], state, part_of)
    local["fp32_flat_groups"] = flats
    local["optimizer_state_dict"] = local["optimizer_state_dict"] | {"state": states}
    return dict(local)


def _states(number: int, names: Iterable[str], state: TrainingState, part_of: Any) -> States:
    """What the optimizer keeps of a flat tensor: tensors of its weights' shapes, and numbers, equal for all."""
    moments = {name: state.moments[name] for name in names if name in state.moments}
    if not moments:
        return {}
    flat: dict[str, Any] = {}
    for key, example in next(iter(moments.values())).items():
        tensors = isinstance(example, Tensor) and example.ndim > 0
        flat[key] = part_of({name: states[key] for name, states in moments.items()}) if tensors else copied(example)
    return {number: flat}
