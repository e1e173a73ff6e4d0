"""The cheapest and the fastest GPU count, and those that cannot be told from it. Pure.

Before one count is called the fastest or the cheapest, a test over all pairs must tell it from the others; those it
cannot be told from are named, with what hides a large difference (`estimates.difference`). Where a count has a single
run, and so no interval, a spread is assumed, and the answer says so.
"""

from collections.abc import Sequence

from launchers.text import plural
from vit_sweep.analysis.answer import Answer, Question
from vit_sweep.analysis.efficiency_limit import predictions, refusal_beyond
from vit_sweep.analysis.laws.fitted import Fit
from vit_sweep.analysis.series.estimates import difference, interval, number, place, scaled, single_spread
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.plan.choices import Scaling
from vit_sweep.runs.run import counted


def cheapest(series: ScalingSeries, price: float | None) -> Answer:
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
        assumption=_assumption(costs),
    )


def fastest(series: ScalingSeries, laws: Sequence[Fit]) -> Answer:
    """Least time for an epoch (strong), most images a second (weak)."""
    strong = series.key.scaling is Scaling.STRONG
    heading = "fastest"
    # Under weak scaling the work grows with the GPUs: time over work is what one compares.
    times = [(p, scaled(p.time_s, 1 if strong else 1 / p.gpus)) for p in series.timed if p.time_s is not None]
    if not times:
        return Answer(question=Question.FASTEST, sentence=f"{heading}: not known – no run has a time")
    point, time = min(times, key=lambda pair: (pair[1].value, pair[0].gpus))
    epoch_s = point.time_s or time
    rate = None if strong else point.images_per_s
    measured = f"{number(epoch_s.value)} s an epoch ({interval(epoch_s, number)})"
    if rate is not None:  # its epoch is longer than that of fewer GPUs
        speed = f"{number(rate.value)} {counted(point.runs)}/s"
        measured = f"{speed} ({interval(rate, number)}), {number(epoch_s.value)} s an epoch"
    text = f"{place(point, series)}, measured: {measured}"
    ties, words = _ties(point, time, times, series)
    text += words + (f"; {_ahead(time, laws, strong=strong)}" if laws else "")
    return Answer(
        question=Question.FASTEST,
        sentence=f"{heading}: {text}",
        gpus=point.gpus,
        ties=tuple(tie.gpus for tie in ties),
        assumption=_assumption(times),
    )


def _ahead(time: Estimate, laws: Sequence[Fit], *, strong: bool) -> str:
    """What the laws say of counts beyond those that were measured."""
    law, predicted = laws[0], list(predictions(laws))
    ahead = min(predicted, key=lambda p: p.time_s.value / (1 if strong else p.gpus), default=None)
    why = refusal_beyond(laws)
    if ahead is None or ahead.gpus <= max(law.counts):
        return f"beyond {max(law.counts)} nothing is predicted: {why}" if why else f"{law.name} sees none faster"
    time_s = ahead.time_s
    text = f"{law.name} predicts {number(time_s.value)} s ({interval(time_s, number)}) on {plural(ahead.gpus, 'GPU')}"
    if not difference(time, scaled(time_s, 1 if strong else 1 / ahead.gpus)).clear:
        return f"{text}, which cannot be told apart from it"
    return f"{text}, the limit of its predictions" if ahead.gpus == predicted[-1].gpus else text


def _ties(
    chosen: SeriesPoint,
    value: Estimate,
    others: Sequence[tuple[SeriesPoint, Estimate]],
    series: ScalingSeries,
) -> tuple[list[SeriesPoint], str]:
    """The points that a test over all pairs cannot tell from the chosen one; and in words, why."""
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
    return ties, "".join(f"; {clause}" for clause in words)


def _assumption(compared: Sequence[tuple[SeriesPoint, Estimate]]) -> str:
    """By which spread several were ranked among which there is a single run."""
    numbers = [number for _, number in compared]
    if len(numbers) < 2 or all(number.known for number in numbers):
        return ""
    return f"single runs are taken to differ by {single_spread(numbers):.0%}, an assumption"
