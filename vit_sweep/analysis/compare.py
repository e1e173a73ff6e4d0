"""Two studies, cell by cell: which is faster, by how much, and where nobody can say. Pure; needs numpy and scipy.

ratio = T_b / T_a, T the median over runs of each run's median epoch; below 1: b is faster. Its interval is Welch's on
logarithms, the spread between runs partly pooled over the cells of both studies (`series.pooling`). Seeds are not
paired: a seed fixes which images come when, and shares no node, clock or hour with its namesake in another study.
Verdicts are of the whole comparison: p values of all cells and of the mean are adjusted together (Holm 1979), so that
of 20 comparisons of equal studies one errs. Studies of unlike days, of which none was repeated, are taken to differ by
what days usually do (`pooling.DAYS`), since nothing can tell the two apart. A cell with one run on a side has neither
interval nor verdict.

The summary is the geometric mean of the ratios, of these cells and no others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from launchers.checked import checked
from launchers.text import plural
from vit_sweep.analysis.certificates import Certificates
from vit_sweep.analysis.pairing import WAYS, Cells, Unpaired, differing, pair, words_of
from vit_sweep.analysis.series.contention import contention
from vit_sweep.analysis.series.estimates import SIGNIFICANT, doubt_of
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.runs.run import Run

if TYPE_CHECKING:
    # It imports numpy and scipy, which nobody needs before there is a pair to judge.
    from vit_sweep.analysis.series.spreads import Ratio

SAME = "cannot tell apart"
_LOOKED_AT = 200
"""Runs of each side that are looked at for a hint."""
_KIN = 3
"""Things that may differ for a hint to make sense."""


@checked
class Compared:
    """A ratio T_b / T_a and what it lets one say."""

    ratio: Estimate
    """Of a cell, `n` is the smaller number of runs; of the mean, the number of cells."""
    adjusted_p: float
    """p value of the ratio's being 1, adjusted for all ratios of the comparison; 1 without an interval."""

    @property
    def verdict(self) -> str:
        """`b is faster`, `b is slower`, or that nobody can tell."""
        low, high = self.ratio.low, self.ratio.high
        if low is None or high is None or self.adjusted_p >= SIGNIFICANT or low <= 1 <= high:
            return SAME
        return "b is faster" if high < 1 else "b is slower"


@checked
class Pair(Compared):
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

    @property
    def reason(self) -> str:
        """Why nobody can tell; empty where one can."""
        if self.verdict != SAME:
            return ""
        low, high = self.ratio.low, self.ratio.high
        if low is not None and high is not None:
            if low <= 1 <= high:
                return doubt_of(self.ratio, 1.0) or "the interval contains 1"
            return f"among so many comparisons it may be chance (adjusted p = {self.adjusted_p:.2f})"
        if self.ratio.n > 1:
            return "the runs are equal to the last digit, which says nothing of their spread"
        sides = "each side" if max(self.a_runs, self.b_runs) == 1 else "one side"
        return f"a single run on {sides} says nothing of its spread"


