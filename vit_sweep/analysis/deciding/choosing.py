"""Which cells to run next: those that narrow an answer most for their GPU-hours. Pure; numpy.

Three rules, by what is asked:

number of a count that can run    its own cells; each run goes where it lowers the variance of the answer most per
                                  GPU-hour, s^2 w^2 (1/n - 1/(n+1)) / cost. That ends at n ~ s |w| / sqrt(cost), the
                                  cheapest way to an interval (Neyman 1934, with costs)
number of one that cannot         the count whose run takes most of the variance over the candidate laws per GPU-hour
                                  (`candidates.gain`): where they disagree
largest count above a threshold   the count that begins the way on which all counts that it may be are told from the
                                  threshold for the fewest GPU-hours, as far as is known (`searching`)

A round holds as many runs as the answer is likely to need, but adds at most half to the information that is there,
since that is how far a spread is known that so few runs show; as much as that where each look has its price (`looks`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, inf, log

import numpy as np
from scipy.special import stdtr

from launchers.text import plural
from vit_sweep.analysis.deciding.answering import (
    TOLERANCE,
    EarlierLooks,
    Standing,
    chance_to_tell,
    half_width,
    ideal_off,
    reach_to_tell,
    standings,
    t_of,
    undecided,
    weights_of,
)
from vit_sweep.analysis.deciding.candidates import Candidates, Floats, Mixture
from vit_sweep.analysis.deciding.evidence import Evidence, Value
from vit_sweep.analysis.deciding.looks import GROWTH as GROWTH_OF_LOOKS
from vit_sweep.analysis.deciding.looks import confidence_of
from vit_sweep.analysis.deciding.searching import Prospect, by_first_look
from vit_sweep.plan.deciding.decision import Choice
from vit_sweep.plan.deciding.question import Question

FIRST = 2
"""Runs of each cell of an answer before it is looked at."""
GROWTH = 0.5
"""Information (1/variance) that a round adds at most, as a part of what the answer rests on."""
LEAST_GAIN = 0.02
"""Part of the variance that a run must take away, where laws answer."""
LEAST_CHANCE = 0.1
"""Probability that all runs that may still be made tell a count from the threshold, below which none is made."""
_MARGIN = 0.9
"""Part of the interval that would just tell, which runs are made for: the next ones move the mean."""
_FREEDOM = 6.0
"""Degrees of freedom of the spread by the time a count that has not run is told."""
_REACH: Floats = log(1 + TOLERANCE) * np.exp2(np.arange(8.0))
"""Half of the intervals that tell an efficiency from a threshold: for each doubling it takes a fourth of the runs."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What to run next; nothing, and why."""

    choices: tuple[Choice, ...] = ()
    stop_reason: str = ""
    count: int | None = None
    """The count that a threshold is asked of."""


def next_round(question: Question, evidence: Evidence, earlier: EarlierLooks) -> Round:
    """The cells to run after a look that did not answer the question. No budget is looked at."""
    if question.gpus is None:
        return _towards_threshold(question, evidence, earlier)
    if question.gpus in evidence.counts:
        return _towards_number(question, evidence)
    return _towards_laws(question, evidence)


def within(round_: Round, evidence: Evidence, hours: float) -> Round:
    """The same round with no more GPU-hours than these; nothing where not even one run fits.

    Whole, or its first runs as they fit.
    """
    affordable: list[Choice] = []
    left = max(0.0, hours)  # runs that took longer than their like may have spent more than there was
    for choice in round_.choices:
        fit = min(choice.runs, int(left / evidence.hours(choice.gpus) + 1e-9)) if evidence.hours(choice.gpus) > 0 else 0
        if fit:
            affordable.append(replace(choice, runs=fit))
            left -= fit * evidence.hours(choice.gpus)
    return replace(round_, choices=tuple(affordable))


def cost(choices: tuple[Choice, ...], evidence: Evidence) -> float:
    """GPU-hours of a round."""
    return sum(choice.runs * evidence.hours(choice.gpus) for choice in choices)


