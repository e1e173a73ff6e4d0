"""Answers to what one asks of a scaling curve, a sentence each: measured or predicted, how sure, or why not. Pure.

Before one count is called the fastest or the cheapest, a test over all pairs must tell it from the others; those it
cannot be told from are named, with what hides a large difference (`estimates.difference`). Where a count has a single
run, and so no interval, a spread is assumed, and the sentence says so.
Which cell to run next is chosen in `design`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from operator import attrgetter

from launchers.checked import checked
from launchers.text import plural
from vit_sweep.analysis.laws.coverage import of_series
from vit_sweep.analysis.laws.design import next_cell
from vit_sweep.analysis.laws.fitted import Fit, Parameter
from vit_sweep.analysis.laws.predicting import Prediction, Refusal, plausible, predict
from vit_sweep.analysis.series.contention import contention
from vit_sweep.analysis.series.estimates import (
    difference,
    doubt_of,
    interval,
    number,
    percent,
    place,
    scaled,
    single_spread,
)
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.plan.point import Scaling

THRESHOLD = 0.8


class Question(StrEnum):
    """What is asked of a curve."""

    EFFICIENT = "efficient"
    """The largest GPU count whose efficiency is at least a threshold."""
    CHEAPEST = "cheapest"
    """The fewest GPU-seconds for an epoch."""
    FASTEST = "fastest"
    NEXT = "next"
    """Which cell to run next."""
    SUPPORT = "support"
    """Whether the grid can carry a fit at all."""
    LAW = "law"
    """Which law describes the curve best."""


@checked
class Answer:
    """One sentence, and what a program needs of it."""

    question: Question
    sentence: str
    gpus: int | None = None
    """The count that it names."""
    ties: tuple[int, ...] = ()
    """Counts that cannot be told from it."""
    assumed: bool = False
    """Whether single runs were ranked, by a spread that nobody has seen."""
    predicted: bool = False
    """Whether this count was not measured."""
    words: str = ""
    """What to type, where the answer is something to run."""
    notes: tuple[str, ...] = ()
    """Contended hosts among the runs that it rests on."""


def answers(
    series: ScalingSeries, fits: Iterable[Fit], *, threshold: float = THRESHOLD, gpu_price: float | None = None
) -> tuple[Answer, ...]:
    """Answer every `Question` about a series. `threshold`: of efficiency; `gpu_price`: of an hour of one GPU.

    Raises `ValueError` for a threshold outside 0 to 1 or a price below zero.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold:g}: an efficiency lies above 0 and up to 1; use for example 0.8")
    if gpu_price is not None and gpu_price < 0:
        raise ValueError(f"gpu_price={gpu_price:g}: a price is not below zero")
    fits = tuple(fits)
    laws = plausible(fits)
    law = laws[0] if laws else None
    made = (
        _efficient(series, fits, laws, threshold),
        _cheapest(series, gpu_price),
        _fastest(series, laws),
        _next(series, law),
        _support(series),
        _law(fits, law),
    )
    notes = contention(series.timed_runs)
    return tuple(
        answer
        if answer.question in (Question.NEXT, Question.SUPPORT)  # what to run rests on no single time
        else replace(answer, notes=notes)
        for answer in made
    )


# --- the largest efficient count -----------------------------------------------------------------------------


