"""What a sweep that decides has decided: a row for each look, what it chose and why, what changed since. Pure."""

from collections.abc import Sequence

from vit_sweep.plan.deciding.decision import Answer, DecisionEntry
from vit_sweep.report.tables.form.columns import COLUMNS
from vit_sweep.report.tables.form.table import Table, table

DECISION_COLUMNS = ("question", "look", "answer", "changed", "chosen", "why", "spent_gpu_hours")


def decisions_table(entries: Sequence[DecisionEntry]) -> Table | None:
    """One row a look, in the order in which they were made; None of a study that was asked nothing."""
    before = [None, *entries[:-1]] if entries else []
    rows = [
        {
            "question": entry.until,
            "look": entry.decision.look,
            "answer": entry.decision.answer.sentence,
            "changed": changed(last, entry),
            "chosen": ", ".join(f"gpus={c.gpus} x {c.runs}" for c in entry.decision.choices) or entry.decision.stop,
            "why": "; ".join(f"gpus={c.gpus}: {c.why}" for c in entry.decision.choices) or entry.decision.why,
            "spent_gpu_hours": entry.spent_gpu_hours,
        }
        for last, entry in zip(before, entries, strict=True)
    ]
    title = "What was decided, look by look, and why"
    notes = ["intervals hold for all looks together (docs/study/deciding.md); those of the other tables for one"]
    return table("decisions", title, DECISION_COLUMNS, rows, known=COLUMNS, notes=notes)


def changed(last: DecisionEntry | None, entry: DecisionEntry) -> str:
    """What the runs since the last look did to the answer; empty at the first look at a question."""
    if last is None or last.until != entry.until:
        return ""
    old, new = last.decision.answer, entry.decision.answer
    runs = entry.runs - last.runs
    if old.half_width is not None and new.half_width is not None:
        return f"{runs} more: ±{old.half_width:.1%} to ±{new.half_width:.1%}"
    return f"{runs} more: {_left(old)} to {_left(new)}" if old.possible and new.possible else f"{runs} more"


def _left(answer: Answer) -> str:
    count = len(answer.possible)
    return f"{count} possible" if count > 1 else f"{answer.possible[0]} alone"