# --- a number ----------------------------------------------------------------------------------------------


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
        return Round(stop_reason=_why_exhausted(evidence, weights))
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
        return Round(stop_reason=_why_exhausted(evidence, room))
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


def allocate(
    evidence: Evidence, weights: Mapping[int, float], enough: Callable[[Value], bool], growth: float = GROWTH
) -> dict[int, int]:
    """Runs to add one by one where each lowers the variance most per GPU-hour, until that would be `enough`.

    At least one, where there is room, and none once what they can narrow is narrowed by 1 + `growth`. The number of
    runs is no measure of that: those of a dear count would grow by as many as cheap ones may.
    """
    more: dict[int, int] = {}

    def variance() -> float:
        return sum(
            weight**2 * evidence.run_variance(gpus) / (evidence.n(gpus) + more.get(gpus, 0))
            for gpus, weight in weights.items()
        )

    least = variance() / (1 + growth)
    while not more or (variance() > least * (1 + 1e-9) and not enough(evidence.value(weights, more))):
        rates = {}
        for gpus, weight in weights.items():
            n = evidence.n(gpus) + more.get(gpus, 0)
            if evidence.room(gpus) > more.get(gpus, 0):
                gain = weight**2 * evidence.run_variance(gpus) * (1 / n - 1 / (n + 1))
                rates[gpus] = gain / max(1e-12, evidence.hours(gpus))
        if not rates:
            break
        best = max(rates, key=lambda gpus: (rates[gpus], -gpus))
        more[best] = more.get(best, 0) + 1
    return more


def _why_exhausted(evidence: Evidence, counts: Mapping[int, object]) -> str:
    failed = evidence.failed or {}
    for gpus in counts:
        if gpus in failed:
            return f"gpus={gpus} ended as {failed[gpus]}: without it there is no answer"
    listed = ", ".join(map(str, counts))
    return f"gpus={listed} ran max_repeats={evidence.most} times each; a larger one goes on"


# --- a number by laws --------------------------------------------------------------------------------------


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


# --- the largest efficient count ---------------------------------------------------------------------------


def _towards_threshold(question: Question, evidence: Evidence, earlier: EarlierLooks) -> Round:
    standing = standings(question, evidence, earlier)
    _, open_ = undecided(evidence, standing)
    laws = Candidates(evidence=evidence)
    looks = {
        gpus: _Look(question, evidence, laws, gpus, confidence_of(earlier.looks.get(gpus, 0) + 1, question.confidence))
        for gpus in open_ or evidence.counts[1:]
    }
    for gpus in by_first_look([look.prospect for look in looks.values()]):
        if choices := looks[gpus].choices:
            return Round(choices=choices, count=gpus)
    return Round(stop_reason=_why_no_plan(question, evidence, standing, open_))


