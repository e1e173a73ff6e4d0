"""When two measured numbers cannot be told apart. Pure."""

from vit_sweep.analysis.series.series import Estimate

SINGLE_RUN = 0.04
"""Half-width given to a time that has no interval. An assumption, not a finding: like runs commonly differ by a few
per cent, and only repeats say by how much here."""


def alike(one: Estimate, other: Estimate) -> bool:
    """Whether their 95 % intervals overlap."""
    (low, high), (least, most) = _ends(one), _ends(other)
    return low <= most and least <= high


def scaled(value: Estimate, factor: float) -> Estimate:
    """The same number in another unit (`factor` above 0)."""
    low, high = (None if end is None else factor * end for end in (value.low, value.high))
    return Estimate(value=factor * value.value, low=low, high=high, n=value.n)


def _ends(value: Estimate) -> tuple[float, float]:
    if value.low is None or value.high is None:
        return value.value * (1 - SINGLE_RUN), value.value * (1 + SINGLE_RUN)
    return value.low, value.high
