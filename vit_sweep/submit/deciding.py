"""A study that decides: from its results and its earlier decisions to the next one. Pure.

A decision rests on records, question and earlier decisions alone, and is written down before its cells are added: a
client that is killed between the two leaves cells that whoever comes next adds, and decides nothing anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from launchers.checked import Line, Quantity, Whole, checked
from launchers.text import plural
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.deciding.candidates_file import alike
from vit_sweep.plan.deciding.decision import Answer, Decision, DecisionEntry
from vit_sweep.plan.deciding.question import DecideRule, question_of
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.record.stats import spent_gpu_hours
from vit_sweep.runs.of_study import run_of

_ENDED = (Status.FAILED, Status.OUT_OF_MEMORY, Status.SKIPPED)
"""Without a time, for good."""


@dataclass(frozen=True, kw_only=True)
class NextDecision:
    """What a look at a study that decides comes to."""

    entry: DecisionEntry | None
    """The decision that holds; None: cells of the last one have not ended."""
    new: bool
    """Whether it is to be written down."""
    cells: Mapping[str, Cell]
    """Cells that it wants and the study does not have, by their id."""


@checked
class QuestionStatus:
    """What a study was asked, and how far it is; `status --json` has it as it stands here."""

    until: Line
    """The question."""
    answer: Answer | None
    """By the last look; None before the first one. It holds for all looks together, which one in between would not."""
    look: Whole
    """The number of that look; 0 before the first one."""
    runs: Whole
    """Finished runs that it rests on."""
    runs_since: Whole
    """Those that have finished since."""
    answered: bool
    stop: Line
    """answered, budget, exhausted; empty while it goes on."""
    why: Line
    """Why it stopped without an answer."""
    spent_gpu_hours: Quantity
    """Of all attempts that have ended, also of those that failed, until now."""
    budget_gpu_hours: Quantity

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        state = "answered" if self.answered else f"not answered: {self.why}" if self.stop else "not answered yet"
        progress = "nothing is known yet"
        if self.answer is not None:
            since = f" ({self.runs_since} more since)" if self.runs_since else ""
            progress = f"{self.answer.sentence}, by look {self.look}, of {plural(self.runs, 'run')}{since}"
        spent = f"{self.spent_gpu_hours:.3g} of {self.budget_gpu_hours:g} GPU-hours spent"
        return f'asked "{self.until}": {state}; {progress}; {spent}'


def so_far(
    rule: DecideRule,
    candidates: Mapping[int, PlannedCell],
    entries: Sequence[DecisionEntry],
    results: Iterable[Result],
    *,
    lost: float,
) -> QuestionStatus:
    """Where a study that decides stands, by what it has decided itself: nothing is decided anew.

    `lost`: GPU-hours of attempts that gave no record (`study.spending`).
    """
    last = next((entry for entry in reversed(entries) if entry.until == rule.until), None)
    spent = _spent(result for result in results if alike(result.file.cell, candidates))
    decision = last.decision if last is not None else None
    # Another budget, or more repeats, ask again: then no stop but an answer holds.
    stop = (
        decision.stop
        if last is not None and decision is not None and (last.rule == rule or decision.answer.done)
        else ""
    )
    return QuestionStatus(
        until=rule.until,
        answer=decision.answer if decision is not None else None,
        look=decision.look if decision is not None else 0,
        runs=last.runs if last is not None else 0,
        runs_since=max(0, len(spent) - (last.runs if last is not None else 0)),
        answered=decision is not None and decision.answer.done,
        stop=stop,
        why=decision.why if decision is not None and stop else "",
        spent_gpu_hours=lost + sum(spent.values()),
        budget_gpu_hours=rule.budget_gpu_hours,
    )


def look(
    rule: DecideRule,
    candidates: Mapping[int, PlannedCell],
    hours: Mapping[int, float],
    entries: Sequence[DecisionEntry],
    results: Iterable[Result],
    *,
    at: str,
    lost: float,
    dropped: Iterable[str] = (),
) -> NextDecision:
    """Decide, unless the last decision still holds. `at`: the time now, of a new entry; `hours`: of a run, as planned.

    `entries`: all decisions of the study; those about other questions count for nothing. `lost`: GPU-hours of attempts
    that gave no record (`study.spending`); `dropped`: ids of cells that were taken out, which nobody adds again.
    """
    on_curve = [result for result in results if alike(result.file.cell, candidates)]
    existing = {result.file.cell_id for result in on_curve} | {*dropped}
    previous = [entry for entry in entries if entry.until == rule.until]
    last = previous[-1] if previous else None
    lacking = {cell_id: cell for cell_id, cell in decided(previous, candidates).items() if cell_id not in existing}
    if lacking:
        return NextDecision(entry=last, new=False, cells=lacking)
    if any(result.record is None and result.status not in _ENDED for result in on_curve):
        return NextDecision(entry=None, new=False, cells={})
    decision, runs, spent = _decide(rule, candidates, hours, previous, on_curve, lost=lost)
    if last is not None and last.settled and (last.runs, last.rule) == (runs, rule):
        return NextDecision(entry=last, new=False, cells={})
    used = {(result.file.cell.gpus, result.file.cell.seed) for result in on_curve}
    used |= {pair for entry in previous for pair in entry.cells}
    pairs = _seeds(decision, candidates, used)
    entry = DecisionEntry(
        at=at,
        until=rule.until,
        budget_gpu_hours=rule.budget_gpu_hours,
        most=rule.most,
        runs=runs,
        spent_gpu_hours=spent,
        decision=decision,
        cells=pairs,
    )
    return NextDecision(entry=entry, new=True, cells=_cells(pairs, candidates))


def decided(entries: Iterable[DecisionEntry], candidates: Mapping[int, PlannedCell]) -> dict[str, Cell]:
    """Every cell that was decided so far, by its id."""
    return _cells([pair for entry in entries for pair in entry.cells], candidates)


def lines(entry: DecisionEntry) -> list[str]:
    """A decision for people: the answer by now, what runs next or why nothing does, and why each cell was chosen."""
    return [_sentence(entry), *(f"  gpus={c.gpus} x {c.runs}: {c.why}" for c in entry.decision.choices)]


def _sentence(entry: DecisionEntry) -> str:
    decision = entry.decision
    begin = f"look {decision.look}: {decision.answer.sentence}"
    if decision.stop:
        why = f"{decision.stop}: {decision.why}" if decision.why else decision.stop
        return f"{begin} – {why} ({entry.spent_gpu_hours:.3g} GPU-hours, {plural(entry.runs, 'run')})"
    choices = ", ".join(f"gpus={c.gpus}{f' x {c.runs}' if c.runs > 1 else ''}" for c in decision.choices)
    return f"{begin} – next {choices}, about {decision.hours:.3g} GPU-hours"


def _decide(
    rule: DecideRule,
    candidates: Mapping[int, PlannedCell],
    hours: Mapping[int, float],
    previous: Sequence[DecisionEntry],
    results: Sequence[Result],
    *,
    lost: float,
) -> tuple[Decision, int, float]:
    # They import numpy and scipy, which a study without a question does not need.
    from vit_sweep.analysis.deciding.decide import decide
    from vit_sweep.analysis.deciding.from_runs import evidence, workload

    smallest = candidates[min(candidates)]
    runs = evidence(
        (run_of(result) for result in results if result.record is not None),
        workload(smallest.cell, smallest.series[0]),
        hours,
        spent=_spent(results),
        lost=lost,
        failed=_failed(results),
        most=rule.most,
    )
    earlier = [entry.decision for entry in previous if not entry.settled]
    decision = decide(question_of(rule.until), runs, earlier, budget=rule.budget_gpu_hours)
    return decision, len(runs.runs), runs.spent


def _spent(results: Iterable[Result]) -> dict[str, float]:
    """GPU-hours of the finished runs, by cell id; of a record that does not say how long its job took, at least."""
    return {r.file.cell_id: spent_gpu_hours(r.record) for r in results if r.record is not None}


def _failed(results: Sequence[Result]) -> dict[int, str]:
    """Counts that ended without a time: all that ran, or two of them."""
    failed: dict[int, str] = {}
    for gpus in {result.file.cell.gpus for result in results}:
        ends = [r for r in results if r.file.cell.gpus == gpus and r.record is None]
        any_finished = any(r.file.cell.gpus == gpus and r.record is not None for r in results)
        if ends and (not any_finished or len(ends) > 1):
            failed[gpus] = ends[0].cause or str(ends[0].status)
    return failed


def _seeds(
    decision: Decision, candidates: Mapping[int, PlannedCell], used: set[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """A GPU count and a seed for each run, the seeds from the grid's own on, each once."""
    pairs = []
    for choice in decision.choices:
        grid_seed = candidates[choice.gpus].cell.seed
        next_unused = max((seed + 1 for gpus, seed in used if gpus == choice.gpus), default=grid_seed)
        start = max(grid_seed, next_unused)
        pairs += [(choice.gpus, seed) for seed in range(start, start + choice.runs)]
    return tuple(pairs)


def _cells(pairs: Iterable[tuple[int, int]], candidates: Mapping[int, PlannedCell]) -> dict[str, Cell]:
    cells = [replace(candidates[gpus].cell, seed=seed) for gpus, seed in pairs if gpus in candidates]
    return {cell.cell_id: cell for cell in cells}
