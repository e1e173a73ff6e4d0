"""A decision: the answer by now, and what to run next or why to stop. Pure; numpy.

It depends on what ran, the question and the number of the look, and on nothing else: whoever decides again from the
same records decides the same.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from launchers.text import plural
from vit_sweep.analysis.deciding.answering import EarlierLooks, answer
from vit_sweep.analysis.deciding.choosing import next_round
from vit_sweep.analysis.deciding.evidence import Evidence
from vit_sweep.analysis.deciding.rounds import cost, within
from vit_sweep.plan.deciding.decision import ANSWERED, BUDGET, EXHAUSTED, Choice, Decision
from vit_sweep.plan.deciding.question import Question


def decide(
    question: Question, evidence: Evidence, before: Sequence[Decision] = (), *, budget: float | None = None
) -> Decision:
    """Look at what is known. `before`: all earlier looks; `budget`: GPU-hours of the whole study, None: any."""
    look = len(before) + 1
    earlier = _earlier_looks(before)
    current = answer(question, evidence, earlier)
    if current.done:
        return Decision(look=look, answer=current, stop=ANSWERED)
    round_ = next_round(
        question, evidence, replace(earlier, above=frozenset(current.above), below=frozenset(current.below))
    )
    if not round_.choices:
        return Decision(look=look, answer=current, stop=EXHAUSTED, why=round_.stop_reason)
    if budget is not None:
        affordable = within(round_, evidence, budget - evidence.spent)
        # Half a first step says nothing.
        if not affordable.choices or (not evidence.runs and affordable.choices != round_.choices):
            return Decision(look=look, answer=current, stop=BUDGET, why=_over_budget(round_.choices, evidence, budget))
        round_ = affordable
    hours = cost(round_.choices, evidence)
    return Decision(look=look, answer=current, choices=round_.choices, judged=round_.count, hours=hours)


def _over_budget(choices: tuple[Choice, ...], evidence: Evidence, budget: float) -> str:
    least = min(evidence.hours(choice.gpus) for choice in choices)
    spent = f"{evidence.spent:.3g} are spent, and the next run takes" if evidence.runs else "the first run takes"
    enough = evidence.spent + cost(choices, evidence)
    runs = plural(sum(choice.runs for choice in choices), "run")
    return f"budget_gpu_hours={budget:g}: {spent} about {least:.3g} – {enough:.3g} would pay the next {runs}"


def _earlier_looks(decisions: Sequence[Decision]) -> EarlierLooks:
    """What these looks leave to the next one."""
    if not decisions:
        return EarlierLooks()
    last = decisions[-1]
    return EarlierLooks(
        looks=Counter(decision.judged for decision in decisions if decision.judged is not None),
        above=frozenset(last.answer.above),
        below=frozenset(last.answer.below),
        last_count=last.judged,
    )
