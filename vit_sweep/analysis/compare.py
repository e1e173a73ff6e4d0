"""Two studies, cell by cell: which is faster, by how much, and where nobody can say. Pure; numpy is imported here.

ratio = T_b / T_a, T the median over runs of each run's median epoch; below 1: b is faster. Where two or more seeds are
on both sides it is the median over these seeds of their own ratios (paired), drawn by resampling seeds and, within
each, epochs of both runs. Else both sides are resampled on their own. A side with a single run borrows the spread
between the other's runs, since its own is not known. With single runs on both sides there is no interval.

The summary is the geometric mean of the ratios; its draws resample the pairs and take a draw of each.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import median

import numpy as np
import numpy.typing as npt

from launchers.checked import checked
from vit_sweep.analysis.pairing import Cells, Unpaired, differing, pair, words_of
from vit_sweep.analysis.series.bootstrap import DRAWS, interval, median_draws
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.runs.run import Run

Draws = npt.NDArray[np.float64]

SAME = "cannot tell apart"
_LOOKED_AT = 200
"""Runs of each side that are looked at for a hint."""
_KIN = 3
"""Things that may differ for a hint to make sense."""


@checked
class Pair:
    """One cell in both studies."""

    gpus: int
    nodes: int | None
    label: str
    """What tells the cell from the other pairs."""
    a_s: float
    b_s: float
    """Seconds of an epoch."""
    a_runs: int
    b_runs: int
    seeds: int
    """Seeds that both sides have, if the ratio is over these; else 0."""
    ratio: Estimate
    """T_b / T_a; `n` is the smaller number of runs."""

    @property
    def verdict(self) -> str:
        """`b is faster`, `b is slower`, or that nobody can tell."""
        if self.ratio.low is None or self.ratio.high is None or self.ratio.low <= 1 <= self.ratio.high:
            return SAME
        return "b is faster" if self.ratio.high < 1 else "b is slower"

    @property
    def reason(self) -> str:
        """Why nobody can tell; empty where one can."""
        if self.verdict != SAME:
            return ""
        return "the interval contains 1" if self.ratio.known else "one run on each side says nothing of their spread"


@checked
class Comparison:
    """Two studies compared."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[Unpaired, ...]
    one_sided: tuple[str, ...]
    """Conditions that only one side names."""
    across: tuple[str, ...]
    """What would have to be let differ for anything to be paired; empty with pairs."""
    mean: Estimate | None
    """Geometric mean of the ratios; `n` is the number of pairs. None without pairs."""


def compare(a: Iterable[Run], b: Iterable[Run], *, across: Sequence[str] = (), seed: int = 0) -> Comparison:
    """Compare the cells that both studies have; conditions named in `across` may differ between them."""
    mine, other = list(a), list(b)
    found = pair(mine, other, across=across)
    labels = _labels([cells for cells, _ in found.pairs])
    made = [
        _pair(x, y, label, seed=seed + number)
        for number, ((x, y), label) in enumerate(zip(found.pairs, labels, strict=True))
    ]
    return Comparison(
        pairs=tuple(one for one, _ in made),
        unpaired=found.unpaired,
        one_sided=found.one_sided,
        across=_hint(mine, other, across) if not made else (),
        mean=_mean([one.ratio.value for one, _ in made], [draws for _, draws in made], seed) if made else None,
    )


def _pair(x: Cells, y: Cells, label: str, *, seed: int) -> tuple[Pair, Draws | None]:
    a, b = x.timed, y.timed
    a_s, b_s = (median([median(run.epoch_s) for run in side]) for side in (a, b))
    both = _paired(a, b)
    if len(both) > 1:
        value = median([median(two.epoch_s) / median(one.epoch_s) for one, two in both])
        draws: Draws | None = _paired_draws(both, seed)
    else:
        value, draws = b_s / a_s, _free_draws(a, b, seed)
    n = min(len(a), len(b))
    ratio = Estimate(value=value, n=n) if draws is None else interval(draws, value, n)
    made = Pair(
        gpus=x.gpus,
        nodes=a[0].nodes,
        label=label,
        a_s=a_s,
        b_s=b_s,
        a_runs=len(a),
        b_runs=len(b),
        seeds=len(both) if len(both) > 1 else 0,
        ratio=ratio,
    )
    return made, draws


