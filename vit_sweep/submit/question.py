"""A question asked of a study that is there: what is known by now, and what would narrow it. An edge: it reads."""

from dataclasses import replace

from launchers.errors import UserError
from launchers.text import plural
from vit_sweep.analysis.laws.coverage import curve_of
from vit_sweep.plan.deciding.one_curve import require_comparison
from vit_sweep.plan.deciding.question import EXAMPLES, DecideRule, Question, question_of
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.study.lock import now
from vit_sweep.study.spending import lost_gpu_hours
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study
from vit_sweep.submit.deciding import NextDecision, look

_NO_LIMIT = 1e15


def propose(study: Study, *, until: str | None, budget: float | None, most: int | None) -> NextDecision:
    """Look at a study and change nothing. `until`, `budget`, `most`: in place of its own; without any: no limit.

    Raises `UserError` for a question that is none, or a study that is not one curve.
    """
    if budget == 0:
        raise UserError("--budget 0 pays no run; leave it out for the study's own")
    stored = study.decide_rule()
    text = until if until is not None else stored.until if stored is not None else None
    if text is None:
        raise UserError(f"study {study.name} was asked nothing; ask with --until QUESTION, as in {EXAMPLES}")
    rule = DecideRule(
        until=text,
        budget_gpu_hours=budget or (stored.budget_gpu_hours if stored is not None else _NO_LIMIT),
        most=most or (stored.most if stored is not None else 1000),
    )
    question = question_of(rule.until)
    offered = study.candidates()
    if stored is not None and offered is not None:
        candidates, hours = offered.planned, offered.hours
    else:
        candidates, hours = _planned(study, question)
    if len(candidates) < 2:
        raise UserError(f'study {study.name} has one GPU count; "{rule.until}" is asked of a curve of several')
    require_comparison(question, sorted(candidates))
    entries = [entry for entry in study.decisions() if entry.until == rule.until]
    results = settled_results(study)
    lost, dropped = lost_gpu_hours(study, results, candidates), study.dropped_names()
    return look(rule, candidates, hours, entries, results, at=now(), lost=lost, dropped=dropped)


def _planned(study: Study, question: Question) -> tuple[dict[int, PlannedCell], dict[int, float]]:
    """One cell of each GPU count of a study, which must be one curve, and the GPU-hours of a run as planned."""
    planned = study.planned()
    curves = {curve_of(cell.cell, series) for cell in planned.values() for series in cell.series}
    if len(curves) != 1:
        raise UserError(
            f'study {study.name} has {plural(len(curves), "curve")}, and "{question.text}" is about one; ask a study '
            "of one"
        )
    by_gpus: dict[int, PlannedCell] = {}
    for cell in sorted(planned.values(), key=lambda cell: cell.cell.seed, reverse=True):
        if cell.series:
            by_gpus[cell.cell.gpus] = replace(cell, job=None)
    return by_gpus, {gpus: cell.gpu_hours for gpus, cell in by_gpus.items()}
