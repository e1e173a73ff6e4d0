"""The first screen: four questions that a reader comes with, each with an answer in a line. Pure."""

from collections.abc import Sequence
from statistics import median

from launchers.checked import checked
from launchers.text import plural, some
from vit_sweep.analysis.answers import Question
from vit_sweep.analysis.audit.finding import Claim, Severity, Standing
from vit_sweep.analysis.audit.judge import Audit
from vit_sweep.analysis.laws.predicting import best
from vit_sweep.analysis.series.contention import is_contended
from vit_sweep.analysis.series.estimates import scaled, single_spread
from vit_sweep.analysis.series.series import Estimate, SeriesPoint
from vit_sweep.report.page.laws import SeriesAnswers, capital
from vit_sweep.report.tables.form.rounding import plain, with_interval
from vit_sweep.runs.run import Run

_LISTED = 3
"""Series, reasons and claims that are named; the rest is counted."""


_LEAST_HOURS = 0.01
"""Amounts below this are said in seconds, where all are short."""


@checked
class Card:
    """One question with its answer."""

    question: str
    lead: str
    """A few words."""
    lines: tuple[str, ...] = ()
    bad: bool = False
    """Whether it warns."""
    link: str = ""
    """Id of the section that says more."""
    link_words: str = ""


def cards_of(
    answered: Sequence[SeriesAnswers], runs: Sequence[Run], audit: Audit, *, threshold: float, untimed: int
) -> tuple[Card, ...]:
    """Which GPU count, how sure, what it costs, what is wrong; none where no series has a time.

    `untimed`: cells and combinations that were asked for and have no time.
    """
    if not any(entry.series.timed for entry in answered):
        return ()
    return (_which(answered, threshold), _sure(answered), _cost(answered, runs), _wrong(runs, audit, untimed))


def _which(answered: Sequence[SeriesAnswers], threshold: float) -> Card:
    """The largest efficient count of each series, those with the same one together; predictions apart."""
    by_count: dict[int | None, list[str]] = {}
    predicted: dict[int | None, list[str]] = {}
    for entry in answered:
        answer = entry.answer(Question.EFFICIENT)
        by_count.setdefault(answer.measured, []).append(entry.name)
        if answer.predicted:
            predicted.setdefault(answer.gpus, []).append(entry.name)
    counts = sorted(gpus for gpus in by_count if gpus is not None)
    largest = f"the largest measured count with an efficiency of {threshold:.0%} or more"
    question = "Which GPU count?"
    if not counts:
        return Card(question=question, lead="Not known", lines=(f"No series has an efficiency: {largest} needs one.",))
    lead = plural(counts[0], "GPU") if len(counts) == 1 else f"{counts[0]} to {plural(counts[-1], 'GPU')}, by series"
    alike = len(by_count) == 1
    where = f", in all {len(answered)} series" if alike and len(answered) > 1 else ""
    lines = [f"{capital(largest)}{where}."]
    if not alike:
        by_series = [f"{plural(gpus, 'GPU')}: {_names(by_count[gpus])}." for gpus in counts]
        by_series += [f"Not known: {_names(by_count[None])}."] if None in by_count else []
        lines += by_series if len(by_series) <= _LISTED else ["The table below has each."]
    for gpus, names in sorted(predicted.items(), key=lambda item: item[0] or 0)[:1]:
        series = f", in {plural(len(names), 'series|series')}" if len(answered) > 1 else ""
        lines.append(f"Predicted to stay so up to {plural(gpus or 0, 'GPU')}{series}.")
    return Card(question=question, lead=lead, lines=(*lines, *_fastest(answered)))


def _names(names: Sequence[str]) -> str:
    return some(names, 1 if len(names) > 2 else 2, separator="; ")


def _fastest(answered: Sequence[SeriesAnswers]) -> list[str]:
    """Of one series only: of several the table has it."""
    if len(answered) > 1:
        return []
    answer = answered[0].answer(Question.FASTEST)
    if answer.gpus is None:
        return []
    ties = f" or {some(map(str, answer.ties), _LISTED)}, which cannot be told apart" if answer.ties else ""
    return [f"Fastest: {plural(answer.gpus, 'GPU')}{ties}."]


def _sure(answered: Sequence[SeriesAnswers]) -> Card:
    """How wide intervals are, how many points have none, and whether a law is fitted."""
    points = [point for entry in answered for point in entry.series.timed]
    times = [point.time_s for point in points if point.time_s is not None]
    halves = [half for half in map(_half, times) if half is not None]
    single = len(times) - len(halves)
    lines, question = [], "How sure?"
    if halves:
        lead = f"±{plain(median(halves), percent=True)}%"
        runs = sorted({time.n for time in times if time.known})
        repeats = plural(runs[0], "run") if len(runs) == 1 else f"{runs[0]} to {runs[-1]} runs"
        lines.append(f"Half of a 95% interval of an epoch's time, median over points; {repeats} a point.")
    else:
        lead = "Not known: single runs"
    if single:
        lines.append(_single(single, len(times), times))
    advice = dict.fromkeys(words for entry in answered if "repeats=" in (words := entry.answer(Question.NEXT).words))
    if single and advice:
        lines.append(f"To run next: {some(advice, 2, separator=', or ')}.")
    lines.append(_laws(answered))
    return Card(
        question=question, lead=lead, lines=tuple(lines), bad=not halves, link="models", link_words="models and limits"
    )


