"""A decision: the answer by now, and what to run next or why to stop. Pure; numpy.

It depends on what ran, the question and the number of the look, and on nothing else: whoever decides again from the
same records decides the same.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from launchers.text import plural
from vit_sweep.analysis.deciding.answering import Before, answer
from vit_sweep.analysis.deciding.choosing import cost, next_round, within
from vit_sweep.analysis.deciding.evidence import Evidence
from vit_sweep.plan.deciding.decision import ANSWERED, BUDGET, EXHAUSTED, Choice, Decision
from vit_sweep.plan.deciding.question import Question


def decide(
    question: Question, known: Evidence, before: Sequence[Decision] = (), *, budget: float | None = None
) -> Decision:
    """Look at what is known. `before`: all earlier looks; `budget`: GPU-hours of the whole study, None: any."""
    look = len(before) + 1
    earlier = _before(before)
    now = answer(question, known, earlier)
    if now.done:
        return Decision(look=look, answer=now, stop=ANSWERED)
    made = next_round(question, known, replace(earlier, above=frozenset(now.above), below=frozenset(now.below)))
    if not made.choices:
        return Decision(look=look, answer=now, stop=EXHAUSTED, why=made.nothing)
    if budget is not None:
        left = budget - known.spent
        kept = within(made, known, left)
        if not kept.choices or (not known.runs and kept.choices != made.choices):  # half a first step says nothing
            least = min(known.hours(choice.gpus) for choice in made.choices)
            spent = f"{known.spent:.3g} are spent, and the next run takes" if known.runs else "the first run takes"
            why = (
                f"budget_gpu_hours={budget:g}: {spent} about {least:.3g} – "
                f"{budget_enough(made.choices, known):.3g} would pay the next {plural(_runs(made.choices), 'run')}"
            )
            return Decision(look=look, answer=now, stop=BUDGET, why=why)
        made = kept
    return Decision(look=look, answer=now, choices=made.choices, judged=made.judged, hours=cost(made.choices, known))


def _before(decisions: Sequence[Decision]) -> Before:
    """What these looks leave to the next one."""
    if not decisions:
        return Before()
    last = decisions[-1]
    return Before(
        looks=Counter(decision.judged for decision in decisions if decision.judged is not None),
        above=frozenset(last.answer.above),
        below=frozenset(last.answer.below),
        judged=last.judged,
    )


def budget_enough(choices: tuple[Choice, ...], known: Evidence) -> float:
    """GPU-hours of a whole study that would pay these cells too."""
    return known.spent + cost(choices, known)


def _runs(choices: tuple[Choice, ...]) -> int:
    return sum(choice.runs for choice in choices)
