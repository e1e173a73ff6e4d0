"""Which cells to run next: those that narrow an answer most for their GPU-hours. Pure; numpy.

Three rules, by what is asked:

number of a count that can run    its own cells; each run goes where it lowers the variance of the answer most per
                                  GPU-hour, s^2 w^2 (1/n - 1/(n+1)) / cost. That ends at n ~ s |w| / sqrt(cost), the
                                  cheapest way to an interval (Neyman 1934, with costs)
number of one that cannot         the count whose run takes most of the variance over the candidate laws per GPU-hour
                                  (`candidates.gain`): where they disagree
largest count above a threshold   the count that begins the way on which all counts that it may be are told from the
                                  threshold for the fewest GPU-hours, as far as is known (`searching`)

A round holds as many runs as the answer is likely to need, but at most half of what it rests on already, since that is
how far a spread is known that so few runs show; as many as that where each look has its price (`looks`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, exp

import numpy as np
from scipy.special import stdtr

from launchers.text import plural
from vit_sweep.analysis.deciding.answering import (
    TIE,
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
from vit_sweep.analysis.deciding.candidates import Candidates, Floats, Mixture
from vit_sweep.analysis.deciding.evidence import Evidence, Value
from vit_sweep.analysis.deciding.looks import confidence_of
from vit_sweep.analysis.deciding.searching import Prospect, by_first_look
from vit_sweep.plan.deciding.decision import Choice
from vit_sweep.plan.deciding.question import Question

FIRST = 2
"""Runs of each cell of an answer before it is looked at."""
GROWTH = 0.5
"""Runs of a round at most, as a part of those that the answer rests on."""
GROWTH_TO_TELL = 1.0
"""The same of a round that judges a count by a threshold: there each further look makes all of them less sure."""
EQUAL = TIE / 2
"""Part of a threshold within which an efficiency is likely to be told as equal to it."""
LEAST_GAIN = 0.02
"""Part of the variance that a run must take away, where laws answer."""
LEAST_CHANCE = 0.1
"""Probability that all runs that may still be made tell a count from the threshold, below which none is made."""
_FREEDOM = 6.0
"""Degrees of freedom of the spread by the time a count that has not run is told."""
_OFF: Floats = EQUAL * np.exp2(np.arange(8.0))
"""Logarithms of an efficiency over a threshold, from where each doubling is a fourth of the runs that tell it."""


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
    laws = Candidates(known=known)
    looks = {
        gpus: _Look(question, known, laws, gpus, confidence_of(before.looks.get(gpus, 0) + 1, question.confidence))
        for gpus in open_ or known.counts[1:]
        if not (gpus in standing and standing[gpus].tied)
    }
    for gpus in by_first_look([look.prospect for look in looks.values()]):
        if choices := looks[gpus].choices:
            return Round(choices=choices, judged=gpus)
    return Round(nothing=_not_told(question, known, standing, open_))


@dataclass(frozen=True)
class _Look:
    """A look at one count: what it is expected to come to, and the runs that it takes first."""

    question: Question
    known: Evidence
    laws: Candidates
    gpus: int
    confidence: float
    """Of its interval."""

    @property
    def prospect(self) -> Prospect:
        """By what ran, or else by the candidate laws.

        GPU-hours are the mean over how far off the efficiency may be, by the chance that the runs which may still be
        made tell.
        """
        above, below = self._beyond(_OFF), 1 - self._beyond(-_OFF)
        near = 1 - above[0] - below[0]
        chances = np.array([near, *-np.diff([*(above + below), 0.0])])
        hours = float(chances @ self._hours(np.array([EQUAL, *(2**0.5 * _OFF)])))
        return Prospect(
            gpus=self.gpus, above=float(above[0]), below=float(below[0]), hours=hours / max(1e-3, self._chance)
        )

    @property
    def choices(self) -> tuple[Choice, ...]:
        """None where the runs that may still be made are not likely to tell."""
        if self._chance < LEAST_CHANCE:
            return ()
        return self._more() if self._ran else self._first()

    @property
    def _ran(self) -> bool:
        return {self.known.base, self.gpus} <= set(self.known.measured)

    @property
    def _weights(self) -> dict[int, float]:
        return {self.known.base: 1.0, self.gpus: -1.0}

    @property
    def _here(self) -> Value:
        return self.known.value(self._weights)

    @cached_property
    def _asked(self) -> Mixture:
        return self.laws.ratio(self.gpus)

    @cached_property
    def _chance(self) -> float:
        """Of telling it from the threshold."""
        if not self._ran:
            return float(all(self.known.room(gpus) or self.known.n(gpus) for gpus in self._weights))
        off = self._here.mean - ideal_off(self.question, self.known, self.gpus)
        return chance_to_tell(self.known, self._weights, off, self.confidence)

    def _beyond(self, off: Floats) -> Floats:
        """The probability that the logarithm of its efficiency over the threshold is more than each of these."""
        bounds = off + ideal_off(self.question, self.known, self.gpus)
        if self._ran:
            return np.asarray(stdtr(self._here.freedom, (self._here.mean - bounds) / self._here.error))
        return np.array([self._asked.above(bound) for bound in bounds])

    def _hours(self, off: Floats) -> Floats:
        """GPU-hours that tell, if it is so far off: as many runs of either count, as far as they may be made."""
        freedom = self._here.freedom if self._ran else _FREEDOM
        variance = sum(self.known.run_variance(gpus) for gpus in self._weights)
        runs = np.maximum(1.0, variance * (t_of(freedom, self.confidence) / _reach(off)) ** 2)
        more = [np.clip(runs - self.known.n(g), 0, self.known.room(g)) * self.known.hours(g) for g in self._weights]
        return np.asarray(np.maximum(sum(more), self.known.hours(self.gpus)))

    def _first(self) -> tuple[Choice, ...]:
        low, high = (_efficiency(self.question, self.known, self.gpus, end) for end in self._asked.interval(0.95))
        chance = self._asked.above(ideal_off(self.question, self.known, self.gpus))
        why = f"the candidate laws put its efficiency at {low:.0%} to {high:.0%}: {chance:.0%} likely to be " \
              f"{self.question.threshold:.0%} or more"  # fmt: skip
        return tuple(
            Choice(gpus=gpus, runs=1, why=why if gpus == self.gpus else "what others are compared with")
            for gpus in self._weights
            if gpus not in self.known.measured
        )

    def _more(self) -> tuple[Choice, ...]:
        """Of a count that ran and cannot be told from the threshold, and of the smallest."""
        here = self._here
        reach = float(_reach(np.array(here.mean - ideal_off(self.question, self.known, self.gpus))))

        def enough(value: Value) -> bool:
            return t_of(value.freedom, self.confidence) * value.error <= reach

        whole = allocate(self.known, self._weights, enough, most=4 * self.known.most)
        now = ceil(GROWTH_TO_TELL * sum(self.known.n(gpus) for gpus in self._weights))
        more = allocate(self.known, self._weights, enough, most=now)
        efficiency = _efficiency(self.question, self.known, self.gpus, here.mean)
        why = f"its efficiency of {efficiency:.1%} cannot be told from {self.question.threshold:.0%} yet; about " \
              f"{plural(sum(whole.values()), 'run')} would tell"  # fmt: skip
        return tuple(
            Choice(gpus=gpus, runs=runs, why=why if gpus == self.gpus else f"what gpus={self.gpus} is compared with")
            for gpus, runs in sorted(more.items())
        )


def _reach(off: Floats) -> Floats:
    """Half of an interval that would tell an efficiency so far off the threshold from it, or that it is equal."""
    return np.maximum(np.abs(off), EQUAL) * 0.9


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
