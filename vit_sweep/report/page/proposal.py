"""An application for compute time: what was measured, which GPU count that justifies, what it costs. Pure.

GPU-hours = GPUs x wall time / 3600. A run's wall time is that for which its job held its GPUs (median over runs), where
that was recorded, else epochs x epoch time. Its interval is that of the epoch time over all epochs; start-up is added
as it was. The chosen count is the largest measured one whose efficiency stays at the threshold: by the lower end of its
interval where there is one, so that noise does not buy GPUs.
"""

import re
from collections.abc import Mapping, Sequence
from statistics import median

from launchers.text import grouped, joined, plural
from vit_sweep.analysis.series.estimates import scaled
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figure import Figure
from vit_sweep.report.page.content import Formula, Proposal, ReportContent
from vit_sweep.report.page.laws import capital, name_of
from vit_sweep.report.page.layout import head, heading, shown, table_of, whole
from vit_sweep.report.page.published import MEASURED, measured
from vit_sweep.report.tables.form.columns import with_bounds
from vit_sweep.report.tables.form.rounding import estimate_text, is_number
from vit_sweep.report.tables.form.table import SOURCE_RUNS, Column, Table
from vit_sweep.report.tables.form.text import pipe_table
from vit_sweep.report.tables.parts import estimate
from vit_sweep.runs.run import Run

KEPT_CHECKPOINTS = 2
BYTES_PER_PARAMETER = {"sgd": 8}
"""Weights and the optimizer's state in fp32; AdamW and what is not named here keep two moments: 12."""


def propose(
    series: Sequence[ScalingSeries],
    runs: Sequence[Run],
    *,
    threshold: float,
    figure: Figure | None = None,
    study_bytes: int | None = None,
) -> Proposal:
    """Make the application of a study. `study_bytes`: what its folder holds now."""
    compared = [curve for curve in series if curve.baseline is not None]
    chosen = {name_of(curve): choose(curve, threshold) for curve in compared}
    return Proposal(
        threshold=threshold,
        summary=_summary(compared, chosen, threshold),
        resources=_resources(compared, chosen),
        evidence=_evidence(compared, chosen),
        figure=figure,
        storage=_storage(runs, study_bytes),
        caveats=_caveats(series, chosen, threshold),
    )


def choose(series: ScalingSeries, threshold: float) -> SeriesPoint | None:
    """The largest measured count that keeps the efficiency; None if even the baseline's neighbours do not.

    Counts above one that falls below the threshold are not chosen: between them the curve is not understood.
    """
    best: SeriesPoint | None = None
    for point in series.timed:
        if point.efficiency is None:
            continue
        if (point.efficiency.value if point.efficiency.low is None else point.efficiency.low) < threshold:
            break
        best = point
    return best


def run_hours(point: SeriesPoint) -> Estimate | None:
    """GPU-hours of one run at this count."""
    if point.time_s is None:
        return None
    epochs = [run.epochs_requested for run in point.runs if run.epochs_requested]
    if not epochs:
        return None
    count = median(epochs)
    job_times_s = [run.job_s for run in point.runs if run.job_s is not None]
    computing = count * point.time_s.value
    # Start-up, evaluation, checkpoints: they do not grow with the error of the epoch time.
    overhead_s = max(0.0, median(job_times_s) - computing) if job_times_s else 0.0
    epochs_s = scaled(point.time_s, count)
    low, high = (None if end is None else end + overhead_s for end in (epochs_s.low, epochs_s.high))
    return scaled(
        Estimate(value=epochs_s.value + overhead_s, low=low, high=high, n=epochs_s.n), point.runs[0].paid_gpus / 3600
    )


def _evidence(known: Sequence[ScalingSeries], chosen: Mapping[str, SeriesPoint | None]) -> Table:
    points = [(point, chosen[name_of(curve)]) for curve in known for point in curve.timed]
    return table_of(
        "scalability",
        "Scalability: every measured GPU count, whatever came out",
        (
            *MEASURED,
            Column(name="n", meaning="Runs that are pooled."),
            with_bounds("gpu_hours", "GPU-hours of a run"),
            Column(name="chosen"),
        ),
        [
            row | estimate("gpu_hours", run_hours(point)) | {"chosen": point is best}
            for row, (point, best) in zip(measured(known), points, strict=True)
        ],
        empty="No series has a baseline with a time, so there is no evidence of scalability yet.",
    )


