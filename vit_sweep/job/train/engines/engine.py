"""What an engine must do. Everything else (loop, clock, data, seeds, stopping, measuring) is the same for all of them.

A module that holds an engine has a function `build(cell, model) -> Engine`; the process group is there when it is
called, and every rank calls it with the same weights.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from vit_sweep.plan.cell import Cell
from vit_sweep.record.counts import CollectiveKind
from vit_sweep.record.record import BatchTriple

Inputs = Tensor | tuple[Tensor, Tensor]
"""What a model is given: images (n, channels, rows, columns), or these and the tokens (n, length) of their captions."""


class EngineReport(NamedTuple):
    """What an engine says of itself: read from what it made, never from what was asked."""

    kind: str
    """Which engine it is, by its classes."""
    classes: tuple[str, ...]
    """Names of the classes that wrap the model and update it."""
    batch: BatchTriple
    zero_stage: int | None
    precision: str
    parameters: int
    """Of the whole model."""


class Counts(Protocol):
    """Collectives of this rank that went by."""

    def kinds(self, steps: int) -> Sequence[CollectiveKind]:
        """Per step, over `steps` steps."""


class Optimizer(Protocol):
    """What updates the weights."""

    param_groups: list[dict[str, Any]]
    """The learning rate is set here, as `lr`, before each update; the engine calls its `step`."""


class Engine(Protocol):
    """One rank's side of an engine. `boundary`: the micro step is the last one of its optimizer step."""

    @property
    def module(self) -> nn.Module:
        """The model, with its own names of parameters; an engine may keep a part of each only."""

    @property
    def optimizer(self) -> Optimizer:
        """What updates the weights."""

    @property
    def skipped_steps(self) -> int:
        """Optimizer steps so far that were left out because a gradient was not finite."""

    def exchange_apart(self, enabled: bool) -> bool:
        """Leave the exchange of gradients to `exchange`, so that its time shows, or do it within the other calls.

        Returns whether the loop must call `exchange`: an engine that exchanges during backward says no.
        """

    def forward(self, inputs: Inputs, *, boundary: bool) -> Tensor:
        """Logits (micro batch, outputs) of a micro step in training."""

    def backward(self, loss: Tensor, *, boundary: bool) -> None:
        """Add the gradients of `loss` / accum, averaged over the ranks, to those of the optimizer step."""

    def exchange(self) -> None:
        """Average the gradients over the ranks; at a boundary, and where `exchange_apart` said so only."""

    def step(self, *, boundary: bool) -> None:
        """End a micro step: at a boundary update the weights, and forget the gradients."""

    def evaluate(self, inputs: Inputs) -> Tensor:
        """Logits (images, outputs) without gradients; all ranks call it equally often."""

    def weights(self) -> dict[str, Tensor]:
        """TrainingState weights by the model's own names, on the host; a collective."""

    def silenced(self) -> AbstractContextManager[None]:
        """Within it steps communicate nothing: their results are wrong, their times those of computation alone."""

    def counted(self) -> AbstractContextManager[Counts]:
        """Within it the collectives of steps are counted."""

    def save(self, folder: Path) -> None:
        """Write all that `load` needs below `folder`, which is there; a collective."""

    def load(self, folder: Path) -> None:
        """Become what was saved, bit by bit; a collective. Unpickles nothing but tensors and plain values."""

    def report(self) -> EngineReport:
        """Say what it is."""


Build = Callable[[Cell, nn.Module], Engine]
"""What a module that holds an engine has as `build`."""
