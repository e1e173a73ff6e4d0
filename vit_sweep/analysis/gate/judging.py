"""A study against a baseline, cell by cell: counts first, then times. Pure; needs numpy and scipy.

Counts have no noise: more than the tolerance is worse. Runs of a cell whose counts differ among themselves are worse
where the least of the study is more than the most of the baseline.

Times are judged by the statistic of `compare`: the ratio of epoch times, its logarithm, the spread pooled over cells,
days among its errors. Intervals of all cells and of their geometric mean hold the truth together in 95 % of gates
(Bonferroni), and are what decides: worse where the whole interval lies beyond the slow-down that matters, fine where it
lies before it, else nobody can tell. So one gate of 40 that is exactly at that bound says worse, and of equal studies
hardly any.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp, log1p
from statistics import median
from typing import NamedTuple

from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.analysis.compare import in_words, labels_of, of_side, shared_runs
from vit_sweep.analysis.gate.checks import MACHINE, MEMORY, SOFTWARE, Check, Gate, Kind, Rules, Standing, exact
from vit_sweep.analysis.gate.power import MOST, Sides, found, least_runs, more_runs, reach
from vit_sweep.analysis.pairing import Cells, pair
from vit_sweep.analysis.series.contention import contention
from vit_sweep.analysis.series.intervals import SIGNIFICANT
from vit_sweep.analysis.series.pooling import half_width
from vit_sweep.analysis.series.spreads import Logarithm, Ratio, Spreads
from vit_sweep.outcome.result import Status
from vit_sweep.plan.repeats import USUAL
from vit_sweep.record.machine import unlike_hardware
from vit_sweep.runs.run import Run

EPOCH = "epoch_s"
_OWN = ("python", "vit_sweep", "code")
"""Software that changes no count, and what the gate is there to judge."""
_OF_MACHINE = ("kernels", "synchronisations", MEMORY)
"""Counts that are those of one kind of machine."""
_COLLECTIVES = "collectives."
_SHOWN = 5e-5
"""Least change, as a part, that has a digit in per cent."""
_NO_COUNTS = "its runs were not counted: they are of an older vit_sweep"


class _Pair(NamedTuple):
    """A cell that both sides have finished."""

    name: str
    before: list[Run]
    after: list[Run]
    timed: tuple[list[Run], list[Run]]
    """Those of both sides whose times count, as `of_side` names them."""


class _Judged(NamedTuple):
    """What all times of a gate are judged by."""

    slower: float
    confidence: float
    """Of the interval of one of them, so that all hold the truth together."""
    cells: int


def judge(before: Iterable[Run], after: Iterable[Run], rules: Rules | None = None) -> Gate:
    """Hold the runs of a study, `after`, against those of its baseline.

    Raises `UserError` where no cell is in both, or nothing of the study has finished.
    """
    rules = rules or Rules()
    runs_before, runs_after = list(before), list(after)
    paired = pair(runs_before, runs_after, across=rules.across, untimed=True)
    if not paired.pairs:
        why = next((cell.reason for cell in paired.unpaired), "one of them has no run")
        raise UserError(
            f"no cell of the study is in the baseline: {why}; give the study of the same grid, or let it differ with "
            "--across NAME"
        )
    checks: list[Check] = []
    for cell in paired.unpaired:
        gone = cell.side == "a"
        checks.append(
            Check(
                kind=Kind.CELL,
                name="",
                cell=cell.cell,
                standing=Standing.OPEN if gone else Standing.APART,
                sentence=f"in the baseline only: {cell.reason}" if gone else "new, the baseline does not have it",
            )
        )
    both: list[_Pair] = []
    for name, (x, y) in zip(names_of([x for x, _ in paired.pairs]), paired.pairs, strict=True):
        ended = _ended(name, x, y)
        checks += ended
        done = [[run for run in side.runs if run.status is Status.DONE] for side in (x, y)]
        if all(done):
            both.append(_Pair(name, done[0], done[1], (of_side(x, "baseline"), of_side(y, "study"))))
    for cell_pair in both:
        checks += _counts(cell_pair, rules)
    times, notes = _times(both, rules)
    return Gate(rules=rules, checks=(*checks, *times), notes=(*_software_notes(both), *notes))


def names_of(cells: Sequence[Cells]) -> list[str]:
    """What each cell is called among the others: `gpus=2 batch=16`."""
    nodes = {cell.runs[0].nodes for cell in cells}
    words = (
        (f"gpus={cell.gpus}", f"nodes={cell.runs[0].nodes}" if len(nodes) > 1 else "", label)
        for cell, label in zip(cells, labels_of(cells), strict=True)
    )
    return [" ".join(word for word in known if word) for known in words]


def _ended(name: str, x: Cells, y: Cells) -> Iterator[Check]:
    """What is to be said of cells that did not finish on one of the sides."""
    lost_before, lost_after = ([run for run in side.runs if run.status is not Status.DONE] for side in (x, y))
    standing, words = None, ""
    if len(lost_after) == len(y.runs):
        same = len(lost_before) == len(x.runs)
        standing = Standing.APART if same else Standing.WORSE
        words = f"did not finish{' here, nor in the baseline' if same else ''}: {_why(lost_after)}"
    elif lost_after:
        standing = Standing.OPEN
        words = f"{len(lost_after)} of {plural(len(y.runs), 'run')} did not finish: {_why(lost_after)}"
    elif len(lost_before) == len(x.runs):
        standing, words = Standing.BETTER, f"finishes; in the baseline it did not: {_why(lost_before)}"
    if standing is not None:
        yield Check(
            kind=Kind.CELL,
            name="",
            cell=name,
            standing=standing,
            sentence=words,
            runs_before=len(x.runs) - len(lost_before),
            runs_after=len(y.runs) - len(lost_after),
        )


def _why(runs: Iterable[Run]) -> str:
    return some(dict.fromkeys(run.cause or run.status.value for run in runs), 3)


# --- counts ---------------------------------------------------------------------------------------------------------


def _counts(cell: _Pair, rules: Rules) -> Iterator[Check]:
    before, after = ([dict(run.counts) for run in side if run.counts] for side in (cell.before, cell.after))
    if not before and not after:
        return
    blank = Check(
        kind=Kind.COUNT,
        name="",
        cell=cell.name,
        standing=Standing.OPEN,
        sentence="",
        runs_before=len(before),
        runs_after=len(after),
    )
    if not after:
        yield replace(blank, sentence=f"counts of the study: {_NO_COUNTS}; run it again")
        return
    if not before:
        yield replace(blank, standing=Standing.APART, sentence=f"counts of the baseline: {_NO_COUNTS}; renew it")
        return
    unlike = "" if SOFTWARE in rules.across else _unlike_software(cell.before, cell.after)
    if unlike:
        yield replace(blank, sentence=f"counts are those of other software: {unlike}; renew the baseline")
        return
    elsewhere = "" if MACHINE in rules.across else _unlike_machine(cell.before, cell.after)
    for name in sorted({name for counts in (*before, *after) for name in counts}):
        values = [[_number(counts, name) for counts in side] for side in (before, after)]
        first, second = ([value for value in side if value is not None] for side in values)
        apart = ""
        if not first or not second:
            apart = f"counted in the {'study' if second else 'baseline'} only"
        elif name in _OF_MACHINE and elsewhere:
            apart = f"another machine: {elsewhere}"
        if apart:
            yield replace(blank, name=name, standing=Standing.APART, sentence=apart)
            continue
        standing, sentence = _count(first, second, rules.tolerance.get(name, 0.0))
        yield replace(blank, name=name, standing=standing, sentence=sentence, before=max(first), after=max(second))


def _number(counts: Mapping[str, float], name: str) -> float | None:
    """A count; none of a kind of collective is nought."""
    return counts.get(name, 0.0 if name.startswith(_COLLECTIVES) else None)


def _count(before: Sequence[float], after: Sequence[float], tolerance: float) -> tuple[Standing, str]:
    """Worse where the least of the study is more than the most of the baseline; equal runs have one number."""
    (least, most), (low, high) = ((min(side), max(side)) for side in (before, after))
    text = f"{_range(low, high)} instead of {_range(least, most)}"
    if low > most * (1 + tolerance):
        return Standing.WORSE, f"{text} ({_change(most, low)})"
    if high < least * (1 - tolerance):
        return Standing.BETTER, f"{text} ({_change(least, high)})"
    if (least, most) == (low, high):
        return Standing.FINE, _range(low, high)
    return Standing.FINE, f"{text}, within {tolerance:.3g}" if tolerance else f"{text}, which differs between runs"


def _range(low: float, high: float) -> str:
    return exact(low) if low == high else f"{exact(low)} to {exact(high)}"


def _change(old: float, new: float) -> str:
    part = new / old - 1 if old else 0.0
    percent = f", {part:+.2%}" if _SHOWN <= abs(part) < 10 else ""
    return f"{'+' if new > old else '-'}{exact(abs(new - old))}{percent}"


# --- what differs beside the code -----------------------------------------------------------------------------------


def _unlike_software(before: Sequence[Run], after: Sequence[Run], *, but: Sequence[str] = _OWN) -> str:
    """`torch 2.11 in the baseline, 2.12 here`; empty where nothing that counts differs, or nobody knows."""
    sides = [by_name(run.software for run in side) for side in (before, after)]
    names = [name for name in sides[0] if name in sides[1] and name not in but and sides[0][name] != sides[1][name]]
    old, new = ({name: " and ".join(sorted(side[name])) for name in names} for side in sides)
    return "; ".join(f"{name} {old[name]} in the baseline, {new[name]} here" for name in names)


def by_name(software: Iterable[Iterable[tuple[str, str]]]) -> dict[str, set[str]]:
    """The versions of each package in what runs had installed."""
    versions: dict[str, set[str]] = {}
    for installed in software:
        for name, version in installed:
            versions.setdefault(name, set()).add(version)
    return versions


def _unlike_machine(before: Sequence[Run], after: Sequence[Run]) -> str:
    """Why some run of one side was on another kind of machine than some of the other; empty if none was."""
    sides = [list(dict.fromkeys(run.machine for run in side)) for side in (before, after)]
    return next((why for x in sides[0] for y in sides[1] if (why := unlike_hardware(x, y))), "")


def _software_notes(pairs: Iterable[_Pair]) -> list[str]:
    """What is installed otherwise, once for all cells."""
    clauses = dict.fromkeys(
        clause
        for cell in pairs
        for clause in _unlike_software(cell.before, cell.after, but=("code",)).split("; ")
        if clause
    )
    return [f"software differs: {some(clauses, 5, separator='; ')}"] if clauses else []


# --- times ----------------------------------------------------------------------------------------------------------


def _times(pairs: Sequence[_Pair], rules: Rules) -> tuple[list[Check], list[str]]:
    checks: list[Check] = []
    compared: list[_Pair] = []
    for cell in pairs:
        elsewhere = "" if MACHINE in rules.across else _unlike_machine(cell.before, cell.after)
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
    mean = spread.mean_ratio([(cell.timed[1], cell.timed[0]) for cell in compared])
    several = len(compared) > 1 and mean.logarithm is not None
    looked_at = sum(ratio.logarithm is not None for ratio in ratios) + several
    judged = _Judged(rules.slower, 1 - SIGNIFICANT / max(1, looked_at), len(compared))
    made = [
        _time(cell, ratio, _sides(spread, cell, ratio.logarithm), judged)
        for cell, ratio in zip(compared, ratios, strict=True)
    ]
    if several and mean.logarithm is not None:
        made.append(_mean(mean.estimate.value, mean.logarithm, judged))
    busy = contention((in_words(run) for side in sides for run in side), alike=lambda _: "")
    notes = [*shared_runs(cell.timed for cell in compared), *spread.notes(), *busy]
    if weakest := max((check.found for check in made if check.found is not None), default=None):
        notes.append(
            f"a slow-down of {weakest:.1%} of any one cell would be found in 80 of 100 gates with as many runs; "
            f"intervals are of {plural(looked_at, 'check')} together"
        )
    return [*checks, *made], notes


def _no_time(cell: _Pair) -> str:
    for runs, timed, side in zip((cell.before, cell.after), cell.timed, ("baseline", "study"), strict=True):
        if not timed:
            crowded = any(run.oversubscribed for run in runs)
            return f"no time that counts in the {side}{': more ranks than cores' if crowded else ''}"
    return ""


def _sides(spread: Spreads, cell: _Pair, known: Logarithm | None) -> Sides | None:
    if known is None:
        return None
    before, after = (spread.of_a_run(side) for side in cell.timed)
    runs_before, runs_after = map(len, cell.timed)
    days = max(0.0, known.variance - before / runs_before - after / runs_after)
    return Sides(before, after, runs_before, runs_after, days, known.freedom)


def _time(cell: _Pair, ratio: Ratio, sides: Sides | None, judged: _Judged) -> Check:
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
    known = ratio.logarithm
    if known is None or sides is None:
        if ratio.estimate.n > 1:
            why = "the runs are equal to the last digit, which says nothing of their spread"
            return replace(blank, sentence=f"{seconds}: {why}")
        runs = least_runs(judged.cells, log1p(judged.slower), USUAL, judged.confidence)
        advice = f"; repeats={runs} of both would do if runs differ by {USUAL:.0%}, an assumption" if runs else ""
        more = runs - blank.runs_after if runs and runs > blank.runs_after else None
        return replace(blank, sentence=f"{seconds}: a single run says nothing of its spread{advice}", more=more)
    standing, low, high, words = _by_interval(ratio.estimate.value, known, judged)
    more, advice = _advice(known, sides, judged) if standing is Standing.OPEN else (None, "")
    return replace(
        blank,
        standing=standing,
        sentence=f"{words}, {seconds}{advice}",
        low=low,
        high=high,
        more=more,
        found=found(judged.slower, known.variance, known.freedom, judged.confidence),
    )


def _mean(value: float, known: Logarithm, judged: _Judged) -> Check:
    standing, low, high, words = _by_interval(value, known, judged)
    return Check(
        kind=Kind.TIME,
        name=EPOCH,
        cell=f"all {judged.cells} cells",
        standing=standing,
        sentence=f"{words}, geometric mean",
        ratio=value,
        low=low,
        high=high,
    )


def _by_interval(value: float, known: Logarithm, judged: _Judged) -> tuple[Standing, float, float, str]:
    """The verdict on a ratio, both ends of its interval, and the ratio in words."""
    width = float(half_width(known.variance, known.freedom, judged.confidence))
    low, high = (exp(max(-50.0, min(50.0, known.value + end))) for end in (-width, width))
    bound = 1 + judged.slower
    if low > bound:
        standing = Standing.WORSE
    elif high >= bound:
        standing = Standing.OPEN
    else:
        standing = Standing.BETTER if high < 1 / bound else Standing.FINE
    return standing, low, high, f"{value:.3f} times as long ({low:.3f} to {high:.3f})"


def _advice(known: Logarithm, sides: Sides, judged: _Judged) -> tuple[int | None, str]:
    """How many runs more would tell, and the same in words.

    For a cell that is what it was; where it has that many runs already, for one as slow as it looks.
    """
    bound = log1p(judged.slower)
    enough = float(reach(known.variance, known.freedom, judged.confidence)) <= bound
    more = more_runs(sides, abs(bound - known.value) if enough else bound, judged.confidence)
    if more is not None:
        both = " of both sides" if more.both else ""
        return more.runs, f"; run {more.runs} more{both} (repeats={sides.runs_after + more.runs})"
    if sides.days > sides.before / sides.runs_before + sides.after / sides.runs_after:
        return None, "; two days differ by as much: run both in one session, or the baseline on more days"
    return None, f"; so near to the bound of {judged.slower:.3g} that {MOST} runs more would not tell"
