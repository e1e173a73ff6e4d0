"""What a sweep that decides has decided: an answer so far, cells to run next and why, or why it stops. The types; pure.

How it decides is in `analysis.deciding`.
"""

from launchers.checked import End, Instant, Line, Quantity, Whole, checked
from launchers.profile import Count
from vit_sweep.plan.deciding.question import DecideRule

ANSWERED = "answered"
BUDGET = "budget"
EXHAUSTED = "exhausted"


@checked
class Answer:
    """What may be said by now."""

    sentence: Line
    done: bool
    """Whether the question is answered."""
    value: float | None = None
    """Of a question for a number."""
    low: float | None = None
    high: End | None = None
    half_width: End | None = None
    """Half of the interval as a part of the value."""
    possible: tuple[int, ...] = ()
    """Of a question for the largest count: those that it may be."""
    by_laws: bool = False
    """Whether it rests on laws, as the count cannot run or has not."""
    above: tuple[int, ...] = ()
    """Counts whose efficiency is surely the threshold or more, found at this look or before."""
    below: tuple[int, ...] = ()
    """Counts whose efficiency is surely less."""


@checked
class Choice:
    """One count of a round."""

    gpus: Count
    runs: Count
    why: Line


@checked
class Decision:
    """One look at a study."""

    look: Count
    """Its number, from 1."""
    answer: Answer
    choices: tuple[Choice, ...] = ()
    judged: Count | None = None
    """The count that they are to be judged by, of a question for the largest one."""
    hours: Quantity = 0.0
    """GPU-hours of the choices, as far as is known."""
    stop: Line = ""
    """answered, budget, exhausted; empty while it goes on."""
    why: Line = ""
    """Why it stops."""


@checked
class DecisionEntry:
    """One line of `decisions.jsonl`."""

    at: Instant
    """UTC, ISO 8601."""
    until: Line
    """The question."""
    budget_gpu_hours: Quantity
    most: Count
    """Runs of one cell at most."""
    runs: Whole
    """Finished runs that it rests on."""
    spent_gpu_hours: Quantity
    """What they took."""
    decision: Decision
    cells: tuple[tuple[Count, Whole], ...] = ()
    """GPU count and seed of each cell that the choices are."""

    @property
    def rule(self) -> DecideRule:
        """What was asked, and its limits."""
        return DecideRule(until=self.until, budget_gpu_hours=self.budget_gpu_hours, most=self.most)

    @property
    def settled(self) -> bool:
        """Whether it says to stop."""
        return bool(self.decision.stop)
