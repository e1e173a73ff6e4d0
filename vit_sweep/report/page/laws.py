"""Scaling laws and answers in the page's words. Pure: what is fitted is a value that others made."""

from collections.abc import Iterable, Sequence

from launchers.checked import checked
from launchers.text import grouped, joined, plural, some
from vit_sweep.analysis.answers import Answer, Question, answers
from vit_sweep.analysis.laws.coverage import of_series
from vit_sweep.analysis.laws.fitted import Fit, Parameter
from vit_sweep.analysis.laws.laws import NAMES
from vit_sweep.analysis.laws.predicting import Refusal, plausible, predict
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.report.page.layout import table_of
from vit_sweep.report.tables.form.columns import with_bounds
from vit_sweep.report.tables.form.rounding import estimate_text
from vit_sweep.report.tables.form.table import SOURCE_RUNS, Cells, Column, Table
from vit_sweep.report.tables.parts import estimate

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
_SUMMARY = (Question.EFFICIENT, Question.FASTEST, Question.CHEAPEST, Question.NEXT)
"""What the summary answers; laws and what the grid supports have a part of their own."""
_TABLE_FROM = 2
"""Series from which on the summary is a table with the sentences behind it."""
_ONWARD = 2
"""The page also says what the chosen law predicts for this multiple of the largest count, or why it does not."""


def name_of(series: ScalingSeries) -> str:
    """A series among all others of a study: its scaling mode and its label."""
    return f"{series.key.scaling.value} scaling, {series.label}"


@checked
class SeriesAnswers:
    """A series with its fits and what was answered of it."""

    name: str
    """Empty where there is no other."""
    series: ScalingSeries
    fits: tuple[Fit, ...]
    answers: tuple[Answer, ...]

    def answer(self, question: Question) -> Answer:
        """The answer to one question."""
        return next(answer for answer in self.answers if answer.question is question)

    @property
    def chosen(self) -> SeriesPoint | None:
        """The measured point with the largest efficient count; None where there is none."""
        measured = self.answer(Question.EFFICIENT).measured
        points = [point for point in self.series.timed if point.gpus == measured]
        return max(points, key=lambda point: point.efficiency.value if point.efficiency else 0.0, default=None)


def answers_by_series(
    fitted: Sequence[tuple[ScalingSeries, Sequence[Fit]]], *, threshold: float
) -> tuple[SeriesAnswers, ...]:
    """Every series with its answers; one alone need not be named."""
    return tuple(
        SeriesAnswers(
            name=name_of(series) if len(fitted) > 1 else "",
            series=series,
            fits=tuple(fits),
            answers=answers(series, fits, threshold=threshold),
        )
        for series, fits in fitted
    )


def answers_of(answered: Iterable[SeriesAnswers]) -> tuple[tuple[str, Answer], ...]:
    """The answers of the summary, series by series."""
    return tuple((entry.name, answer) for entry in answered for answer in entry.answers if answer.question in _SUMMARY)


def assumptions(answers_: Iterable[tuple[str, Answer]]) -> tuple[str, ...]:
    """What answers assume of single runs, each once, with the series where they do not all assume the same."""
    answers_ = [(about, answer) for about, answer in answers_ if answer.assumption]
    by_clause: dict[str, dict[str, None]] = {}
    for about, answer in answers_:
        by_clause.setdefault(answer.assumption, {})[about] = None
    if len(by_clause) == 1:
        return tuple(by_clause)
    return tuple(f"{some(names, _TABLE_FROM, separator='; ')}: {clause}" for clause, names in by_clause.items())


def answers_table(answered: Sequence[SeriesAnswers], *, threshold: float) -> Table | None:
    """The same in numbers, one row per series; None where the cards say it all."""
    if len(answered) < _TABLE_FROM:
        return None
    rows: list[Cells] = []
    for entry in answered:
        time = entry.chosen.time_s if entry.chosen is not None else None
        numbers = estimate("epoch_s", time) | estimate("efficiency", entry.chosen.efficiency if entry.chosen else None)
        brief: Cells = {name.value: _brief(entry.answer(name)) for name in _SUMMARY}
        rows.append(numbers | brief | {"series": entry.name, SOURCE_RUNS: entry.series.timed_runs})
    single = any(entry.answer(name).assumption for entry in answered for name in _SUMMARY)
    return table_of(
        "answers",
        "Series by series",
        (
            Column(name="series"),
            Column(name="efficient", title=f"largest with {threshold:.0%}"),
            with_bounds("efficiency", "efficiency", percent=True),
            with_bounds("epoch_s", "epoch", "s"),
            Column(name="fastest"),
            Column(name="cheapest"),
            Column(name="next", title="to run next"),
        ),
        rows,
        notes=("* ranked by single runs",) if single else (),
    )


