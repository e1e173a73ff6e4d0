"""Which runs tell counts from a threshold for the fewest GPU-hours. Pure; numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, log

import numpy as np

from launchers.text import plural
from vit_sweep.analysis.deciding.answering import (
    TOLERANCE,
    EarlierLooks,
    Standing,
    chance_to_tell,
    ideal_off,
    reach_to_tell,
    standings,
    t_of,
    undecided,
)
from vit_sweep.analysis.deciding.candidates import Candidates, Floats, Mixture
from vit_sweep.analysis.deciding.evidence import Evidence, Value
from vit_sweep.analysis.deciding.looks import GROWTH, confidence_of
from vit_sweep.analysis.deciding.rounds import Round, allocate, why_exhausted
from vit_sweep.analysis.deciding.searching import Prospect, by_first_look
from vit_sweep.analysis.series.distributions import stdtr
from vit_sweep.plan.deciding.decision import Choice
from vit_sweep.plan.deciding.question import Question

LEAST_CHANCE = 0.1
"""Probability that all runs that may still be made tell a count from the threshold, below which none is made."""
_MARGIN = 0.9
"""Part of the interval that would just tell, which runs are made for: the next ones move the mean."""
_FREEDOM = 6.0
"""Degrees of freedom of the spread by the time a count that has not run is told."""
_REACH: Floats = log(1 + TOLERANCE) * np.exp2(np.arange(8.0))
"""Half of the intervals that tell an efficiency from a threshold: for each doubling it takes a fourth of the runs."""


def towards_threshold(question: Question, evidence: Evidence, earlier: EarlierLooks) -> Round:
    """The runs of the count to look at first, `earlier` holding what this look has told."""
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

    @cached_property
    def _measured(self) -> Value:
        return self.evidence.value(self._weights)

    @property
    def _off(self) -> float:
        """Logarithm of its measured efficiency over the threshold."""
        return self._measured.mean - ideal_off(self.question, self.evidence, self.gpus)

    @cached_property
    def _predicted(self) -> Mixture:
        return self.laws.ratio(self.gpus)

    @cached_property
    def _chance(self) -> float:
        """Of telling it from the threshold."""
        if not self._ran:
            return float(all(self.evidence.room(gpus) or self.evidence.n(gpus) for gpus in self._weights))
        return chance_to_tell(self.evidence, self._weights, self._off, self.confidence)

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
        reach = _MARGIN * reach_to_tell(self._off)

        def enough(value: Value) -> bool:
            return t_of(value.freedom, self.confidence) * value.error <= reach

        needed = allocate(self.evidence, self._weights, enough, growth=inf)
        more = allocate(self.evidence, self._weights, enough, GROWTH - 1)
        efficiency = _efficiency(self.question, self.evidence, self.gpus, self._measured.mean)
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
        return why_exhausted(evidence, dict.fromkeys(open_ or evidence.counts))
    return (
        f"gpus={', '.join(map(str, near))} is too near {question.threshold:.0%} for its spread: the chance that "
        f"max_repeats={evidence.most} runs tell is below {LEAST_CHANCE:.0%}; a larger one goes on"
    )