def _resources(known: Sequence[ScalingSeries], chosen: Mapping[str, SeriesPoint | None]) -> Table:
    rows, costs = [], []
    for curve in known:
        point = chosen[name_of(curve)]
        hours = run_hours(point) if point is not None else None
        if point is not None and hours is not None:
            costs.append(scaled(hours, len(point.runs)))
            rows.append(
                {"series": name_of(curve), "gpus": point.gpus, "nodes": point.nodes, "runs": len(point.runs)}
                | estimate("efficiency", point.efficiency)
                | estimate("gpu_hours_per_run", hours)
                | estimate("gpu_hours", costs[-1])
                | {SOURCE_RUNS: curve.timed_runs}
            )
    return table_of(
        "resources",
        "Requested resources: one row per series, at the GPU count that the threshold allows; n runs as in this study",
        (
            Column(name="series"),
            Column(name="gpus", title="GPUs of a job"),
            Column(name="nodes"),
            with_bounds("efficiency", "efficiency", percent=True),
            with_bounds("gpu_hours_per_run", "GPU-hours of a run"),
            Column(name="runs", meaning="As many as this study had at the chosen count."),
            with_bounds("gpu_hours", "GPU-hours"),
        ),
        rows,
        notes=(f"Together {estimate_text(_sum(costs))} GPU-hours.",) if len(costs) > 1 else (),
        empty="No series keeps the efficiency beyond its baseline, or none has a time: nothing can be asked for.",
    )


def _summary(
    known: Sequence[ScalingSeries], chosen: Mapping[str, SeriesPoint | None], threshold: float
) -> tuple[str, ...]:
    sentences = [f"A GPU count is chosen if its measured parallel efficiency is at least {100 * threshold:g}%."]
    for curve in known:
        point = chosen[name_of(curve)]
        largest = max((p.gpus for p in curve.timed), default=0)
        if point is None or point.efficiency is None:
            sentences.append(f"{capital(name_of(curve))}: no measured count keeps it.")
            continue
        hours = run_hours(point)
        cost = f"; a run takes {estimate_text(hours)} GPU-hours" if hours is not None else ""
        if point is curve.baseline:
            sentences.append(f"{capital(name_of(curve))}: only its baseline, {plural(point.gpus, 'GPU')}{cost}.")
            continue
        edge = ", the largest that was measured" if point.gpus == largest else ""
        sentences.append(
            f"{capital(name_of(curve))}: {plural(point.gpus, 'GPU')}{edge}, with an efficiency of "
            f"{estimate_text(point.efficiency, percent=True)}{cost}."
        )
    return tuple(sentences)


def _caveats(
    series: Sequence[ScalingSeries], chosen: Mapping[str, SeriesPoint | None], threshold: float
) -> tuple[str, ...]:
    names_by_caveat = grouped(
        (text, name_of(curve)) for curve in series for text in _of_series(curve, chosen.get(name_of(curve)), threshold)
    )
    return tuple(f"{capital('; '.join(names))}: {text}." for text, names in names_by_caveat.items())


def _of_series(series: ScalingSeries, chosen: SeriesPoint | None, threshold: float) -> list[str]:
    if series.baseline is None:
        return [series.no_baseline] if series.no_baseline else []
    caveats = []
    single = sorted({point.gpus for point in series.timed if len(point.runs) == 1})
    if single:
        counts = f"{joined(map(str, single))} GPUs" if len(single) > 1 else plural(single[0], "GPU")
        caveats.append(f"{counts} ran once each, so nothing is known of the spread between runs")
    if series.key.scaling is Scaling.STRONG and series.key.batch_per == "gpu" and len(series.timed) > 1:
        caveats.append(
            "the batch is per GPU, so the global batch grows with the GPUs; the efficiency is that of throughput, "
            "not of the time to an equal accuracy"
        )
    if chosen is not None and chosen is not series.baseline and chosen.efficiency and chosen.efficiency.low is None:
        caveats.append(
            f"the efficiency at {plural(chosen.gpus, 'GPU')} has no interval; it is compared with "
            f"{100 * threshold:g}% as it is"
        )
    return caveats + [f"{plural(point.gpus, 'GPU')}: {flag}" for point in series.timed for flag in point.flags]