@checked
class Comparison:
    """Two studies compared."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[Unpaired, ...]
    one_sided: tuple[str, ...]
    """Conditions that only one side names."""
    across: tuple[str, ...]
    """What would have to be let differ for anything to be paired; empty with pairs."""
    mean: Compared | None
    """Geometric mean of the ratios. None without pairs."""
    notes: tuple[str, ...]
    """What a reader of the intervals must know."""


def compare(a: Iterable[Run], b: Iterable[Run], *, across: Sequence[str] = ()) -> Comparison:
    """Compare the cells that both studies have; conditions named in `across` may differ between them."""
    runs_a, runs_b = list(a), list(b)
    paired = pair(runs_a, runs_b, across=across)
    if not paired.pairs:
        hint = _hint(runs_a, runs_b, across)
        return Comparison(
            pairs=(), unpaired=paired.unpaired, one_sided=paired.one_sided, across=hint, mean=None, notes=()
        )
    from vit_sweep.analysis.series.pooling import holm
    from vit_sweep.analysis.series.spreads import Spreads

    cells = [(named_by_side(x, "a"), named_by_side(y, "b")) for x, y in paired.pairs]
    sides = [side for cell in cells for side in cell]
    contended = contention((in_words(run) for side in sides for run in side), alike=lambda _: "")
    spread = Spreads(sides, alike=lambda _: "", undated=lambda run: run.run_id[:1])
    ratios = [spread.ratio(over, under) for under, over in cells]
    mean = spread.mean_ratio([(over, under) for under, over in cells])
    *adjusted, adjusted_mean = map(float, holm([ratio.p_value for ratio in (*ratios, mean)]))
    labels = labels_of([x for x, _ in paired.pairs])
    return Comparison(
        pairs=tuple(
            _pair(x, y, label, ratio, p)
            for (x, y), label, ratio, p in zip(paired.pairs, labels, ratios, adjusted, strict=True)
        ),
        unpaired=paired.unpaired,
        one_sided=paired.one_sided,
        across=(),
        mean=Compared(ratio=mean.estimate, adjusted_p=adjusted_mean),
        notes=(*shared_runs(cells), *_unlike_work(cells), *spread.notes(), *contended, *_uncertified(cells)),
    )


def in_words(run: Run) -> Run:
    """A run of `named_by_side` as a sentence names it."""
    side, _, name = run.run_id.partition(" ")
    return replace(run, run_id=f"{name} of {side}")


def _uncertified(cells: Sequence[tuple[list[Run], list[Run]]]) -> list[str]:
    count = Certificates(run for pair in cells for side in pair for run in side).uncertified(cells)
    if not count:
        return []
    return [
        f"{count} of {plural(len(cells), 'pair')} of cells put one engine beside another, and no certificate says that "
        "both train the same; certify=true at the sweep makes one"
    ]


def _unlike_work(cells: Sequence[tuple[list[Run], list[Run]]]) -> list[str]:
    count = sum(a[0].work != b[0].work and None not in (a[0].work, b[0].work) for a, b in cells)
    if not count:
        return []
    return [
        f"{count} of {plural(len(cells), 'pair')} of cells cover unlike numbers of images in an epoch: their ratio is "
        "one of work, not of speed"
    ]


def named_by_side(cells: Cells, side: str) -> list[Run]:
    """Runs that count, named so that a study can be compared with itself."""
    return [replace(run, run_id=f"{side} {run.run_id}") for run in cells.timed]


def shared_runs(cells: Iterable[tuple[Sequence[Run], Sequence[Run]]]) -> tuple[str, ...]:
    """That runs of a are those of b too, by cell and times; empty where each side has its own."""
    times = [[{(run.run_id.partition(" ")[2], run.epoch_s) for run in side} for side in cell] for cell in cells]
    shared = sum(len(a & b) for a, b in times)
    if not shared:
        return ()
    runs = sum(len(a | b) for a, b in times)
    return (
        f"{shared} of the {plural(runs, 'run')} compared {'is' if shared == 1 else 'are'} of both sides (same cell, "
        "same times) and counted twice: intervals and verdicts need runs of their own on each side",
    )


def _pair(x: Cells, y: Cells, label: str, ratio: "Ratio", adjusted_p: float) -> Pair:
    a_s, b_s = (median([median(run.epoch_s) for run in side]) for side in (x.timed, y.timed))
    return Pair(
        gpus=x.gpus,
        nodes=x.timed[0].nodes,
        label=label,
        a_s=a_s,
        b_s=b_s,
        a_runs=len(x.timed),
        b_runs=len(y.timed),
        ratio=ratio.estimate,
        adjusted_p=adjusted_p,
    )


def labels_of(cells: Sequence[Cells]) -> list[str]:
    """Just what tells each cell from the others; GPUs and nodes have columns of their own."""
    conditions = [dict(cell.words) for cell in cells]
    names = sorted({name for values in conditions for name in values if name != "nodes"})
    telling = [name for name in names if len({values.get(name, "") for values in conditions}) > 1]
    # `model.layers` says nothing new beside `model`.
    telling = [name for name in telling if "." not in name or name.split(".", 1)[0] not in telling]
    return [" ".join(f"{name}={values[name]}" for name in telling if name in values) for values in conditions]


def _hint(a: Sequence[Run], b: Sequence[Run], across: Sequence[str]) -> tuple[str, ...]:
    """What the nearest cells differ in, for `across`: ways to do the same work, by which cells then do pair.

    Empty where they differ in the work itself, whose times say nothing of each other, or in so much that they have no
    kin.
    """
    near = [
        differing(words_of(run, across), words_of(other, across))
        for run in a[:_LOOKED_AT]
        for other in b[:_LOOKED_AT]
        if run.gpus == other.gpus and run.timed and other.timed
    ]
    fewest = min(near, key=len, default=[])
    names = tuple(dict.fromkeys(name if name in WAYS else name.split(".", 1)[0] for name in fewest))
    if len(names) > _KIN or not set(names) <= WAYS:
        return ()
    return names if pair(a, b, across=[*across, *names]).pairs else ()
