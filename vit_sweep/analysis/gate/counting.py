"""What is counted in a step, a study against its baseline. Pure.

Counts have no noise: more than the tolerance is worse. Runs of a cell whose counts differ among themselves are worse
where the least of the study is more than the most of the baseline.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vit_sweep.analysis.gate.checks import MEMORY, Check, Kind, Rules, Standing, exact
from vit_sweep.analysis.gate.paired_cell import PairedCell, unlike_machine, unlike_software
from vit_sweep.analysis.pairing import MACHINE, SOFTWARE

_OF_MACHINE = ("kernels", "synchronisations", MEMORY)
"""Counts that are those of one kind of machine."""
_COLLECTIVES = "collectives."
_SHOWN = 5e-5
"""Least change, as a part, that has a digit in per cent."""
_NO_COUNTS = "its runs were not counted: they are of an older vit_sweep"


def counts_of(cell: PairedCell, rules: Rules) -> Iterator[Check]:
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
    unlike = "" if SOFTWARE in rules.across else unlike_software(cell.before, cell.after)
    if unlike:
        yield replace(blank, sentence=f"counts are those of other software: {unlike}; renew the baseline")
        return
    elsewhere = "" if MACHINE in rules.across else unlike_machine(cell.before, cell.after)
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
