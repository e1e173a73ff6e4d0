"""Runs that differ in the size of their images alone: how large an image fits, and what a larger one costs. Pure."""

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from vit_sweep.outcome.result import Status
from vit_sweep.runs.run import Run

_SIZE = "model.image_size"


class Resolutions(NamedTuple):
    """Equal work, GPUs and values, of several image sizes."""

    by_size: dict[int, list[Run]]
    """Runs by pixels of a side, smallest first."""
    conditions: tuple[tuple[str, str], ...]
    """What is equal, but for the size."""

    @property
    def trained(self) -> dict[int, list[Run]]:
        """Those with a time."""
        timed = {size: [run for run in runs if run.timed] for size, runs in self.by_size.items()}
        return {size: runs for size, runs in timed.items() if runs}

    @property
    def too_large(self) -> int | None:
        """The smallest size that ran out of memory."""
        full = Status.OUT_OF_MEMORY
        return next((size for size, runs in self.by_size.items() if any(run.status is full for run in runs)), None)

    @property
    def first(self) -> Run:
        """Any of them, for what is equal."""
        return next(iter(self.by_size.values()))[0]


def resolutions(runs: Iterable[Run]) -> list[Resolutions]:
    """Groups with two sizes or more, of which one at least was trained, in an order of their own."""
    groups: dict[Hashable, list[Run]] = {}
    sized = [run for run in runs if run.condition(_SIZE).isdigit()]
    for run in sized if len({run.condition(_SIZE) for run in sized}) > 1 else ():
        equal = (_without_size(run), run.work, run.micro_batch, run.accum, run.gpus, run.nodes)
        groups.setdefault(equal, []).append(run)
    by_size = [_by_size(group) for group in groups.values()]
    telling = [group for group in by_size if len(group.by_size) > 1 and group.trained]
    return sorted(telling, key=lambda group: (group.conditions, group.first.gpus, group.first.nodes or 0))


def _without_size(run: Run) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in run.conditions if name != _SIZE)


def _by_size(runs: list[Run]) -> Resolutions:
    by_size: dict[int, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (int(run.condition(_SIZE)), run.run_id)):
        by_size.setdefault(int(run.condition(_SIZE)), []).append(run)
    return Resolutions(by_size, _without_size(runs[0]))
