"""What is asked of a scaling curve, and what an answer holds: the types. Pure."""

from enum import StrEnum

from launchers.checked import checked


class Question(StrEnum):
    """What is asked of a curve."""

    EFFICIENT = "efficient"
    """The largest GPU count whose efficiency is at least a threshold."""
    CHEAPEST = "cheapest"
    """The fewest GPU-seconds for an epoch."""
    FASTEST = "fastest"
    NEXT = "next"
    """Which cell to run next."""
    SUPPORT = "support"
    """Whether the grid can carry a fit at all."""
    LAW = "law"
    """Which law describes the curve best."""


@checked
class Answer:
    """One sentence, and what a program needs of it."""

    question: Question
    sentence: str
    gpus: int | None = None
    """The count that it names."""
    ties: tuple[int, ...] = ()
    """Counts that cannot be told from it."""
    assumption: str = ""
    """A clause: by which spread, which nobody has seen, single runs were ranked; empty where none were."""
    measured: int | None = None
    """The largest efficient count that was measured, where one was asked for and `gpus` may be predicted."""
    predicted: bool = False
    """Whether this count was not measured."""
    words: str = ""
    """What to type, where the answer is something to run."""
    notes: tuple[str, ...] = ()
    """Contended hosts among the runs that it rests on."""
