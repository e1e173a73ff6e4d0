"""Which cells to run next: those that narrow an answer most for their GPU-hours. Pure; numpy.

Three rules, by what is asked:

number of a count that can run    its own cells; each run goes where it lowers the variance of the answer most per
                                  GPU-hour, s^2 w^2 (1/n - 1/(n+1)) / cost. That ends at n ~ s |w| / sqrt(cost), the
                                  cheapest way to an interval (Neyman 1934, with costs)
number of one that cannot         the count whose run takes most of the variance over the candidate laws per GPU-hour
                                  (`candidates.gain`): where they disagree
largest count above a threshold   of the counts that it may be, the one with the most expected information per GPU-hour:
                                  entropy of "is it above", times the probability that the runs will tell

A round holds as many runs as the answer is likely to need, but at most half of what it rests on already, since that is
how far a spread is known that so few runs show.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil, exp, log2

from launchers.text import plural
from vit_sweep.analysis.deciding.answering import (
    Before,
    Standing,
    chance_to_tell,
    half_width,
    ideal_off,
    standings,
    t_of,
    undecided,
    weights_of,
)
from vit_sweep.analysis.deciding.candidates import Candidates
from vit_sweep.analysis.deciding.evidence import Evidence, Value
from vit_sweep.analysis.deciding.looks import confidence_of
from vit_sweep.plan.deciding.decision import Choice
from vit_sweep.plan.deciding.question import Question

FIRST = 2
"""Runs of each cell of an answer before it is looked at."""
GROWTH = 0.5
"""Runs of a round at most, as a part of those that the answer rests on."""
LEAST_GAIN = 0.02
"""Part of the variance that a run must take away, where laws answer."""
LEAST_CHANCE = 0.1
"""Probability that all runs that may still be made tell a count from the threshold, below which none is made."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What to run next; nothing, and why."""

    choices: tuple[Choice, ...] = ()
    nothing: str = ""
    judged: int | None = None
    """The count that a threshold is asked of."""


def next_round(question: Question, known: Evidence, before: Before) -> Round:
    """The cells to run after a look that did not answer the question. No budget is looked at."""
    if question.gpus is None:
        return _towards_threshold(question, known, before)
    if question.gpus in known.counts:
        return _towards_number(question, known)
    return _towards_laws(question, known)


def within(made: Round, known: Evidence, hours: float) -> Round:
    """The same round with no more GPU-hours than these; nothing where not even one run fits.

    Whole, or its first runs as they fit.
    """
    kept: list[Choice] = []
    left = max(0.0, hours)  # runs that took longer than their like may have spent more than there was
    for choice in made.choices:
        fit = min(choice.runs, int(left / known.hours(choice.gpus) + 1e-9)) if known.hours(choice.gpus) > 0 else 0
        if fit:
            kept.append(replace(choice, runs=fit))
            left -= fit * known.hours(choice.gpus)
    return replace(made, choices=tuple(kept))


def cost(choices: tuple[Choice, ...], known: Evidence) -> float:
    """GPU-hours of a round."""
    return sum(choice.runs * known.hours(choice.gpus) for choice in choices)


# --- a number ----------------------------------------------------------------------------------------------


def _towards_number(question: Question, known: Evidence) -> Round:
    weights = weights_of(question, known)
    first = FIRST if len(weights) > 1 else FIRST + 1
    missing = {gpus: first - known.n(gpus) for gpus in weights if known.n(gpus) < min(first, FIRST)}
    if missing:
        return _first(question, known, missing)
    more = allocate(known, weights, lambda value: half_width(value, question.confidence) <= (question.half_width or 0))
    if not more:
        return Round(nothing=_all_ran(known, weights))
    before = half_width(known.value(weights), question.confidence)
    after = half_width(known.value(weights, more), question.confidence)
    share = {gpus: known.run_variance(gpus) / known.n(gpus) for gpus in weights}
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


def _first(question: Question, known: Evidence, missing: Mapping[int, int]) -> Round:
    room = {gpus: min(runs, known.room(gpus)) for gpus, runs in missing.items()}
    if not all(room.values()):
        return Round(nothing=_all_ran(known, room))
    what = "what others are compared with" if question.quantity.compared else "what is asked for"
    return Round(
        choices=tuple(
            Choice(
                gpus=gpus,
                runs=runs,
                why=f"{what if gpus == known.base else 'what is asked for'}; {FIRST} runs or more say how far they "
                "differ",
            )
            for gpus, runs in sorted(room.items())
        )
    )


