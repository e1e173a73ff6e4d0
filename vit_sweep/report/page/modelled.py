"""Fits of scaling laws as the page says them. Pure: what is fitted is a value that others made."""

from collections.abc import Iterable, Sequence

from vit_sweep.analysis import answers
from vit_sweep.analysis.answers import Question
from vit_sweep.analysis.laws import fitted
from vit_sweep.analysis.laws.coverage import of_series
from vit_sweep.analysis.laws.fitted import Refusal, best, predict
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.report.page.content import Answer, Column, Fit, Interval, Parameter, Table, short

_PARAMETERS = {
    "one_gpu_s": "epoch on one GPU",
    "serial_fraction": "serial fraction",
    "contention": "contention σ",
    "coherence": "coherence κ",
    "compute_ms_per_image": "computation per image c",
    "imbalance": "imbalance w",
    "latency_us": "latency λ",
    "transfer_ms": "transfer of the gradient S/B",
    "bus_gb_per_s": "bus bandwidth B",
}
_UNITS = {"us": "µs"}
_ASKED = (Question.EFFICIENT, Question.FASTEST, Question.CHEAPEST, Question.NEXT)
"""What the summary answers; laws and what the grid supports have a part of their own."""
_TABLE_FROM = 3
"""Series from which on the summary is a table with the sentences behind it."""
_ONWARD = 2
"""The page also says what the chosen law predicts for this multiple of the largest count, or why it does not."""


def fits_of(series: ScalingSeries, found: Sequence[fitted.Fit]) -> tuple[Fit, ...]:
    """All laws of one series; the one that predicts held-out counts best is marked and asked for one step further."""
    chosen = best(found)
    name = capital(name_of(series))
    return tuple(_fit(one, name, chosen is one) for one in found)


def name_of(series: ScalingSeries) -> str:
    """A series among all others of a study: its scaling mode and its label."""
    return f"{series.key.scaling.value} scaling, {series.label}"


def answers_of(
    series: ScalingSeries, found: Sequence[fitted.Fit], *, threshold: float, alone: bool
) -> tuple[Answer, ...]:
    """The answers of the summary for one series; `alone`: there is no other, so it need not be named."""
    about = "" if alone else name_of(series)
    return tuple(
        _answer(one, about) for one in answers.answers(series, found, threshold=threshold) if one.question in _ASKED
    )


def answers_table(found: Sequence[tuple[ScalingSeries, Sequence[fitted.Fit]]], *, threshold: float) -> Table | None:
    """The same in numbers, one row per series; None where sentences are short enough."""
    if len(found) < _TABLE_FROM:
        return None
    rows = []
    for series, fits in found:
        said = {one.question: one for one in answers.answers(series, fits, threshold=threshold)}
        rows.append((name_of(series), *(_brief(said[question]) for question in _ASKED)))
    return Table(
        name="answers", title="Which GPU count", columns=(
            Column(name="series"), Column(name="efficient", title=f"largest with {threshold:.0%} efficiency"),
            Column(name="fastest"), Column(name="cheapest"), Column(name="next", title="to run next"),
        ), rows=tuple(rows),
    )  # fmt: skip


def _brief(one: answers.Answer) -> str | int | None:
    if one.question is Question.NEXT:
        return one.words or one.gpus
    return f"{one.gpus}, predicted" if one.predicted else one.gpus


def _answer(one: answers.Answer, about: str) -> Answer:
    question, _, answer = one.sentence.partition(": ")
    return Answer(question=capital(question), answer=sentence(answer), known=one.gpus is not None, about=about)


def capital(text: str) -> str:
    """With a capital letter first."""
    return text[:1].upper() + text[1:]


def _fit(one: fitted.Fit, name: str, chosen: bool) -> Fit:
    law = capital(one.name)
    if one.refusal:
        return Fit(series=name, law=law, refusal=sentence(one.refusal.removeprefix(f"{one.name}: ")))
    return Fit(
        series=name,
        law=law,
        parameters=tuple(_parameter(parameter) for parameter in one.parameters),
        error=one.loo_error,
        chosen=chosen,
        remarks=(_onward(one),) if chosen else (),
    )


def _parameter(one: fitted.Parameter) -> Parameter:
    name = _PARAMETERS.get(one.name, one.name.replace("_", " "))
    if one.how != "fitted":
        name += f" ({one.how})"
    return Parameter(
        name=name, value=Interval(value=one.value, low=one.low, high=one.high), unit=_UNITS.get(one.unit, one.unit)
    )  # fmt: skip


def _onward(one: fitted.Fit) -> str:
    """What it says of more GPUs than were measured."""
    gpus = _ONWARD * max(one.counts)
    found = predict(one, gpus)
    if isinstance(found, Refusal):
        return f"Not carried on to {gpus} GPUs: {sentence(found.reason)}"
    time = found.time_s
    said = f"On {gpus} GPUs, which nobody measured, an epoch would take {_range(time.low, time.value, time.high)} s"
    if found.efficiency is None:
        return said + "."
    low, value, high = (None if x is None else 100 * x for x in
                        (found.efficiency.low, found.efficiency.value, found.efficiency.high))  # fmt: skip
    return f"{said}, with an efficiency of {_range(low, value, high)} %."


def _range(low: float | None, value: float | None, high: float | None) -> str:
    if value is None:
        return "unknown"
    return short(Interval(value=value, low=low, high=high))


def sentence(text: str) -> str:
    """A clause as a sentence; `placement=spread` is a word to type and keeps its small letters."""
    text = text.strip()
    if not text:
        return ""
    begun = text if "=" in text.split(" ", 1)[0] else capital(text)
    return begun if begun.endswith((".", "?", "!")) else f"{begun}."


def remarks(series: Iterable[ScalingSeries]) -> tuple[str, ...]:
    """What the grid can carry at all, series by series; equal verdicts are said once."""
    said: dict[str, list[str]] = {}
    for one in series:
        found = of_series(one)
        said.setdefault("; ".join(found.sentences) + ".", []).append(name_of(one))
    return tuple(f"{capital('; '.join(names))}: {text}" for text, names in said.items())