@dataclass(frozen=True)
class _Look:
    """A look at one count: what it is expected to come to, and the runs that it takes first."""

    question: Question
    evidence: Evidence
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
        off = _REACH - _REACH[0]
        above, below = self._beyond(off), 1 - self._beyond(-off)
        chances = -np.diff([*(above + below), 0.0])
        hours = float(chances @ self._hours(2**0.5 * _REACH))
        return Prospect(gpus=self.gpus, above=float(above[0]), hours=hours / max(1e-3, self._chance))

    @property
    def choices(self) -> tuple[Choice, ...]:
        """None where the runs that may still be made are not likely to tell."""
        if self._chance < LEAST_CHANCE:
            return ()
        return self._more() if self._ran else self._first()

    @property
    def _ran(self) -> bool:
        return {self.evidence.base, self.gpus} <= set(self.evidence.measured)

    @property
    def _weights(self) -> dict[int, float]:
        return {self.evidence.base: 1.0, self.gpus: -1.0}

    @property
    def _measured(self) -> Value:
        return self.evidence.value(self._weights)

    @cached_property
    def _predicted(self) -> Mixture:
        return self.laws.ratio(self.gpus)

    @cached_property
    def _chance(self) -> float:
        """Of telling it from the threshold."""
        if not self._ran:
            return float(all(self.evidence.room(gpus) or self.evidence.n(gpus) for gpus in self._weights))
        off = self._measured.mean - ideal_off(self.question, self.evidence, self.gpus)
        return chance_to_tell(self.evidence, self._weights, off, self.confidence)

    def _beyond(self, off: Floats) -> Floats:
        """The probability that the logarithm of its efficiency over the threshold is more than each of these."""
        bounds = off + ideal_off(self.question, self.evidence, self.gpus)
        if self._ran:
            return np.asarray(stdtr(self._measured.freedom, (self._measured.mean - bounds) / self._measured.error))
        return np.array([self._predicted.above(bound) for bound in bounds])

    def _hours(self, reach: Floats) -> Floats:
        """GPU-hours to half an interval: as many runs of either count, as far as they may be made."""
        freedom = self._measured.freedom if self._ran else _FREEDOM
        variance = sum(self.evidence.run_variance(gpus) for gpus in self._weights)
        runs = np.maximum(1.0, variance * (t_of(freedom, self.confidence) / (_MARGIN * reach)) ** 2)
        more = [
            np.clip(runs - self.evidence.n(g), 0, self.evidence.room(g)) * self.evidence.hours(g) for g in self._weights
        ]
        return np.asarray(np.maximum(sum(more), self.evidence.hours(self.gpus)))

    def _first(self) -> tuple[Choice, ...]:
        low, high = (
            _efficiency(self.question, self.evidence, self.gpus, end) for end in self._predicted.interval(0.95)
        )
        chance = self._predicted.above(ideal_off(self.question, self.evidence, self.gpus))
        why = (
            f"the candidate laws put its efficiency at {low:.0%} to {high:.0%}: {chance:.0%} likely to be "
            f"{self.question.threshold:.0%} or more"
        )
        return tuple(
            Choice(gpus=gpus, runs=1, why=why if gpus == self.gpus else "what others are compared with")
            for gpus in self._weights
            if gpus not in self.evidence.measured
        )

    def _more(self) -> tuple[Choice, ...]:
        """Of a count that ran and cannot be told from the threshold, and of the smallest."""
        here = self._measured
        reach = _MARGIN * reach_to_tell(here.mean - ideal_off(self.question, self.evidence, self.gpus))

        def enough(value: Value) -> bool:
            return t_of(value.freedom, self.confidence) * value.error <= reach

        needed = allocate(self.evidence, self._weights, enough, growth=inf)
        more = allocate(self.evidence, self._weights, enough, GROWTH_OF_LOOKS - 1)
        efficiency = _efficiency(self.question, self.evidence, self.gpus, here.mean)
        why = (
            f"its efficiency of {efficiency:.1%} cannot be told from {self.question.threshold:.0%} yet; "
            f"{'about' if enough(self.evidence.value(self._weights, needed)) else 'more than'} "
            f"{plural(sum(needed.values()), 'run')} would tell"
        )
        return tuple(
            Choice(gpus=gpus, runs=runs, why=why if gpus == self.gpus else f"what gpus={self.gpus} is compared with")
            for gpus, runs in sorted(more.items())
        )


def _efficiency(question: Question, evidence: Evidence, gpus: int, ratio: float) -> float:
    return exp(min(50.0, ratio - ideal_off(question, evidence, gpus))) * (question.threshold or 1.0)


def _why_no_plan(
    question: Question, evidence: Evidence, standing: Mapping[int, Standing], open_: tuple[int, ...]
) -> str:
    """Why no count that is open is looked at again."""
    near = [gpus for gpus in open_ if gpus in standing and evidence.room(gpus)]
    if not near:
        return _why_exhausted(evidence, dict.fromkeys(open_ or evidence.counts))
    return (
        f"gpus={', '.join(map(str, near))} is too near {question.threshold:.0%} for its spread: the chance that "
        f"max_repeats={evidence.most} runs tell is below {LEAST_CHANCE:.0%}; a larger one goes on"
    )