def _efficient(series: ScalingSeries, fits: Sequence[Fit], laws: Sequence[Fit], threshold: float) -> Answer:
    heading = f"largest GPU count with an efficiency of {threshold:.0%} or more"
    points = [(point, point.efficiency) for point in series.timed if point.efficiency is not None]
    base = series.baseline_gpus
    if base is None or not points:
        why = series.no_baseline or "no run has a time"
        return Answer(question=Question.EFFICIENT, sentence=f"{heading}: not known – {why}")
    good = [(point, value) for point, value in points if value.value >= threshold]
    point, value = max(good, key=lambda pair: (pair[0].gpus, pair[1].value))
    higher = [(other, e) for other, e in points if other.gpus > point.gpus]
    lower = [(other, e) for other, e in points if other.gpus < point.gpus and e.value < threshold]
    if point.gpus == base:
        text = f"{base}, the baseline itself"
    else:
        text = f"{point.gpus}, measured ({value.value:.0%}, {interval(value, percent)})"
        if value.low is not None and value.low < threshold:
            text += _near(value, threshold)
    if higher:
        other, e = min(higher, key=lambda pair: pair[0].gpus)
        text += f"; at {place(other, series)} it is {e.value:.0%} ({interval(e, percent)})"
        if e.high is not None and e.high >= threshold:
            text += _near(e, threshold)
    if lower:
        text += f"; though it is {', '.join(f'{e.value:.0%} at {place(other, series)}' for other, e in lower)}"
    beyond, gpus = _predicted_efficient(laws, fits, threshold, point.gpus)
    # What is measured answers, unless every measured count is efficient: then the answer lies beyond.
    predicted = gpus is not None and not higher and gpus > point.gpus
    return Answer(
        question=Question.EFFICIENT,
        sentence=f"{heading}: {text}; {beyond}",
        gpus=gpus if predicted else point.gpus,
        predicted=predicted,
    )


def _near(efficiency: Estimate, threshold: float) -> str:
    """That its interval reaches the threshold; and why, where it lies far from it."""
    doubt = doubt_of(efficiency, threshold)
    return (
        f", {doubt} to tell it from {threshold:.0%}" if doubt else f", which cannot be told apart from {threshold:.0%}"
    )


def _predicted_efficient(
    laws: Sequence[Fit], fits: Sequence[Fit], threshold: float, measured: int
) -> tuple[str, int | None]:
    """What the best law says of the threshold, and the largest count that it calls efficient."""
    if not laws:
        missing = "is fitted" if all(fit.refusal for fit in fits) else "could be held out"
        return f"nothing is predicted, as no law {missing}", None
    law, made = laws[0], list(_predictions(laws))
    worst, value, best_case = (
        max((p.gpus for p in made if p.efficiency is not None and pick(p.efficiency) >= threshold), default=None)
        for pick in (attrgetter("low"), attrgetter("value"), attrgetter("high"))
    )
    end = max((p.gpus for p in made), default=0)
    why = _refusal_beyond(laws)
    if value is None or worst is None or best_case is None:
        return f"{law.name} says nothing nearer", None
    if value >= end:
        if why and end <= max(law.counts):
            return f"nothing is predicted beyond {max(law.counts)}: {why}", value
        return f"{law.name} predicts {threshold:.0%} or more up to {end}, as far as it may be asked", value
    top = f"{best_case}" if best_case < end else f"{end} or more"
    note = "" if value >= measured else ", fewer than measured"
    return f"{law.name} puts it at {value} ({worst} to {top}){note}", value


def _predictions(laws: Sequence[Fit]) -> Iterator[Prediction]:
    """Every count from the smallest measured one to the reach that may be predicted."""
    for gpus in range(min(laws[0].counts), laws[0].reach + 1):
        made = predict(laws, gpus)
        if isinstance(made, Prediction):
            yield made


def _refusal_beyond(laws: Sequence[Fit]) -> str:
    made = predict(laws, max(laws[0].counts) + 1)
    return made.reason if isinstance(made, Refusal) else ""


def _why_no_law(fits: Sequence[Fit]) -> str:
    if not fits:
        return "no law was fitted"
    return next((fit.refusal for fit in fits if fit.refusal), f"{fits[0].name} could not be held out")


# --- the cheapest and the fastest ----------------------------------------------------------------------------


