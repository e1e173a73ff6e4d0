"""In which order to tell counts from a threshold: the way that is expected to take the fewest GPU-hours. Pure.

A count that is told to be above leaves those beyond it, one below those before it. So the ways are search trees over
the counts in their order, whose looks cost differently, and the best one is found as an optimal search tree is (Knuth
1971): for each stretch of counts once, from the short to the long.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What telling one count from the threshold is expected to come to."""

    gpus: int
    above: float
    """Probability that it turns out to be above; the rest: below."""
    hours: float
    """GPU-hours that it is expected to take."""


def by_first_look(open_: Sequence[Prospect]) -> list[int]:
    """The counts by how many GPU-hours are expected until all are told, if this one is looked at first; fewest first.

    `open_`: counts, rising. What others turn out to be is taken for independent of it.

    >>> low, high = Prospect(gpus=2, above=0.9, hours=1), Prospect(gpus=4, above=0.8, hours=1)
    >>> by_first_look([low, high])  # 1 + 0.2 GPU-hours, or 1 + 0.9
    [4, 2]
    """
    best = {(start, start): 0.0 for start in range(len(open_) + 1)}
    ways: list[tuple[float, int]] = []
    for length in range(1, len(open_) + 1):
        for start in range(len(open_) - length + 1):
            end = start + length
            ways = []
            for place in range(start, end):
                prospect, before, beyond = open_[place], best[start, place], best[place + 1, end]
                after = prospect.above * beyond + (1 - prospect.above) * before
                ways.append((prospect.hours + after, prospect.gpus))
            best[start, end] = min(ways)[0]
    return [gpus for _, gpus in sorted(ways)]