def allocate(
    known: Evidence, weights: Mapping[int, float], enough: Callable[[Value], bool], most: int | None = None
) -> dict[int, int]:
    """Runs to add one by one where each lowers the variance most per GPU-hour, until that would be `enough`.

    At most `most` of them; None: `GROWTH` of those that are there.
    """
    more: dict[int, int] = {}
    total = sum(known.n(gpus) for gpus in weights)
    limit = most if most is not None else max(1, ceil(GROWTH * total))
    while sum(more.values()) < limit and not (more and enough(known.value(weights, more))):
        rates = {}
        for gpus, weight in weights.items():
            n = known.n(gpus) + more.get(gpus, 0)
            if known.room(gpus) > more.get(gpus, 0):
                gain = weight**2 * known.run_variance(gpus) * (1 / n - 1 / (n + 1))
                rates[gpus] = gain / max(1e-12, known.hours(gpus))
        if not rates:
            break
        best = max(rates, key=lambda gpus: (rates[gpus], -gpus))
        more[best] = more.get(best, 0) + 1
    return more


def _all_ran(known: Evidence, counts: Mapping[int, object]) -> str:
    failed = known.failed or {}
    for gpus in counts:
        if gpus in failed:
            return f"gpus={gpus} ended as {failed[gpus]}: without it there is no answer"
    listed = ", ".join(map(str, counts))
    return f"gpus={listed} ran max_repeats={known.most} times each; a larger one goes on"


# --- a number by laws --------------------------------------------------------------------------------------


def _towards_laws(question: Question, known: Evidence) -> Round:
    free = [gpus for gpus in known.counts if known.room(gpus)]
    if not known.measured and free:
        ends = {free[0]: 1, free[-1]: 1}
        return Round(choices=tuple(Choice(gpus=gpus, runs=1, why="an end of the grid") for gpus in ends))
    made = Candidates(known=known)
    asked = made.ratio(question.gpus or 0) if question.quantity.compared else made.seconds(question.gpus or 0)
    gains = {gpus: made.gain(gpus, asked) for gpus in free}
    if question.quantity.compared and known.base in gains and known.base in known.measured:
        n = known.n(known.base)
        gains[known.base] += known.run_variance(known.base) * (1 / n - 1 / (n + 1)) / asked.variance
    worth = {gpus: gain for gpus, gain in gains.items() if gain >= LEAST_GAIN}
    if not worth:
        return Round(
            nothing=f"what is left is how far any law may be off on {plural(question.gpus or 0, 'GPU')}, which no run "
            f"of the grid can narrow; measure nearer: gpus={question.gpus}"
        )
    best = max(worth, key=lambda gpus: (worth[gpus] / max(1e-12, known.hours(gpus)), -gpus))
    low, high = made.disagreement(best)
    what = plural(question.gpus or 0, "GPU")
    text = f"it takes away {worth[best]:.0%} of the variance of what the candidate laws say of {what}"
    if best != known.base and not known.n(best):
        text += f", which put T({known.base})/T({best}) at {low:.3g} to {high:.3g}"
    return Round(choices=(Choice(gpus=best, runs=1, why=text),))


# --- the largest efficient count ---------------------------------------------------------------------------


def _towards_threshold(question: Question, known: Evidence, before: Before) -> Round:
    standing = standings(question, known, before)
    _, open_ = undecided(known, standing)
    plans, laws = [], Candidates(known=known)
    for gpus in open_ or known.counts[1:]:
        confidence = confidence_of(before.looks.get(gpus, 0) + 1, question.confidence)
        if not (gpus in standing and standing[gpus].tied):
            plans += [plan for plan in [_plan(question, known, laws, gpus, confidence)] if plan is not None]
    if not plans:
        return Round(nothing=_not_told(question, known, standing, open_))
    best = max(plans, key=lambda plan: (plan.bits / max(1e-12, plan.hours), -plan.gpus))
    return Round(choices=best.choices, judged=best.gpus)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    gpus: int
    bits: float
    hours: float
    choices: tuple[Choice, ...]


