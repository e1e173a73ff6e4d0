"""The state of a training as whole tensors by the model's own names, whatever kept them and in how many parts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor


class Scale(NamedTuple):
    """Where the scaling of fp16's loss is."""

    value: float
    clean_steps: int
    """Steps since it last changed: after so many without an overflow it grows."""

    def of_torch(self, scaler: dict[str, Any]) -> dict[str, Any]:
        """The state of torch's GradScaler, `scaler`, at this place; an empty one scales nothing."""
        return scaler | {"scale": self.value, "_growth_tracker": self.clean_steps} if scaler else scaler

    def into_deepspeed(self, scaler: Any) -> None:
        """Put one of DeepSpeed's scalers, or its settings of one, at this place."""
        scaler.cur_scale, scaler.cur_iter, scaler.last_overflow_iter = self.value, self.clean_steps, -1


def scale_of_torch(scaler: dict[str, Any] | None) -> Scale | None:
    """Of a GradScaler's state; None where it scales nothing."""
    return Scale(scaler["scale"], scaler["_growth_tracker"]) if scaler else None


def scale_of_deepspeed(cur_scale: float, cur_iter: int, last_overflow_iter: int, scale_window: int) -> Scale:
    """Of what DeepSpeed keeps: it grows where the steps since the last overflow are a multiple of the window."""
    return Scale(cur_scale, max(0, cur_iter - last_overflow_iter - 1) % scale_window)


class TrainingState(NamedTuple):
    """All that an engine must take over."""

    weights: dict[str, Tensor]
    """Parameters, in fp32 where copies in fp32 are kept, and buffers."""
    moments: dict[str, dict[str, Any]]
    """What the optimizer keeps of each parameter: tensors of its shape or another, numbers. Empty before any step."""
    scale: Scale | None
    """None where the loss is not scaled."""


def copied(state: Any) -> Any:
    """Of its own memory, whatever file or other parameter it came from."""
    return state.clone() if isinstance(state, Tensor) else state


def copies(states: Mapping[str, Any]) -> dict[str, Any]:
    """The same of several."""
    return {name: copied(state) for name, state in states.items()}