def _single(single: int, points: int, times: Sequence[Estimate]) -> str:
    which = "Every point rests" if single == points else f"{single} of {plural(points, 'point rests|points rest')}"
    return f"{which} on a single run; such runs are taken to differ by {single_spread(times):.0%}, an assumption."


def _laws(answered: Sequence[SeriesAnswers]) -> str:
    chosen = [law for entry in answered if (law := best(entry.fits)) is not None]
    if not chosen:
        reasons = [fit.refusal for entry in answered for fit in entry.fits if fit.refusal]
        return f"No law is fitted. {reasons[0].rstrip('.')}." if reasons else "No law is fitted."
    errors = [law.loo_error for law in chosen if law.loo_error is not None]
    names = capital(some(dict.fromkeys(law.name for law in chosen), 2))
    where = "" if len(chosen) == len(answered) else f", in {len(chosen)} of {len(answered)} series"
    return f"{names}: held-out GPU counts are predicted within {max(errors):.1%}{where}."


def _cost(answered: Sequence[SeriesAnswers], runs: Sequence[Run]) -> Card:
    """GPU-hours of an epoch at the chosen counts, the cheapest one, and what the study took."""
    chosen = [(entry, point) for entry in answered if (point := entry.chosen) is not None and point.time_s is not None]
    spent = [run.gpu_hours for run in runs if run.gpu_hours is not None]
    lines = []
    costs = [_hours(point) for _, point in chosen]
    if len(chosen) == 1:
        (_, point), (cost,) = chosen[0], costs
        lead = _gpu_time(cost.value)
        lines.append(f"An epoch on {plural(point.gpus, 'GPU')}, which takes {_seconds(point.time_s)}.")
    elif costs:
        lead = _gpu_time(min(cost.value for cost in costs), max(cost.value for cost in costs))
        lines.append("An epoch at these GPU counts, by series.")
    else:
        lead = "Not known"
    if len(answered) == 1 and (gpus := answered[0].answer(Question.CHEAPEST).gpus) is not None:
        lines.append(f"Cheapest: {plural(gpus, 'GPU')}.")
    if spent:
        lines.append(f"The study itself took {_gpu_time(sum(spent))}.")
    return Card(question="What does it cost?", lead=lead, lines=tuple(lines))


def _wrong(runs: Sequence[Run], audit: Audit, untimed: int) -> Card:
    """Claims that fall, cells without a time, disturbed runs."""
    lines, timed = [], [run for run in runs if run.timed]
    contended = sum(is_contended(run) for run in timed)
    if contended:
        lines.append(f"{contended} of {plural(len(timed), 'run')} waited for cores that others had.")
    if untimed:
        lines.append(f"{plural(untimed, 'cell or combination has|cells or combinations have')} no time.")
    falls = [verdict for verdict in audit.claims if verdict.standing is Standing.FALLS]
    if falls:
        named = some(
            (f"{verdict.claim.value} ({_reasons(verdict.claim, audit)})" for verdict in falls), _LISTED, separator="; "
        )
        lines.append(f"Not to be claimed: {named}.")
    fatal = {finding.rule for finding in audit.findings if finding.severity is Severity.FALLS}
    doubts = dict.fromkeys(finding.rule for finding in audit.findings if finding.rule not in fatal)
    if doubts:
        lines.append(f"Doubts: {some(doubts, _LISTED)}.")
    lead = plural(len(falls), "claim falls|claims fall") if falls else ("Some doubts" if lines else "Nothing found")
    if not lines:
        lines.append("No rule of the audit speaks against any claim, and every cell has its time.")
    return Card(
        question="What is wrong?",
        lead=lead,
        lines=tuple(lines),
        bad=bool(falls or untimed),
        link="audit",
        link_words="claims and findings",
    )


def _reasons(claim: Claim, audit: Audit) -> str:
    """The rules that make a claim fall."""
    rules = dict.fromkeys(finding.rule for finding in audit.findings if finding.weight(claim) is Severity.FALLS)
    return some(rules, 2)


def _gpu_time(*hours: float) -> str:
    """One amount, or the ends of several, in one unit that needs no power of ten; three digits, the tables have more.

    >>> _gpu_time(0.0319), _gpu_time(3.73e-5, 4.04e-4), _gpu_time(3.73e-5, 12)
    ('0.0319 GPU-hours', '0.134 to 1.45 GPU-seconds', 'under 0.01 to 12 GPU-hours')
    """
    in_seconds = min(hours) < _LEAST_HOURS and max(hours) < 1
    texts = (
        "under 0.01" if value < _LEAST_HOURS and not in_seconds else _shortly(value * (3600 if in_seconds else 1))
        for value in hours
    )
    return f"{' to '.join(dict.fromkeys(texts))} {'GPU-seconds' if in_seconds else 'GPU-hours'}"


def _shortly(value: float) -> str:
    return plain(float(f"{value:.3g}"))


def _seconds(time: Estimate | None) -> str:
    if time is None:
        return "a time that is not known"
    value, interval = with_interval(time.value, time.low, time.high)
    return " ".join(filter(None, (f"{value} s", interval)))


def _half(estimate: Estimate) -> float | None:
    if estimate.low is None or estimate.high is None:
        return None
    return (estimate.high - estimate.low) / 2 / estimate.value


def _hours(point: SeriesPoint) -> Estimate:
    assert point.time_s is not None
    return scaled(point.time_s, point.runs[0].paid_gpus / 3600)