def _paired(a: Sequence[Run], b: Sequence[Run]) -> list[tuple[Run, Run]]:
    """The runs of equal seeds, as far as a seed names one run on each side."""
    mine, other = ({run.seed: run for run in side if run.seed is not None} for side in (a, b))
    if any(len([run for run in side if run.seed is not None]) != len(one) for side, one in ((a, mine), (b, other))):
        return []
    return [(mine[number], other[number]) for number in sorted(mine.keys() & other.keys(), key=lambda one: one or 0)]


def _paired_draws(both: Sequence[tuple[Run, Run]], seed: int) -> Draws:
    """Seeds are drawn with replacement, then the epochs of both runs of each."""
    columns = [
        median_draws([two.epoch_s], seed=seed, salt=2 * place + 1)
        / median_draws([one.epoch_s], seed=seed, salt=2 * place)
        for place, (one, two) in enumerate(both)
    ]
    ratios = np.stack(columns)
    source = np.random.default_rng([seed, len(both)])
    who = source.integers(len(both), size=(DRAWS, len(both)))
    which = source.integers(DRAWS, size=(DRAWS, len(both)))
    drawn: Draws = np.median(ratios[who, which], axis=1)
    return drawn


def _free_draws(a: Sequence[Run], b: Sequence[Run], seed: int) -> Draws | None:
    if len(a) < 2 and len(b) < 2:
        return None
    sides = []
    for salt, (mine, other) in enumerate(((a, b), (b, a))):
        if len(mine) > 1:
            sides.append(median_draws([run.epoch_s for run in mine], seed=seed, salt=salt))
        else:
            sides.append(median(mine[0].epoch_s) * _one_of(other, seed, salt))
    return sides[1] / sides[0]


def _one_of(runs: Sequence[Run], seed: int, salt: int) -> Draws:
    """How far a single run lies from the median of its repeats: draws of one run over their median."""
    source = np.random.default_rng([seed, salt, len(runs)])
    medians = np.asarray(sorted(median(run.epoch_s) for run in runs))
    drawn: Draws = medians[source.integers(len(medians), size=DRAWS)] / np.median(medians)
    return drawn


def _mean(ratios: Sequence[float], draws: Sequence[Draws | None], seed: int) -> Estimate:
    """The geometric mean with the interval of its draws; None of it where there is one pair without an interval."""
    value = math.exp(sum(map(math.log, ratios)) / len(ratios))
    if len(ratios) == 1 and draws[0] is None:
        return Estimate(value=value, n=1)
    rows = [np.full(DRAWS, ratio) if drawn is None else drawn for ratio, drawn in zip(ratios, draws, strict=True)]
    table = np.log(np.stack(rows))
    source = np.random.default_rng([seed, len(ratios), 7])
    who = source.integers(len(ratios), size=(DRAWS, len(ratios)))
    which = np.arange(DRAWS)[:, None]
    return interval(np.exp(table[who, which].mean(axis=1)), value, len(ratios))


def _labels(cells: Sequence[Cells]) -> list[str]:
    """Just what tells each cell from the others; GPUs and nodes have columns of their own."""
    known = [dict(one.words) for one in cells]
    names = sorted({name for one in known for name in one if name != "nodes"})
    telling = [name for name in names if len({one.get(name, "") for one in known}) > 1]
    # `model.layers` says nothing new beside `model`.
    telling = [name for name in telling if "." not in name or name.split(".", 1)[0] not in telling]
    return [" ".join(f"{name}={one[name]}" for name in telling if name in one) for one in known]


def _hint(a: Sequence[Run], b: Sequence[Run], across: Sequence[str]) -> tuple[str, ...]:
    """What the nearest cells differ in, for `across`; empty where that is nothing or so much that they have no kin."""
    near = [
        differing(words_of(run, across), words_of(other, across))
        for run in a[:_LOOKED_AT]
        for other in b[:_LOOKED_AT]
        if run.gpus == other.gpus and run.timed and other.timed
    ]
    fewest = min(near, key=len, default=[])
    names = tuple(dict.fromkeys(name.split(".", 1)[0] for name in fewest))
    return names if len(names) <= _KIN else ()
