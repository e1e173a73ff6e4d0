"""The checkpoint that a training goes on from. Pure.

A cell that goes on from one is another cell than one that begins anew: which checkpoint it is, by content, is part of
its identity.
"""

from typing import Annotated

from launchers.checked import Ge, Le, Line, Name, Whole, checked
from launchers.profile import Count
from launchers.text import plural


@checked
class Origin:
    """A checkpoint as the plan saw it."""

    cell_id: Name
    """Whose training it is."""
    checkpoint: Name
    """Its folder's name: `e0003-s000017`."""
    content: Name
    """Digest of all its files."""
    folder: Line
    """Where it lies."""
    gpus: Count
    """Ranks that wrote it."""
    engine: Name
    """Theirs, by its name."""
    machinery: Name
    """Whose code wrote it (`engine.kinds.machinery`)."""
    zero_stage: Annotated[int, Ge(0), Le(3)] | None
    offloads: bool = False
    """Whether some of its states did not lie on the GPUs."""
    sequence: Count = 1
    """Ranks that shared the tokens of an image."""
    epoch: Count
    """The epoch to go on with, from 1."""
    step: Whole
    """Finished optimizer steps of it."""
    training: tuple[tuple[Line, Line], ...]
    """What must stay what it was, by its word (`rules.training_of`)."""

    @property
    def sentence(self) -> str:
        """What a reader of its figures must know."""
        step = f", step {self.step}" if self.step else ""
        return (
            f"goes on from epoch {self.epoch}{step} of {self.cell_id}, which ran on {plural(self.gpus, 'GPU')} with "
            f"{self.engine}: its times stand in no series"
        )
