"""What the answer to a question is by now, and whether that is enough. Pure; numpy.

Where the cells that a question is about have run, they answer it and no law is believed. A count that cannot run is
answered by the candidate laws together (`candidates`), whose disagreement and doubt are in the interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, log, sinh
from typing import NamedTuple

from launchers.text import plural
from vit_sweep.analysis.deciding.candidates import Candidates
from vit_sweep.analysis.deciding.evidence import Evidence, Value, Weights
from vit_sweep.analysis.deciding.looks import confidence_of
from vit_sweep.analysis.series.distributions import stdtr, stdtrit
from vit_sweep.analysis.series.estimates import number
from vit_sweep.plan.deciding.decision import Answer
from vit_sweep.plan.deciding.question import Quantity, Question

TOLERANCE = 0.01
"""Part of a threshold by which an efficiency may be on its other side unnoticed."""


@dataclass(frozen=True, kw_only=True)
class EarlierLooks:
    """What earlier looks at a threshold leave to the next one."""

    looks: Mapping[int, int] = field(default_factory=dict)
    """Rounds that were made to judge a count, by count: each is a look at it, also the one to come."""
    above: frozenset[int] = frozenset()
    """Counts that were surely efficient; what was sure stays so, since all looks hold together."""
    below: frozenset[int] = frozenset()
    last_count: int | None = None
    """The count that the last round was made for; no other is judged anew."""


NO_EARLIER_LOOKS = EarlierLooks()


def weights_of(question: Question, evidence: Evidence) -> Weights:
    """The counts that a number is made of."""
    assert question.gpus is not None
    return {evidence.base: 1.0, question.gpus: -1.0} if question.quantity.compared else {question.gpus: 1.0}


def half_width(value: Value, confidence: float) -> float:
    """Half of an interval, as a part of the number."""
    return min(1e9, sinh(min(50.0, t_of(value.freedom, confidence) * value.error)))


def t_of(freedom: float, confidence: float) -> float:
    """Quantile of Student's t of a two-sided interval."""
    return float(stdtrit(freedom, (1 + confidence) / 2))


def answer(question: Question, evidence: Evidence, earlier: EarlierLooks = NO_EARLIER_LOOKS) -> Answer:
    """The answer by now."""
    return _number(question, evidence) if question.gpus is not None else _largest(question, evidence, earlier)


# --- a number ----------------------------------------------------------------------------------------------


def _number(question: Question, evidence: Evidence) -> Answer:
    weights = weights_of(question, evidence)
    assert question.half_width is not None
    if set(weights) <= set(evidence.measured):
        measured = evidence.value(weights)
        reach = t_of(measured.freedom, question.confidence) * measured.error
        mean, low, high, by_laws = measured.mean, measured.mean - reach, measured.mean + reach, False
        enough = min(evidence.n(gpus) for gpus in weights) > 1
    else:
        if not evidence.measured:
            return Answer(sentence=f"{_name(question)}: nothing has run yet", done=False)
        laws = Candidates(evidence=evidence)
        predicted = laws.ratio(question.gpus or 0) if question.quantity.compared else laws.seconds(question.gpus or 0)
        low, high = predicted.interval(question.confidence)
        mean, by_laws = (low + high) / 2, True
        # What can run is not answered by laws.
        enough = (question.gpus not in evidence.counts) and len(evidence.measured) > 2
    scale, sign = _scale(question, evidence)
    ends = sorted(scale * exp(sign * max(-50.0, min(50.0, end))) for end in (low, high))
    value, width = scale * exp(sign * mean), min(1e9, sinh(min(50.0, (high - low) / 2)))
    done = enough and width <= question.half_width
    basis = ", by the candidate laws" if by_laws else ""
    sentence = (
        f"{_name(question)}: {_text(question, value)} ({_text(question, ends[0])} to {_text(question, ends[1])}), "
        f"±{_percent(width)}{basis}"
    )
    return Answer(
        sentence=sentence, done=done, value=value, low=ends[0], high=ends[1], half_width=width, by_laws=by_laws
    )


def _scale(question: Question, evidence: Evidence) -> tuple[float, float]:
    """Factor and power that make the number of exp(a sum of logarithms of seconds)."""
    gpus = question.gpus or 1
    factor = gpus / evidence.base
    match question.quantity:
        case Quantity.EFFICIENCY:
            return (1 / factor if evidence.strong else 1.0), 1.0
        case Quantity.SPEEDUP:
            return (1.0 if evidence.strong else factor), 1.0
        case Quantity.TIME:
            return 1.0, 1.0
        case _:
            images = evidence.load.images(gpus) if evidence.load.work is not None else 1
            return float(images), -1.0


def _name(question: Question) -> str:
    return f"{question.quantity.value} on {plural(question.gpus or 0, 'GPU')}"


def _text(question: Question, value: float) -> str:
    unit = {Quantity.TIME: " s", Quantity.THROUGHPUT: " images/s"}.get(question.quantity, "")
    return f"{value:.1%}" if question.quantity is Quantity.EFFICIENCY else f"{number(value)}{unit}"


def _percent(width: float) -> str:
    return f"{width:.1%}" if width < 10 else "more than 1000%"


# --- the largest efficient count ---------------------------------------------------------------------------


