"""Answers to what one asks of a scaling curve, a sentence each: measured or predicted, how sure, or why not. Pure.

The largest efficient count is found in `efficiency_limit`, the cheapest and the fastest in `ranking`; which cell to
run next is chosen in `design`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vit_sweep.analysis.answer import Answer, Question
from vit_sweep.analysis.efficiency_limit import efficient
from vit_sweep.analysis.laws.coverage import of_series
from vit_sweep.analysis.laws.design import next_cell
from vit_sweep.analysis.laws.fitted import Fit, Parameter
from vit_sweep.analysis.laws.predicting import plausible
from vit_sweep.analysis.ranking import cheapest, fastest
from vit_sweep.analysis.series.contention import contention
from vit_sweep.analysis.series.estimates import number
from vit_sweep.analysis.series.series import ScalingSeries

__all__ = ["THRESHOLD", "Answer", "Question", "answers"]

THRESHOLD = 0.8


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
    all_answers = (
        efficient(series, fits, laws, threshold),
        cheapest(series, gpu_price),
        fastest(series, laws),
        _next(series, law),
        _support(series),
        _law(fits, law),
    )
    notes = contention(series.timed_runs)
    return tuple(
        answer
        if answer.question in (Question.NEXT, Question.SUPPORT)  # what to run rests on no single time
        else replace(answer, notes=notes)
        for answer in all_answers
    )


def _next(series: ScalingSeries, law: Fit | None) -> Answer:
    heading = "next most informative cell"
    if law is None:
        add = of_series(series).add
        if "gpus=" in add:
            text = f"{heading}: no law is fitted yet; {add} would allow it"
        elif add:
            text = f"{heading}: none, as no law is fitted; {add} gives times an interval"
        else:
            text = f"{heading}: none, as no law can be fitted"
        return Answer(question=Question.NEXT, sentence=text, words=add)
    runs = {point.gpus: 0 for point in series.timed}
    for point in series.timed:
        runs[point.gpus] += len(point.runs)
    cell = next_cell(law)
    repeats = f" repeats={runs[cell.gpus] + 1}" if cell.gpus in runs else ""
    words = f"gpus={cell.gpus}{repeats}"
    return Answer(
        question=Question.NEXT,
        sentence=f"{heading}: {words}, {cell.why}",
        gpus=cell.gpus,
        predicted=cell.gpus not in runs,
        words=words,
    )


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


def _why_no_law(fits: Sequence[Fit]) -> str:
    if not fits:
        return "no law was fitted"
    return next((fit.refusal for fit in fits if fit.refusal), f"{fits[0].name} could not be held out")
