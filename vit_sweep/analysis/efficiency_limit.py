"""The largest GPU count that is still efficient: measured, then where the laws put it. Pure."""

from collections.abc import Iterator, Sequence
from operator import attrgetter

from vit_sweep.analysis.answer import Answer, Question
from vit_sweep.analysis.laws.fitted import Fit
from vit_sweep.analysis.laws.predicting import Prediction, Refusal, predict
from vit_sweep.analysis.series.estimates import doubt_of, interval, percent, place
from vit_sweep.analysis.series.series import Estimate, ScalingSeries


def efficient(series: ScalingSeries, fits: Sequence[Fit], laws: Sequence[Fit], threshold: float) -> Answer:
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
        measured=point.gpus,
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
    law, predicted = laws[0], list(predictions(laws))
    worst, value, best_case = (
        max((p.gpus for p in predicted if p.efficiency is not None and pick(p.efficiency) >= threshold), default=None)
        for pick in (attrgetter("low"), attrgetter("value"), attrgetter("high"))
    )
    end = max((p.gpus for p in predicted), default=0)
    why = refusal_beyond(laws)
    if value is None or worst is None or best_case is None:
        return f"{law.name} says nothing nearer", None
    if value >= end:
        if why and end <= max(law.counts):
            return f"nothing is predicted beyond {max(law.counts)}: {why}", value
        return f"{law.name} predicts {threshold:.0%} or more up to {end}, the limit of its predictions", value
    top = f"{best_case}" if best_case < end else f"{end} or more"
    note = "" if value >= measured else ", fewer than measured"
    return f"{law.name} puts it at {value} ({worst} to {top}){note}", value


def predictions(laws: Sequence[Fit]) -> Iterator[Prediction]:
    """Every count from the smallest measured one to the reach that may be predicted."""
    for gpus in range(min(laws[0].counts), laws[0].reach + 1):
        predicted = predict(laws, gpus)
        if isinstance(predicted, Prediction):
            yield predicted


def refusal_beyond(laws: Sequence[Fit]) -> str:
    predicted = predict(laws, max(laws[0].counts) + 1)
    return predicted.reason if isinstance(predicted, Refusal) else ""