def _cheapest(series: ScalingSeries, price: float | None) -> Answer:
    """GPU-seconds of an epoch (strong), of a GPU's share of it (weak: there an epoch grows with the GPUs)."""
    strong = series.key.scaling is Scaling.STRONG
    heading = "cheapest per epoch" if strong else "cheapest per image"
    costs = [(p, scaled(p.time_s, p.gpus if strong else 1)) for p in series.timed if p.time_s is not None]
    if not costs:
        return Answer(question=Question.CHEAPEST, sentence=f"{heading}: not known – no run has a time")
    point, cost = min(costs, key=lambda pair: (pair[1].value, pair[0].gpus))
    unit = "GPU-s" if strong else "GPU-s for each GPU's share of images"
    text = f"{place(point, series)}, measured: {number(cost.value)} {unit} ({interval(cost, number)})"
    if price is not None:
        text += f", {cost.value / 3600 * price:.3g} at {price:g} per GPU-hour"
    ties, words = _ties(point, cost, costs, series)
    text += words
    last, most = max(costs, key=lambda pair: pair[0].gpus)
    if last not in (point, *ties):
        text += f"; at {place(last, series)} {most.value / cost.value - 1:+.0%}"
    return Answer(
        question=Question.CHEAPEST,
        sentence=f"{heading}: {text}",
        gpus=point.gpus,
        ties=tuple(tie.gpus for tie in ties),
        assumed=_assumed(costs),
    )


def _fastest(series: ScalingSeries, laws: Sequence[Fit]) -> Answer:
    """Least time for an epoch (strong), most images a second (weak)."""
    strong = series.key.scaling is Scaling.STRONG
    heading = "fastest"
    # Under weak scaling the work grows with the GPUs: time over work is what one compares.
    times = [(p, scaled(p.time_s, 1 if strong else 1 / p.gpus)) for p in series.timed if p.time_s is not None]
    if not times:
        return Answer(question=Question.FASTEST, sentence=f"{heading}: not known – no run has a time")
    point, time = min(times, key=lambda pair: (pair[1].value, pair[0].gpus))
    own = point.time_s or time
    rate = None if strong else point.images_per_s
    measured = f"{number(own.value)} s an epoch ({interval(own, number)})"
    if rate is not None:  # its epoch is longer than that of fewer GPUs
        measured = f"{number(rate.value)} images/s ({interval(rate, number)}), {number(own.value)} s an epoch"
    text = f"{place(point, series)}, measured: {measured}"
    ties, words = _ties(point, time, times, series)
    text += words + (f"; {_ahead(time, laws, strong=strong)}" if laws else "")
    return Answer(
        question=Question.FASTEST,
        sentence=f"{heading}: {text}",
        gpus=point.gpus,
        ties=tuple(tie.gpus for tie in ties),
        assumed=_assumed(times),
    )


def _ahead(time: Estimate, laws: Sequence[Fit], *, strong: bool) -> str:
    """What the laws say of counts beyond those that were measured."""
    law, predictions = laws[0], list(_predictions(laws))
    ahead = min(predictions, key=lambda p: p.time_s.value / (1 if strong else p.gpus), default=None)
    why = _refusal_beyond(laws)
    if ahead is None or ahead.gpus <= max(law.counts):
        return f"beyond {max(law.counts)} nothing is predicted: {why}" if why else f"{law.name} sees none faster"
    time_s = ahead.time_s
    text = f"{law.name} predicts {number(time_s.value)} s ({interval(time_s, number)}) on {plural(ahead.gpus, 'GPU')}"
    if not difference(time, scaled(time_s, 1 if strong else 1 / ahead.gpus)).clear:
        return f"{text}, which cannot be told apart from it"
    return f"{text}, as far as it may be asked" if ahead.gpus == predictions[-1].gpus else text


