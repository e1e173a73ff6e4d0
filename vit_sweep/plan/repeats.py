"""How often a cell is to be repeated: the rule that a plan keeps for whoever adds repeats, and advice. Pure.

The half-width of a time's interval is t(f) x spread / sqrt(runs) (`analysis.series.pooling`), f the degrees of freedom
of all cells that are pooled. Looking again after each run stops too early where f is small, by luck: from
`LEAST_FREEDOM` on the interval covers at least 93 % (benchmarks/judging/coverage.py, docs/results/trust.md).
"""

from collections.abc import Iterable, Sequence
from math import ceil, exp, log, pi, sqrt, tan
from statistics import NormalDist, median, variance

from launchers.checked import checked
from launchers.profile import Count, Positive
from launchers.text import plural

LEAST_RUNS = 2
"""One run says nothing of its spread."""
LEAST_FREEDOM = 10
"""Degrees of freedom, over all cells of a configuration, below which nobody stops."""
WANTED = 0.02
"""Half-width of an interval, relative, that a plan is advised for where none is asked."""
MOST_ADVISED = 10
USUAL = 0.02
"""Standard deviation between runs where none were seen; published logs have 0.5 to 5 %."""


@checked
class RepeatRule:
    """When a cell has been repeated enough."""

    half_width: Positive
    """Relative half-width of the interval on the median epoch time: 0.02 is ±2%."""
    most: Count
    """Runs of one cell at most."""


@checked
class SeenSpread:
    """How far runs of a cell lie from each other, as far as was seen."""

    deviation: float
    """Standard deviation of the logarithms of run medians."""
    freedom: int


@checked
class Advice:
    """How many runs of each cell a curve needs."""

    repeats: int
    sentence: str
    """Why, with the numbers; empty where there are enough."""
    gives: str
    """What they give: times to ±1.9%, and what that rests on; likewise empty."""


def least_runs(cells: int) -> int:
    """Runs of each of so many cells before an interval may say that there are enough."""
    return max(LEAST_RUNS, 1 + ceil(LEAST_FREEDOM / max(1, cells)))


def runs_to_add(runs: int, width: float | None, cells: int, rule: RepeatRule) -> int:
    """How many further runs of a cell to make now: 0 once its interval is narrow enough or the rule's most is reached.

    `width`: relative half-width of its interval, None where all runs are equal to the last digit; `cells`: of its pool.
    Nothing is judged before `least_runs`. A half-width shrinks with the square root of the runs, which says how many
    are missing.
    """
    room = rule.most - runs
    least = least_runs(cells)
    if room <= 0 or runs < least:
        return max(0, min(room, least - runs))
    if width is None or width <= rule.half_width:
        return 0
    return max(1, min(room, ceil(runs * (width / rule.half_width) ** 2) - runs))


def half_width(runs: int, cells: int, deviation: float) -> float:
    """Half of the interval that so many runs of each cell give, relative; `runs` at least 2."""
    return t_quantile(max(1, cells) * (runs - 1)) * deviation / sqrt(runs)


def t_quantile(freedom: float, probability: float = 0.975) -> float:
    """Of Student's t, without scipy: to 4 % from 1 degree of freedom on, up to a probability of 99.9 %.

    Exact for 1 and 2; from 3 on by Abramowitz and Stegun 26.7.5; between these its logarithm is a line in 1 / freedom.
    """
    if freedom < 3:
        exact = (tan(pi * (probability - 0.5)), (2 * probability - 1) / sqrt(2 * probability * (1 - probability)))
        fewer = 1 if freedom < 2 else 2
        below, above = exact[fewer - 1], exact[1] if fewer == 1 else t_quantile(3, probability)
        part = (1 / fewer - 1 / freedom) * fewer * (fewer + 1)
        return exp((1 - part) * log(below) + part * log(above))
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def seen_spread(cells: Iterable[Sequence[Sequence[float]]]) -> SeenSpread | None:
    """Pool the runs of cells, each run its positive epoch times; None without a cell that was repeated."""
    squares, freedom = 0.0, 0
    for runs in cells:
        logs = [log(median(times)) for times in runs]
        if len(logs) > 1:
            squares += (len(logs) - 1) * variance(logs)
            freedom += len(logs) - 1
    return SeenSpread(deviation=sqrt(squares / freedom), freedom=freedom) if freedom else None


def advise(cells: int, runs: int, *, seen: SeenSpread | None, target: float = WANTED) -> Advice:
    """How many runs each of `cells` cells needs for times to ±`target`; `runs`: of the cell that has the fewest."""
    deviation = seen.deviation if seen is not None else USUAL
    enough = range(LEAST_RUNS, MOST_ADVISED + 1)
    repeats = next((n for n in enough if half_width(n, cells, deviation) <= target), MOST_ADVISED)
    if runs >= repeats:
        return Advice(repeats=repeats, sentence="", gives="")
    basis = (
        f"runs differ by {seen.deviation:.1%} so far ({plural(seen.freedom, 'degree')} of freedom)"
        if seen is not None
        else f"if runs differ by {USUAL:.0%}, an assumption"
    )
    shortage = "a single run per count gives no interval" if runs < LEAST_RUNS else f"{runs} runs per count are few"
    times = f"times to ±{max(half_width(repeats, cells, deviation), 0.001):.1%}"
    assumption = f"as runs differ by {deviation:.1%} so far" if seen is not None else f"if runs differ by {USUAL:.0%}"
    return Advice(
        repeats=repeats,
        sentence=f"{shortage}; {basis}, repeats={repeats} gives {times}",
        gives=f"{times} {assumption}",
    )