def _storage(runs: Sequence[Run], study_bytes: int | None) -> tuple[tuple[str, str], ...]:
    stored: list[tuple[str, str]] = []
    if study_bytes is not None:
        stored.append(("this study's folder", _size(study_bytes)))
    sizes = {run.parameters * BYTES_PER_PARAMETER.get(run.condition("optimizer"), 12) for run in runs if run.parameters}
    if sizes:
        size = max(sizes)
        text = (
            f"{_size(size * KEPT_CHECKPOINTS)}: the {KEPT_CHECKPOINTS} newest of {_size(size)}, computed from the "
            "parameters in fp32 and the optimizer's state; gone once the cell is done"
        )
        stored.append(("checkpoints of a running cell", text))
    return tuple(stored)


def _sum(costs: Sequence[Estimate]) -> Estimate:
    """The sum, with the sums of the ends where all have some: wider than it need be, never too narrow."""
    total = sum(cost.value for cost in costs)
    lows, highs = [c.low for c in costs if c.low is not None], [c.high for c in costs if c.high is not None]
    if len(lows) == len(highs) == len(costs):
        return Estimate(value=total, low=sum(lows), high=sum(highs))
    return Estimate(value=total)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("TB has no end")


_TERMS = (
    "Epoch time",
    "Speedup, strong scaling",
    "Efficiency, strong scaling",
    "Efficiency and scaled speedup, weak scaling",
    "Intervals",
    "GPU-hours",
)
"""The definitions that an application needs."""


def markdown(content: ReportContent, *, figure: str = "") -> str:
    """The proposal of a report as text; `figure`: the path of its figure from where the text will lie.

    Raises ValueError for a report without a proposal.
    """
    proposal = content.proposal
    if proposal is None:
        raise ValueError("this report has no proposal")
    parts = [f"# Compute time proposal: {_words(content.study)}", _words(content.subtitle), _words(content.status)]
    parts += [_words(sentence) for sentence in proposal.summary]
    parts += [*_table(proposal.resources), *_table(proposal.evidence)]
    if figure and proposal.figure is not None:
        parts += [f"![{_words(proposal.figure.alt)}]({figure.replace(' ', '%20')})", _words(proposal.figure.caption)]
        parts += map(_words, proposal.figure.notes)
    storage = "\n".join(f"- {_words(name)}: {_words(value)}" for name, value in proposal.storage)
    parts += ["## Storage", storage or "Nothing is known of its storage."]
    caveats = "\n".join(f"- {_words(caveat)}" for caveat in proposal.caveats)
    parts += ["## What a reviewer should know", caveats or "Nothing speaks against these figures."]
    chosen = [formula for formula in content.methods if formula.term in _TERMS]
    parts += ["## Methods", *(_words(line) for line in content.methods_lead), *(_definition(f) for f in chosen)]
    if content.commands:
        newest = content.commands[-1]
        parts += ["## How it was measured", f"```\n{newest.line}\n```"]
        parts += [f"Commit `{newest.commit}`."] if newest.commit else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> list[str]:
    title, _ = heading(table)
    if not table.height:
        return [f"## {_words(title)}", _words(table.empty)]
    columns, rows, *_ = whole(table)
    heads = [", ".join(filter(None, head(column))) for column in columns]
    lines = pipe_table(
        heads,
        [[shown(column, row).text for column in columns] for row in rows],
        right=[any(is_number(row[column.name]) for row in rows) for column in columns],
        escape=_words,
    )
    return [f"## {_words(title)}", "\n".join([*lines, *(f"\n{_words(note)}" for note in table.notes)])]


def _definition(formula: Formula) -> str:
    plain = f" `{formula.plain}`" if formula.plain else ""
    return f"**{formula.term}.** {formula.text}{plain} ({formula.source})"


def _words(text: str) -> str:
    """Text that stays text in Markdown, on one line."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))
