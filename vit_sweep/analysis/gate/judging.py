"""A study against a baseline, cell by cell: counts first, then times. Pure; needs numpy and scipy."""

from collections.abc import Iterable, Iterator, Sequence

from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.analysis.compare import labels_of, named_by_side
from vit_sweep.analysis.gate.checks import Check, Gate, Kind, Rules, Standing
from vit_sweep.analysis.gate.counting import counts_of
from vit_sweep.analysis.gate.paired_cell import PairedCell, unlike_software
from vit_sweep.analysis.pairing import Cells, pair
from vit_sweep.analysis.series.contention import without_contended
from vit_sweep.outcome.result import Status
from vit_sweep.runs.run import Run


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
        is_lost = cell.side == "a"
        checks.append(
            Check(
                kind=Kind.CELL,
                name="",
                cell=cell.cell,
                standing=Standing.OPEN if is_lost else Standing.APART,
                sentence=f"in the baseline only: {cell.reason}" if is_lost else "new, the baseline does not have it",
            )
        )
    finished: list[PairedCell] = []
    for name, (x, y) in zip(names_of([x for x, _ in paired.pairs]), paired.pairs, strict=True):
        unfinished = _unfinished(name, x, y)
        checks += unfinished
        done = [[run for run in side.runs if run.status is Status.DONE] for side in (x, y)]
        if all(done):
            sides = named_by_side(x, "baseline"), named_by_side(y, "study")
            timed = without_contended(sides[0]), without_contended(sides[1])
            waited = sum(map(len, sides)) - sum(map(len, timed))
            finished.append(PairedCell(name, done[0], done[1], timed, waited))
    for cell_pair in finished:
        checks += counts_of(cell_pair, rules)
    if not finished:
        return Gate(rules=rules, checks=tuple(checks), notes=())
    # It imports numpy and scipy, which nobody needs before there is a time to judge.
    from vit_sweep.analysis.gate.timing import times_of

    times, notes = times_of(finished, rules)
    return Gate(rules=rules, checks=(*checks, *times), notes=(*_software_notes(finished), *notes))


def names_of(cells: Sequence[Cells]) -> list[str]:
    """What each cell is called among the others: `gpus=2 batch=16`."""
    nodes = {cell.runs[0].nodes for cell in cells}
    words = (
        (f"gpus={cell.gpus}", f"nodes={cell.runs[0].nodes}" if len(nodes) > 1 else "", label)
        for cell, label in zip(cells, labels_of(cells), strict=True)
    )
    return [" ".join(word for word in parts if word) for parts in words]


def _unfinished(name: str, x: Cells, y: Cells) -> Iterator[Check]:
    """What is to be said of cells that did not finish on one of the sides."""
    lost_before, lost_after = ([run for run in side.runs if run.status is not Status.DONE] for side in (x, y))
    standing, words = None, ""
    if len(lost_after) == len(y.runs):
        same = len(lost_before) == len(x.runs)
        standing = Standing.APART if same else Standing.WORSE
        words = f"did not finish{' here, nor in the baseline' if same else ''}: {_causes(lost_after)}"
    elif lost_after:
        standing = Standing.OPEN
        words = f"{len(lost_after)} of {plural(len(y.runs), 'run')} did not finish: {_causes(lost_after)}"
    elif len(lost_before) == len(x.runs):
        standing, words = Standing.BETTER, f"finishes; in the baseline it did not: {_causes(lost_before)}"
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


def _causes(runs: Iterable[Run]) -> str:
    return some(dict.fromkeys(run.cause or run.status.value for run in runs), 3)


def _software_notes(pairs: Iterable[PairedCell]) -> list[str]:
    """What is installed otherwise, once for all cells."""
    clauses = dict.fromkeys(
        clause
        for cell in pairs
        for clause in unlike_software(cell.before, cell.after, but=("code",)).split("; ")
        if clause
    )
    return [f"software differs: {some(clauses, 5, separator='; ')}"] if clauses else []
