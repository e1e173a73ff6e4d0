"""What measuring after the training needs: the steps of an engine whose weights stay."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch

from vit_sweep.job.train.engines.engine import Counts, Optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """One rank's means to run steps that are not training."""

    ranks: int
    rank: int
    device: torch.device
    step: Callable[[], None]
    """One optimizer step on a constant batch."""
    forward: Callable[[], None]
    """One forward of a micro batch of it, without gradients."""
    enter: Callable[[], None]
    """Before each unit of work; raises `StopAgreed` if all ranks stop before it."""
    barrier: Callable[[], None]
    silenced: Callable[[], AbstractContextManager[None]]
    """Within it steps communicate nothing."""
    counted: Callable[[], AbstractContextManager[Counts]]
    """Within it the collectives of steps are counted."""

    def settle(self) -> None:
        """Wait for the device. Not for timed training; between blocks of a measurement it is right."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


@contextmanager
def at_rest(optimizer: Optimizer) -> Iterator[None]:
    """Let the optimizer do all of its work and change no weight: learning rate zero."""
    groups = optimizer.param_groups
    rates = [group["lr"] for group in groups]
    for group in groups:
        group["lr"] = 0.0
    try:
        yield
    finally:
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