def _brief(answer: Answer) -> str | int | None:
    if answer.question is Question.NEXT:
        return answer.words or answer.gpus
    words: str | int | None = f"{answer.gpus} or {some(map(str, answer.ties), 3)}" if answer.ties else answer.gpus
    if answer.assumption:
        return f"{words}*"
    return f"{words}, predicted" if answer.predicted else words


def by_question(named_answers: Iterable[tuple[str, Answer]]) -> list[tuple[str, list[tuple[str, Answer]]]]:
    """Each question, the part of a sentence before its colon, with the answers of all series; equal ones once."""
    questions: dict[str, dict[str, list[tuple[str, Answer]]]] = {}
    for about, answer in named_answers:
        equal_answers = questions.setdefault(capital(answer.sentence.partition(": ")[0]), {})
        equal_answers.setdefault(answer.sentence, []).append((about, answer))
    return [
        (question, [("; ".join(about for about, _ in equal), equal[0][1]) for equal in alike.values()])
        for question, alike in questions.items()
    ]


def by_outcome(named_fits: Iterable[tuple[str, tuple[Fit, ...]]]) -> list[tuple[str, tuple[Fit, ...]]]:
    """Series with their fits; those whose laws are all refused, and for the same reasons, once."""
    groups: dict[tuple[str, ...], list[tuple[str, tuple[Fit, ...]]]] = {}
    for name, fits in named_fits:
        refusals = tuple(fit.refusal for fit in fits)
        groups.setdefault(refusals if all(refusals) else (name,), []).append((name, fits))
    return [("; ".join(name for name, _ in equal), equal[0][1]) for equal in groups.values()]


def reply(answer: Answer) -> str:
    """The rest of it, as a sentence."""
    return sentence(answer.sentence.partition(": ")[2])


def capital(text: str) -> str:
    """With a capital letter first."""
    return text[:1].upper() + text[1:]


def refusal(fit: Fit) -> str:
    """Why a law is not fitted, as a sentence without the law's name; empty if it is."""
    return sentence(fit.refusal.removeprefix(f"{fit.name}: "))


def parameter(fitted: Parameter) -> str:
    """`serial fraction = 0.031 [0.029, 0.033]`."""
    name = _PARAMETERS.get(fitted.name, fitted.name.replace("_", " "))
    how = "" if fitted.how == "fitted" else f" ({fitted.how})"
    value = estimate_text(Estimate(value=fitted.value, low=fitted.low, high=fitted.high))
    return f"{name}{how} = {value} {_UNITS.get(fitted.unit, fitted.unit)}".rstrip()


def prediction_beyond(fits: Sequence[Fit]) -> str:
    """What the laws of a series say of more GPUs than were measured; at least one of them was held out."""
    laws = plausible(fits)
    gpus = _ONWARD * max(laws[0].counts)
    predicted = predict(laws, gpus)
    if isinstance(predicted, Refusal):
        return f"No prediction for {plural(gpus, 'GPU')}: {predicted.reason.rstrip('.')}."
    names = joined(NAMES[law] for law in predicted.laws)
    where = f"On {plural(gpus, 'GPU')}, a count that was not measured"
    text = f"{where}, an epoch would take {estimate_text(predicted.time_s)} s by {names}"
    if predicted.efficiency is None:
        return text + "."
    return f"{text}, with an efficiency of {estimate_text(predicted.efficiency, percent=True)}."


def sentence(text: str) -> str:
    """A clause as a sentence; `placement=spread` is a word to type and keeps its small letters."""
    text = text.strip()
    if not text:
        return ""
    started = text if "=" in text.split(" ", 1)[0] else capital(text)
    return started if started.endswith((".", "?", "!")) else f"{started}."


def remarks(series: Iterable[ScalingSeries]) -> tuple[str, ...]:
    """What the grid can carry at all, series by series; equal verdicts are said once."""
    names_by_verdict = grouped(("; ".join(of_series(curve).sentences) + ".", name_of(curve)) for curve in series)
    return tuple(f"{capital('; '.join(names))}: {verdict}" for verdict, names in names_by_verdict.items())
