"""Times of epochs, a study against its baseline. Pure; needs numpy and scipy.

Times are judged by the statistic of `compare`: the ratio of epoch times, its logarithm, the spread pooled over cells,
days among its errors. Intervals of all cells and of their geometric mean hold the truth together in 95 % of gates
(Bonferroni), and are what decides: worse where the whole interval lies beyond the slow-down that matters, fine where it
lies before it, else nobody can tell. So one gate of 40 that is exactly at that bound says worse, and of equal studies
hardly any.

Who waits for a core is slower than they are. Where a side has quiet runs, its others are left out; where one side has
none, a study that waited is not called worse for it, nor does a baseline that waited show that the study is fine.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log1p
from statistics import median
from typing import NamedTuple

from launchers.text import plural
from vit_sweep.analysis.compare import in_words, shared_runs
from vit_sweep.analysis.gate.checks import Check, Kind, Rules, Standing
from vit_sweep.analysis.gate.paired_cell import PairedCell, unlike_machine
from vit_sweep.analysis.gate.power import MOST, Sides, detectable_slowdown, least_runs, more_runs, reach
from vit_sweep.analysis.pairing import MACHINE
from vit_sweep.analysis.series.contention import contention
from vit_sweep.analysis.series.estimates import SIGNIFICANT
from vit_sweep.analysis.series.pooling import half_width
from vit_sweep.analysis.series.spreads import Logarithm, Ratio, Spreads
from vit_sweep.plan.repeats import USUAL

EPOCH = "epoch_s"
_UNTRUE = {"study": (Standing.WORSE,), "baseline": (Standing.FINE, Standing.BETTER)}
"""What a time cannot say where one side alone was slowed down."""


class _Criteria(NamedTuple):
    """What all times of a gate are judged by."""

    slower: float
    confidence: float
    """Of the interval of one of them, so that all hold the truth together."""
    cells: int


def times_of(pairs: Sequence[PairedCell], rules: Rules) -> tuple[list[Check], list[str]]:
    checks: list[Check] = []
    compared: list[PairedCell] = []
    for cell in pairs:
        elsewhere = "" if MACHINE in rules.across else unlike_machine(cell.before, cell.after)
        why = f"another machine: {elsewhere}" if elsewhere else _no_time(cell)
        if why:
            checks.append(Check(kind=Kind.TIME, name=EPOCH, cell=cell.name, standing=Standing.APART, sentence=why))
        else:
            compared.append(cell)
    if not compared:
        return checks, []
    sides = [side for cell in compared for side in cell.timed]
    spread = Spreads(sides, alike=lambda _: "", undated=lambda run: run.run_id[:1])
    ratios = [spread.ratio(cell.timed[1], cell.timed[0]) for cell in compared]
    even = [cell for cell in compared if not cell.contended]
    mean = spread.mean_ratio([(cell.timed[1], cell.timed[0]) for cell in even]) if len(even) > 1 else None
    several = mean is not None and mean.logarithm is not None
    looked_at = sum(ratio.logarithm is not None for ratio in ratios) + several
    criteria = _Criteria(rules.slower, 1 - SIGNIFICANT / max(1, looked_at), len(compared))
    time_checks = [
        _time(cell, ratio, _sides(spread, cell, ratio.logarithm), criteria)
        for cell, ratio in zip(compared, ratios, strict=True)
    ]
    if mean is not None and mean.logarithm is not None:
        time_checks.append(_mean(mean.estimate.value, mean.logarithm, len(even), criteria))
    busy = contention((in_words(run) for side in sides for run in side), alike=lambda _: "")
    if waited := sum(cell.waited for cell in compared):
        busy = (
            *busy,
            f"left out: {plural(waited, 'run')} that waited for cores that others had, beside quiet ones of the cell",
        )
    notes = [*shared_runs(cell.timed for cell in compared), *spread.notes(), *busy]
    if weakest := max((check.found for check in time_checks if check.found is not None), default=None):
        notes.append(
            f"a slow-down of {weakest:.1%} of any one cell would be found in 80 of 100 gates with as many runs; "
            f"intervals are of {plural(looked_at, 'check')} together"
        )
    return [*checks, *time_checks], notes


def _no_time(cell: PairedCell) -> str:
    for runs, timed, side in zip((cell.before, cell.after), cell.timed, ("baseline", "study"), strict=True):
        if not timed:
            crowded = any(run.oversubscribed for run in runs)
            return f"no time that counts in the {side}{': more ranks than cores' if crowded else ''}"
    return ""


def _sides(spread: Spreads, cell: PairedCell, logarithm: Logarithm | None) -> Sides | None:
    if logarithm is None:
        return None
    before, after = (spread.of_a_run(side) for side in cell.timed)
    runs_before, runs_after = map(len, cell.timed)
    days = max(0.0, logarithm.variance - before / runs_before - after / runs_after)
    return Sides(before, after, runs_before, runs_after, days, logarithm.freedom)


def _time(cell: PairedCell, ratio: Ratio, sides: Sides | None, criteria: _Criteria) -> Check:
    before, after = (median([median(run.epoch_s) for run in side]) for side in cell.timed)
    seconds = f"{after:.4g} s instead of {before:.4g} s an epoch"
    blank = Check(
        kind=Kind.TIME,
        name=EPOCH,
        cell=cell.name,
        standing=Standing.OPEN,
        sentence="",
        before=before,
        after=after,
        ratio=ratio.estimate.value,
        runs_before=len(cell.timed[0]),
        runs_after=len(cell.timed[1]),
    )
    logarithm = ratio.logarithm
    if logarithm is None or sides is None:
        if ratio.estimate.n > 1:
            why = "the runs are equal to the last digit, which says nothing of their spread"
            return replace(blank, sentence=f"{seconds}: {why}")
        runs = least_runs(criteria.cells, log1p(criteria.slower), USUAL, criteria.confidence)
        advice = f"; repeats={runs} of both would do if runs differ by {USUAL:.0%}, an assumption" if runs else ""
        more = runs - blank.runs_after if runs and runs > blank.runs_after else None
        return replace(blank, sentence=f"{seconds}: a single run says nothing of its spread{advice}", more=more)
    standing, low, high, words = _by_interval(ratio.estimate.value, logarithm, criteria)
    more, advice = _advice(logarithm, sides, criteria) if standing is Standing.OPEN else (None, "")
    if cell.contended and standing in _UNTRUE[cell.contended]:
        standing = Standing.OPEN
        advice = f"; only the runs of the {cell.contended} waited for cores that others had: run it on a quiet host"
    return replace(
        blank,
        standing=standing,
        contended=cell.contended,
        sentence=f"{words}, {seconds}{advice}",
        low=low,
        high=high,
        more=more,
        found=detectable_slowdown(criteria.slower, logarithm.variance, logarithm.freedom, criteria.confidence),
    )


def _mean(value: float, logarithm: Logarithm, cells: int, criteria: _Criteria) -> Check:
    standing, low, high, words = _by_interval(value, logarithm, criteria)
    return Check(
        kind=Kind.TIME,
        name=EPOCH,
        cell=f"all {cells} cells" if cells == criteria.cells else f"{cells} of {criteria.cells} cells",
        standing=standing,
        sentence=f"{words}, geometric mean",
        ratio=value,
        low=low,
        high=high,
    )


def _by_interval(value: float, logarithm: Logarithm, criteria: _Criteria) -> tuple[Standing, float, float, str]:
    """The verdict on a ratio, both ends of its interval, and the ratio in words."""
    width = float(half_width(logarithm.variance, logarithm.freedom, criteria.confidence))
    low, high = (exp(max(-50.0, min(50.0, logarithm.value + end))) for end in (-width, width))
    bound = 1 + criteria.slower
    if low > bound:
        standing = Standing.WORSE
    elif high >= bound:
        standing = Standing.OPEN
    else:
        standing = Standing.BETTER if high < 1 / bound else Standing.FINE
    return standing, low, high, f"{value:.3f} times as long ({low:.3f} to {high:.3f})"


def _advice(logarithm: Logarithm, sides: Sides, criteria: _Criteria) -> tuple[int | None, str]:
    """How many runs more would tell, and the same in words.

    For a cell that is what it was; where it has that many runs already, for one as slow as it looks.
    """
    bound = log1p(criteria.slower)
    enough = float(reach(logarithm.variance, logarithm.freedom, criteria.confidence)) <= bound
    more = more_runs(sides, abs(bound - logarithm.value) if enough else bound, criteria.confidence)
    if more is not None:
        both = " of both sides" if more.both else ""
        return more.runs, f"; run {more.runs} more{both} (repeats={sides.runs_after + more.runs})"
    if sides.days > sides.before / sides.runs_before + sides.after / sides.runs_after:
        return None, "; two days differ by as much: run both in one session, or the baseline on more days"
    return None, f"; so near to the bound of {criteria.slower:.3g} that {MOST} runs more would not tell"
