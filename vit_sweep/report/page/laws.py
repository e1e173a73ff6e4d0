"""Scaling laws and answers in the page's words. Pure: what is fitted is a value that others made."""

from collections.abc import Iterable, Sequence

from vit_sweep.analysis.answers import Answer, Question, answers
from vit_sweep.analysis.laws.coverage import of_series
from vit_sweep.analysis.laws.fitted import Fit, Parameter, Refusal, predict
from vit_sweep.analysis.series.series import Estimate, ScalingSeries
from vit_sweep.report.page.layout import table_of
from vit_sweep.report.tables.rounding import estimate_text
from vit_sweep.report.tables.table import Cells, Column, Table

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


def name_of(series: ScalingSeries) -> str:
    """A series among all others of a study: its scaling mode and its label."""
    return f"{series.key.scaling.value} scaling, {series.label}"


def answers_of(
    series: ScalingSeries, fits: Sequence[Fit], *, threshold: float, alone: bool
) -> tuple[tuple[str, Answer], ...]:
    """The answers of the summary for one series; `alone`: there is no other, so it need not be named."""
    about = "" if alone else name_of(series)
    return tuple((about, one) for one in answers(series, fits, threshold=threshold) if one.question in _ASKED)


def answers_table(found: Sequence[tuple[ScalingSeries, Sequence[Fit]]], *, threshold: float) -> Table | None:
    """The same in numbers, one row per series; None where sentences are short enough."""
    if len(found) < _TABLE_FROM:
        return None
    rows = []
    for series, fits in found:
        by_question = {one.question: one for one in answers(series, fits, threshold=threshold)}
        briefly: Cells = {name.value: _brief(by_question[name]) for name in _ASKED}
        rows.append(briefly | {"series": name_of(series)})
    return table_of(
        "answers",
        "Which GPU count",
        (
            Column(name="series"),
            Column(name="efficient", title=f"largest with {threshold:.0%} efficiency"),
            Column(name="fastest"),
            Column(name="cheapest"),
            Column(name="next", title="to run next"),
        ),
        rows,
    )


def _brief(one: Answer) -> str | int | None:
    if one.question is Question.NEXT:
        return one.words or one.gpus
    return f"{one.gpus}, predicted" if one.predicted else one.gpus


def by_question(found: Iterable[tuple[str, Answer]]) -> list[tuple[str, list[tuple[str, Answer]]]]:
    """Each question, the part of a sentence before its colon, with the answers of all series."""
    groups: dict[str, list[tuple[str, Answer]]] = {}
    for about, one in found:
        groups.setdefault(capital(one.sentence.partition(": ")[0]), []).append((about, one))
    return list(groups.items())


def reply(one: Answer) -> str:
    """The rest of it, as a sentence."""
    return sentence(one.sentence.partition(": ")[2])


def capital(text: str) -> str:
    """With a capital letter first."""
    return text[:1].upper() + text[1:]


def refusal(one: Fit) -> str:
    """Why a law is not fitted, as a sentence without the law's name; empty if it is."""
    return sentence(one.refusal.removeprefix(f"{one.name}: "))


def parameter(one: Parameter) -> str:
    """`serial fraction = 0.031 [0.029, 0.033]`."""
    name = _PARAMETERS.get(one.name, one.name.replace("_", " "))
    how = "" if one.how == "fitted" else f" ({one.how})"
    value = estimate_text(Estimate(value=one.value, low=one.low, high=one.high))
    return f"{name}{how} = {value} {_UNITS.get(one.unit, one.unit)}".rstrip()


def onward(one: Fit) -> str:
    """What a law says of more GPUs than were measured."""
    gpus = _ONWARD * max(one.counts)
    found = predict(one, gpus)
    if isinstance(found, Refusal):
        return f"Not carried on to {gpus} GPUs: {sentence(found.reason)}"
    text = f"On {gpus} GPUs, which nobody measured, an epoch would take {estimate_text(found.time_s)} s"
    if found.efficiency is None:
        return text + "."
    return f"{text}, with an efficiency of {estimate_text(found.efficiency, percent=True)} %."


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