def _ties(
    chosen: SeriesPoint,
    value: Estimate,
    others: Sequence[tuple[SeriesPoint, Estimate]],
    series: ScalingSeries,
) -> tuple[list[SeriesPoint], str]:
    """The points that a test over all pairs cannot tell from the chosen one; and in words, why, and what is assumed."""
    numbers = [number for _, number in others]
    ties: list[SeriesPoint] = []
    listed: dict[str, list[str]] = {}
    for point, other in others:
        if point is not chosen and not (gap := difference(value, other, numbers)).clear:
            ties.append(point)
            listed.setdefault(gap.doubt, []).append(f"{place(point, series)} ({other.value / value.value - 1:+.1%})")
    words = [
        f"{doubt} to tell it from {', '.join(points)}" if doubt else f"cannot be told apart from {', '.join(points)}"
        for doubt, points in sorted(listed.items())
    ]
    if _assumed(others):
        words.append(f"single runs being taken to differ by {single_spread(numbers):.0%}, an assumption")
    return ties, "".join(f"; {clause}" for clause in words)


def _assumed(compared: Sequence[tuple[SeriesPoint, Estimate]]) -> bool:
    """Whether a single run is among several that are ranked."""
    return len(compared) > 1 and not all(value.known for _, value in compared)


# --- what to run next ----------------------------------------------------------------------------------------


def _next(series: ScalingSeries, law: Fit | None) -> Answer:
    heading = "next most informative cell"
    if law is None:
        add = of_series(series).add
        if "gpus=" in add:
            text = f"{heading}: no law is fitted yet; {add} would allow it"
        elif add:
            text = f"{heading}: none, as no law is fitted; {add} gives times an interval"
        else:
            text = f"{heading}: none, no law can be fitted"
        return Answer(question=Question.NEXT, sentence=text, words=add)
    runs = {point.gpus: 0 for point in series.timed}
    for point in series.timed:
        runs[point.gpus] += len(point.runs)
    cell = next_cell(law)
    again = f" repeats={runs[cell.gpus] + 1}" if cell.gpus in runs else ""
    words = f"gpus={cell.gpus}{again}"
    return Answer(
        question=Question.NEXT,
        sentence=f"{heading}: {words}, {cell.why}",
        gpus=cell.gpus,
        predicted=cell.gpus not in runs,
        words=words,
    )


# --- whether and what ----------------------------------------------------------------------------------------


def _support(series: ScalingSeries) -> Answer:
    carried = of_series(series)
    return Answer(question=Question.SUPPORT, sentence=f"this grid: {'; '.join(carried.sentences)}", words=carried.add)


_NAMES = {
    "one_gpu_s": "time on one GPU",
    "serial_fraction": "serial fraction",
    "compute_ms_per_image": "computation of an image",
    "latency_us": "latency",
    "transfer_ms": "transfer of a gradient",
    "bus_gb_per_s": "bus bandwidth",
}


def _law(fits: Sequence[Fit], law: Fit | None) -> Answer:
    if law is None:
        return Answer(question=Question.LAW, sentence=f"best law: none – {_why_no_law(fits)}")
    numbers = ", ".join(map(_parameter, law.parameters))
    others = [fit for fit in fits if fit is not law]
    errors = [f"{fit.name} {fit.loo_error:.1%}" for fit in others if fit.loo_error is not None]
    refused = [fit.refusal for fit in others if fit.refusal]
    text = f"best law: {law.name}, leave-one-out error {law.loo_error:.1%}"
    text += f" against {', '.join(errors)}" if errors else ""
    text += f" – {numbers}"
    text += f"; not fitted: {'; '.join(refused)}" if refused else ""
    return Answer(question=Question.LAW, sentence=text)


def _parameter(parameter: Parameter) -> str:
    value = f"{_NAMES.get(parameter.name, parameter.name)} {number(parameter.value)}"
    unit = f" {parameter.unit}" if parameter.unit else ""
    if parameter.low is None or parameter.high is None:
        return f"{value}{unit} ({parameter.how})"
    return f"{value}{unit} ({number(parameter.low)} to {number(parameter.high)})"