class Standing(NamedTuple):
    """How a count's efficiency stands to the threshold.

    It is told to be on the side where it was seen once its interval leaves it no more than `TOLERANCE` on the other. So
    a count at the threshold itself is told, as either, by the time its interval is as narrow as that.
    """

    gpus: int
    off: float
    """Logarithm of efficiency over threshold."""
    reach: float
    """Half of the interval of `off` at this look."""
    above: bool
    """Surely the threshold or more, to within the tolerance."""
    below: bool
    """Surely less, likewise."""

    @property
    def across(self) -> bool:
        """Whether the tolerance is needed."""
        return abs(self.off) < self.reach


def ideal_off(question: Question, evidence: Evidence, gpus: int) -> float:
    """What ln T(smallest)/T(gpus) is less of, to be `Standing.off`."""
    assert question.threshold is not None
    return log(question.threshold) + (log(gpus / evidence.base) if evidence.strong else 0.0)


def standings(question: Question, evidence: Evidence, earlier: EarlierLooks) -> dict[int, Standing]:
    """Of every measured count but the smallest; empty without a run of that."""
    if evidence.base not in evidence.measured:
        return {}
    by_count = {}
    for gpus in evidence.measured:
        if gpus == evidence.base:
            continue
        value = evidence.value({evidence.base: 1.0, gpus: -1.0})
        off = value.mean - ideal_off(question, evidence, gpus)
        confidence = confidence_of(earlier.looks.get(gpus, 1), question.confidence)
        reach = t_of(value.freedom, confidence) * value.error
        fresh = earlier.last_count in (gpus, None) and gpus not in earlier.above | earlier.below
        told = fresh and reach <= reach_to_tell(off)
        by_count[gpus] = Standing(
            gpus=gpus,
            off=off,
            reach=reach,
            above=gpus in earlier.above or (told and off >= 0),
            below=gpus in earlier.below or (told and off < 0),
        )
    return by_count


def reach_to_tell(off: float) -> float:
    """Half of the widest interval that tells an efficiency so far off the threshold, as a logarithm, from it."""
    return abs(off) + log(1 + TOLERANCE)


def chance_to_tell(evidence: Evidence, weights: Weights, off: float, confidence: float) -> float:
    """The probability, 0 to 1, that a count is told from the threshold once it ran as often as it may.

    Predictive power (Spiegelhalter, Freedman and Blackburn 1986): by then it is off by what it is now, give or take
    the error that the remaining runs take away. `off`: logarithm of its efficiency over the threshold. Giving up makes
    no answer less sure, as none is given.
    """
    now = evidence.value(weights)
    last = evidence.value(weights, {gpus: evidence.room(gpus) for gpus in weights})
    least = max(0.0, t_of(last.freedom, confidence) * last.error - reach_to_tell(0.0))
    moves = max(1e-12, now.error**2 - last.error**2) ** 0.5

    def less(bound: float) -> float:
        return float(stdtr(now.freedom, (bound - off) / moves))

    return 1 - less(least) + less(-least)


def undecided(evidence: Evidence, standing: Mapping[int, Standing]) -> tuple[int, tuple[int, ...]]:
    """The largest count that is surely efficient, and those above it that may be the largest one.

    Efficiency is taken to fall with the GPUs: nothing above a count that is surely less is looked at, unless a run
    there says otherwise.
    """
    sure = max([evidence.base, *(s.gpus for s in standing.values() if s.above)])
    less = min((s.gpus for s in standing.values() if s.below and s.gpus > sure), default=None)
    failed = min((gpus for gpus in evidence.failed or {} if gpus > sure), default=None)
    end = min((gpus for gpus in (less, failed) if gpus is not None), default=None)
    return sure, tuple(gpus for gpus in evidence.counts if gpus > sure and (end is None or gpus < end))


def _largest(question: Question, evidence: Evidence, earlier: EarlierLooks) -> Answer:
    standing = standings(question, evidence, earlier)
    sure, open_ = undecided(evidence, standing)
    heading = f"the largest count with an efficiency of {question.threshold:.0%} or more"
    if not standing:
        return Answer(sentence=f"{heading}: nothing is known yet", done=False, possible=evidence.counts)
    possible = (sure, *open_)
    words = " or ".join(map(str, possible)) if len(possible) < 4 else f"{sure} to {possible[-1]}"
    top = " (the largest count of the grid)" if possible == (evidence.counts[-1],) else ""
    after = [gpus for gpus in evidence.counts if gpus > possible[-1]][:1]
    near = [gpus for gpus in (sure, *after, *open_) if gpus in standing]
    details = ", ".join(_efficiency_words(question, standing[gpus]) for gpus in sorted(near)[:4])
    across = [gpus for gpus in near if standing[gpus].across and gpus not in open_]
    if across and not open_:
        details += (
            f"; {', '.join(map(str, across))}: told from {question.threshold:.0%} to within {TOLERANCE:.0%} of it"
        )
    return Answer(
        sentence=f"{heading} is {words}{top}" + (f": {details}" if details else ""),
        done=not open_,
        possible=possible,
        above=tuple(s.gpus for s in standing.values() if s.above),
        below=tuple(s.gpus for s in standing.values() if s.below),
    )


def _efficiency_words(question: Question, standing: Standing) -> str:
    assert question.threshold is not None
    value, low, high = (
        question.threshold * exp(end)
        for end in (standing.off, standing.off - standing.reach, standing.off + standing.reach)
    )
    return f"{value:.1%} on {standing.gpus} ({low:.1%} to {high:.1%})"