def _plan(question: Question, known: Evidence, laws: Candidates, gpus: int, confidence: float) -> _Plan | None:
    """The runs that look at one count, and how much they are likely to tell."""
    base = known.base
    if gpus not in known.measured or base not in known.measured:
        more = {g: 1 for g in (base, gpus) if g not in known.measured}
        if any(not known.room(g) for g in more):
            return None
        asked = laws.ratio(gpus)
        bound = ideal_off(question, known, gpus)
        chance = asked.above(bound)
        error, reach = _single(known, gpus, more, confidence)
        told = asked.above(bound + reach, error) + 1 - asked.above(bound - reach, error)
        hours = sum(known.hours(g) for g in more)
        low, high = (_efficiency(question, known, gpus, end) for end in asked.interval(0.95))
        why = f"the candidate laws put its efficiency at {low:.0%} to {high:.0%}: {chance:.0%} likely to be " \
              f"{question.threshold:.0%} or more"  # fmt: skip
        choices = [Choice(gpus=g, runs=1, why=why if g == gpus else "what others are compared with") for g in more]
        return _Plan(gpus=gpus, bits=_entropy(chance) * max(0.02, told), hours=hours, choices=tuple(choices))
    return _again(question, known, gpus, confidence)


def _again(question: Question, known: Evidence, gpus: int, confidence: float) -> _Plan | None:
    """More runs of a count that ran and cannot be told from the threshold, and of the smallest."""
    weights = {known.base: 1.0, gpus: -1.0}
    here = known.value(weights)
    off = here.mean - ideal_off(question, known, gpus)

    def enough(value: Value) -> bool:
        return t_of(value.freedom, confidence) * value.error <= max(abs(off), 0.005) * 0.9

    if chance_to_tell(known, weights, off, confidence) < LEAST_CHANCE:
        return None
    whole = allocate(known, weights, enough, most=4 * known.most)
    more = allocate(known, weights, enough)
    if not more:
        return None
    t = abs(off) / here.error
    chance = 0.5 + 0.5 * min(1.0, t / 3)  # how sure it is already
    why = f"its efficiency of {_efficiency(question, known, gpus, here.mean):.1%} cannot be told from " \
          f"{question.threshold:.0%} yet; about {plural(sum(whole.values()), 'run')} would tell"  # fmt: skip
    return _Plan(
        gpus=gpus,
        bits=max(0.1, _entropy(chance)),
        hours=sum(runs * known.hours(g) for g, runs in whole.items()),
        choices=tuple(
            Choice(gpus=g, runs=runs, why=why if g == gpus else f"what gpus={gpus} is compared with")
            for g, runs in sorted(more.items())
        ),
    )


def _single(known: Evidence, gpus: int, more: Mapping[int, int], confidence: float) -> tuple[float, float]:
    """Standard error of a ratio with these first runs, and half of its interval."""
    base = known.base
    n = known.n(base) + more.get(base, 0)
    freedom = 2.0 + max(0, sum(known.n(g) - 1 for g in known.measured))
    error = (known.run_variance(base) / n + known.run_variance(gpus)) ** 0.5
    return error, t_of(freedom, confidence) * error


def _efficiency(question: Question, known: Evidence, gpus: int, ratio: float) -> float:
    return exp(min(50.0, ratio - ideal_off(question, known, gpus))) * (question.threshold or 1.0)


def _not_told(question: Question, known: Evidence, standing: Mapping[int, Standing], open_: tuple[int, ...]) -> str:
    """Why no count that is open is looked at again."""
    near = [gpus for gpus in open_ if gpus in standing and not standing[gpus].tied and known.room(gpus)]
    if not near:
        return _all_ran(known, dict.fromkeys(open_ or known.counts))
    return (
        f"gpus={', '.join(map(str, near))} is too near {question.threshold:.0%} for its spread: the chance that "
        f"max_repeats={known.most} runs tell is below {LEAST_CHANCE:.0%}; a larger one goes on"
    )


def _entropy(chance: float) -> float:
    """Bits of a yes or no."""
    return -sum(p * log2(p) for p in (chance, 1 - chance) if p > 0)
