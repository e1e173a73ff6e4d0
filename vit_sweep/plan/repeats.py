"""When a cell has been repeated enough: the rule that a plan keeps for whoever adds repeats. Pure."""

from launchers.checked import checked
from launchers.profile import Count, Positive

LEAST_RUNS = 3
"""Fewer runs say nothing of their spread."""


@checked
class RepeatRule:
    """When a cell has been repeated enough."""

    half_width: Positive
    """Relative half-width of the interval on the median epoch time: 0.02 is +- 2 %."""
    most: Count
    """Runs of one cell at most."""
