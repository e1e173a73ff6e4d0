"""What a library that keeps figures must offer, and what it is told of the run. Imports nothing of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Parameter = str | int | float | bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackedRun:
    """The run that is kept. Its name in every library is its cell's id, so the runs of a study lie side by side."""

    study: Path
    """Folder of the study; every library has a folder of its name there."""
    cell_dir: Path
    cell_id: str
    parameters: Mapping[str, Parameter]
    """What the cell is, by dotted name: what libraries call hyperparameters."""
    epoch_names: Sequence[str]
    """Names of all figures that an epoch may have."""


class Tracker(Protocol):
    """One library, told of one run. Made anew, it forgets what an earlier attempt said of the same cell.

    All methods may raise whatever the library raises. None is called while steps are timed.
    """

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of epoch `number`, from 1, and leave nothing to do for a thread of this process."""

    def finish(self, epochs: int, figures: Mapping[str, float]) -> None:
        """Keep the figures of the whole run, and end it well."""

    def abandon(self) -> None:
        """The run ended before its end: keep what there is. Not called after `finish`."""
