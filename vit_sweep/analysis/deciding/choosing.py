"""Which cells to run next: those that narrow an answer most for their GPU-hours. Pure; numpy.

Three rules, by what is asked:

number of a count that can run    its own cells; each run goes where it lowers the variance of the answer most per
                                  GPU-hour, s^2 w^2 (1/n - 1/(n+1)) / cost. That ends at n ~ s |w| / sqrt(cost), the
                                  cheapest way to an interval (Neyman 1934, with costs)
number of one that cannot         the count whose run takes most of the variance over the candidate laws per GPU-hour
                                  (`candidates.gain`): where they disagree
largest count above a threshold   the count that begins the way on which all counts that it may be are told from the
                                  threshold for the fewest GPU-hours, as far as is known (`telling`, `searching`)

A round holds as many runs as the answer is likely to need, but adds at most half to the information that is there,
since that is how far a spread is known that so few runs show; as much as that where each look has its price (`looks`).
"""

from collections.abc import Mapping

from launchers.text import plural
from vit_sweep.analysis.deciding.answering import EarlierLooks, half_width, weights_of
from vit_sweep.analysis.deciding.candidates import Candidates
from vit_sweep.analysis.deciding.evidence import Evidence
from vit_sweep.analysis.deciding.rounds import Round, allocate, why_exhausted
from vit_sweep.analysis.deciding.telling import towards_threshold
from vit_sweep.plan.deciding.decision import Choice
from vit_sweep.plan.deciding.question import Question

FIRST = 2
"""Runs of each cell of an answer before it is looked at."""
LEAST_GAIN = 0.02
"""Part of the variance that a run must take away, where laws answer."""


def next_round(question: Question, evidence: Evidence, earlier: EarlierLooks) -> Round:
    """The cells to run after a look that did not answer the question. No budget is looked at."""
    if question.gpus is None:
        return towards_threshold(question, evidence, earlier)
    if question.gpus in evidence.counts:
        return _towards_number(question, evidence)
    return _towards_laws(question, evidence)


def _towards_number(question: Question, evidence: Evidence) -> Round:
    weights = weights_of(question, evidence)
    first = FIRST if len(weights) > 1 else FIRST + 1
    missing = {gpus: first - evidence.n(gpus) for gpus in weights if evidence.n(gpus) < min(first, FIRST)}
    if missing:
        return _first_runs(question, evidence, missing)
    more = allocate(
        evidence, weights, lambda value: half_width(value, question.confidence) <= (question.half_width or 0)
    )
    if not more:
        return Round(stop_reason=why_exhausted(evidence, weights))
    before = half_width(evidence.value(weights), question.confidence)
    after = half_width(evidence.value(weights, more), question.confidence)
    share = {gpus: evidence.run_variance(gpus) / evidence.n(gpus) for gpus in weights}
    return Round(
        choices=tuple(
            Choice(
                gpus=gpus,
                runs=runs,
                why=f"its runs are {share[gpus] / sum(share.values()):.0%} of the answer's variance; the round takes "
                f"it from ±{before:.1%} to about ±{after:.1%}",
            )
            for gpus, runs in sorted(more.items())
        )
    )


def _first_runs(question: Question, evidence: Evidence, missing: Mapping[int, int]) -> Round:
    room = {gpus: min(runs, evidence.room(gpus)) for gpus, runs in missing.items()}
    if not all(room.values()):
        return Round(stop_reason=why_exhausted(evidence, room))
    role = "what others are compared with" if question.quantity.compared else "what is asked for"
    return Round(
        choices=tuple(
            Choice(
                gpus=gpus,
                runs=runs,
                why=f"{role if gpus == evidence.base else 'what is asked for'}; {FIRST} runs or more say how far they "
                "differ",
            )
            for gpus, runs in sorted(room.items())
        )
    )


def _towards_laws(question: Question, evidence: Evidence) -> Round:
    free = [gpus for gpus in evidence.counts if evidence.room(gpus)]
    if not evidence.measured and free:
        why = f"an end of the grid: gpus={question.gpus} is not in it, so candidate laws answer, as well as they can"
        return Round(choices=tuple(Choice(gpus=gpus, runs=1, why=why) for gpus in dict.fromkeys((free[0], free[-1]))))
    laws = Candidates(evidence=evidence)
    target = laws.ratio(question.gpus or 0) if question.quantity.compared else laws.seconds(question.gpus or 0)
    gains = {gpus: laws.gain(gpus, target) for gpus in free}
    if question.quantity.compared and evidence.base in gains and evidence.base in evidence.measured:
        n = evidence.n(evidence.base)
        gains[evidence.base] += evidence.run_variance(evidence.base) * (1 / n - 1 / (n + 1)) / target.variance
    worthwhile = {gpus: gain for gpus, gain in gains.items() if gain >= LEAST_GAIN}
    if not worthwhile:
        return Round(
            stop_reason=f"what is left is how far any law may be off on {plural(question.gpus or 0, 'GPU')}, which no "
            f"run of the grid can narrow; measure nearer: gpus={question.gpus}"
        )
    best = max(worthwhile, key=lambda gpus: (worthwhile[gpus] / max(1e-12, evidence.hours(gpus)), -gpus))
    low, high = laws.disagreement(best)
    gpus_words = plural(question.gpus or 0, "GPU")
    text = f"it takes away {worthwhile[best]:.0%} of the variance of what the candidate laws say of {gpus_words}"
    if best != evidence.base and not evidence.n(best):
        text += f", which put T({evidence.base})/T({best}) at {low:.3g} to {high:.3g}"
    return Round(choices=(Choice(gpus=best, runs=1, why=text),))
