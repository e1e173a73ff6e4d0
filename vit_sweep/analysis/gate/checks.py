"""What is checked, and what became of it: the types. Pure."""

from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum
from typing import Annotated

from launchers.checked import End, Gt, Le, Part, Quantity, checked
from launchers.profile import Count


class Standing(StrEnum):
    """What a check says."""

    WORSE = "worse"
    OPEN = "cannot tell"
    APART = "not compared"
    BETTER = "better"
    FINE = "fine"


class Kind(StrEnum):
    """What is checked of a cell."""

    CELL = "cell"
    """Whether it is there and has finished."""
    COUNT = "count"
    """Something that is counted in a step: it has no noise."""
    TIME = "time"
    """The time of an epoch."""


MEMORY = "peak_memory_bytes"
SLOWER = 0.05
TOLERANCE = {MEMORY: 0.01}
"""An allocator rounds, and its caches depend on what was freed when."""


@checked
class Rules:
    """What counts as worse."""

    slower: Annotated[float, Gt(0), Le(10)] = SLOWER
    """By how much, as a part, an epoch may be longer before it matters."""
    tolerance: dict[str, Part] = field(default_factory=lambda: dict(TOLERANCE))
    """By how much a count may be larger, as a part; 0 for those that are not named."""
    across: tuple[str, ...] = ()
    """Conditions that may differ, `software` and `machine` among them."""


@checked
class Check:
    """One comparison with the baseline."""

    kind: Kind
    name: str
    """What is compared: `collectives.all_reduce.calls`, `epoch_s`."""
    cell: str
    standing: Standing
    sentence: str
    """A clause that goes on from the cell and the name."""
    before: Quantity | None = None
    after: Quantity | None = None
    ratio: Quantity | None = None
    """Of times: after / before."""
    low: float | None = None
    """Of an interval of the ratio that holds the truth in 95 % of gates, for all of its times together."""
    high: End | None = None
    runs_before: int = 0
    runs_after: int = 0
    more: Count | None = None
    """How many more runs of this cell would tell."""
    contended: str = ""
    """Of times: the side, `baseline` or `study`, whose runs alone waited for cores that others had."""
    found: Quantity | None = None
    """The least slow-down, as a part, that these runs find in 80 of 100 cases."""


@checked
class Gate:
    """A study held against a baseline."""

    rules: Rules
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    """What a reader must know."""

    @property
    def verdict(self) -> Standing:
        """`worse` if anything is; `cannot tell` if that is so of anything, or nothing was compared; else `fine`."""
        standings = {check.standing for check in self.checks}
        if Standing.WORSE in standings:
            return Standing.WORSE
        told_apart = standings & {Standing.FINE, Standing.BETTER}
        return Standing.OPEN if Standing.OPEN in standings or not told_apart else Standing.FINE

    def of(self, standing: Standing, *kinds: Kind) -> tuple[Check, ...]:
        """The checks that say this; of these kinds, where some are named."""
        return tuple(c for c in self.checks if c.standing is standing and (not kinds or c.kind in kinds))


def most_repeats(checks: Iterable[Check]) -> int | None:
    """How many runs more the check needs that needs most; None where none says so."""
    return max((check.more for check in checks if check.more), default=None)


def exact(value: float) -> str:
    """A count as it is, thousands apart.

    >>> exact(1234567.0), exact(0.25)
    ('1,234,567', '0.25')
    """
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"
