"""An application for compute time: what was measured, which GPU count that justifies, what it costs. Pure.

GPU-hours = GPUs x wall time / 3600. A run's wall time is that for which its job held its GPUs (median over runs), where
that was recorded, else epochs x epoch time. Its interval is that of the epoch time over all epochs; start-up is added
as it was. The chosen count is the largest measured one whose efficiency stays at the threshold: by the lower end of its
interval where there is one, so that noise does not buy GPUs.
"""

from collections.abc import Sequence
from statistics import median

from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.plan.point import Scaling
from vit_sweep.report.page.beside import interval
from vit_sweep.report.page.content import Column, Figure, Interval, Proposal, Table, Value, short
from vit_sweep.report.page.modelled import capital, name_of
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
    known = [one for one in series if one.baseline is not None]
    chosen = {name_of(one): choose(one, threshold) for one in known}
    rows = [row for one in known for row in _rows(one, chosen[name_of(one)])]
    return Proposal(
        threshold=threshold,
        summary=_summary(known, chosen, threshold),
        resources=_resources(known, chosen),
        evidence=Table(
            name="scalability", title="Scalability", lead="Every measured GPU count, whatever came out.",
            columns=_EVIDENCE, rows=tuple(rows),
            empty="No series has a baseline with a time, so there is no evidence of scalability yet.",
        ),
        figure=figure,
        storage=_storage(runs, study_bytes),
        caveats=_caveats(series, chosen, threshold),
    )  # fmt: skip


def choose(series: ScalingSeries, threshold: float) -> SeriesPoint | None:
    """The largest measured count that keeps the efficiency; None if even the baseline's neighbours do not.

    Counts above one that falls below the threshold are not chosen: between them the curve is not understood.
    """
    best: SeriesPoint | None = None
    for point in series.timed:
        if point.efficiency is None:
            continue
        if _surely(point.efficiency) < threshold:
            break
        best = point
    return best


def run_hours(point: SeriesPoint) -> Interval | None:
    """GPU-hours of one run at this count."""
    if point.time_s is None:
        return None
    epochs = [run.epochs_asked for run in point.runs if run.epochs_asked]
    if not epochs:
        return None
    count = median(epochs)
    held = [run.job_s for run in point.runs if run.job_s is not None]
    computing = count * point.time_s.value
    # Start-up, evaluation, checkpoints: they do not grow with the error of the epoch time.
    rest = max(0.0, median(held) - computing) if held else 0.0
    return _times(point.time_s, count * point.gpus / 3600, rest * point.gpus / 3600)


_EVIDENCE = (
    Column(name="series"), Column(name="gpus", title="GPUs"), Column(name="nodes"),
    Column(name="epoch_s", title="epoch time", unit="s"), Column(name="speedup"),
    Column(name="efficiency", unit="%"), Column(name="runs", title="n", help="Runs that are pooled."),
    Column(name="gpu_hours", title="GPU hours of a run"), Column(name="chosen"),
)  # fmt: skip
_RESOURCES = (
    Column(name="series"), Column(name="gpus", title="GPUs of a job"), Column(name="nodes"),
    Column(name="efficiency", unit="%"), Column(name="gpu_hours_per_run", title="GPU hours of a run"),
    Column(name="runs", help="As many as this study had at the chosen count."),
    Column(name="gpu_hours", title="GPU hours"),
)  # fmt: skip


def _rows(series: ScalingSeries, chosen: SeriesPoint | None) -> list[tuple[Value, ...]]:
    return [
        (
            name_of(series), point.gpus, point.nodes, interval(point.time_s), interval(point.speedup),
            interval(point.efficiency), len(point.runs), run_hours(point), point is chosen,
        )
        for point in series.timed
    ]  # fmt: skip


def _resources(known: Sequence[ScalingSeries], chosen: dict[str, SeriesPoint | None]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for one in known:
        point = chosen[name_of(one)]
        each = run_hours(point) if point is not None else None
        if point is not None and each is not None:
            rows.append((
                name_of(one), point.gpus, point.nodes, interval(point.efficiency), each, len(point.runs),
                _scaled(each, len(point.runs)),
            ))  # fmt: skip
    total = _sum([row[-1] for row in rows])
    notes = (f"Together {short(total)} GPU hours.",) if total is not None and len(rows) > 1 else ()
    return Table(
        name="resources", title="Requested resources",
        lead="One row per series, at the GPU count that the threshold allows; n runs as in this study.",
        columns=_RESOURCES, rows=tuple(rows), notes=notes,
        empty="No series keeps the efficiency beyond its baseline, or none has a time: nothing can be asked for.",
    )  # fmt: skip


def _summary(
    known: Sequence[ScalingSeries], chosen: dict[str, SeriesPoint | None], threshold: float
) -> tuple[str, ...]:
    said = [f"A GPU count is chosen if its measured parallel efficiency is at least {100 * threshold:g} %."]
    for one in known:
        point = chosen[name_of(one)]
        largest = max((p.gpus for p in one.timed), default=0)
        if point is None or point.efficiency is None:
            said.append(f"{capital(name_of(one))}: no measured count keeps it.")
            continue
        each = run_hours(point)
        cost = f"; a run takes {short(each)} GPU hours" if each is not None else ""
        if point is one.baseline:
            said.append(f"{capital(name_of(one))}: only its baseline, {_gpus(point.gpus)}{cost}.")
            continue
        edge = ", the largest that was measured" if point.gpus == largest else ""
        said.append(
            f"{capital(name_of(one))}: {_gpus(point.gpus)}{edge}, with an efficiency of "
            f"{short(interval(point.efficiency), '%')} %{cost}."
        )
    return tuple(said)


def _caveats(
    every: Sequence[ScalingSeries], chosen: dict[str, SeriesPoint | None], threshold: float
) -> tuple[str, ...]:
    said: dict[str, list[str]] = {}
    for one in every:
        for text in _of_series(one, chosen.get(name_of(one)), threshold):
            said.setdefault(text, []).append(name_of(one))
    return tuple(f"{capital('; '.join(names))}: {text}." for text, names in said.items())


def _of_series(series: ScalingSeries, chosen: SeriesPoint | None, threshold: float) -> list[str]:
    if series.baseline is None:
        return [series.no_baseline] if series.no_baseline else []
    said = []
    single = sorted({point.gpus for point in series.timed if len(point.runs) == 1})
    if single:
        counts = f"{', '.join(map(str, single))} GPUs" if single != [1] else "1 GPU"
        said.append(f"{counts} ran once each, so nothing is known of the spread between runs")
    if series.key.scaling is Scaling.STRONG and series.key.batch_per == "gpu" and len(series.timed) > 1:
        said.append(
            "the batch is per GPU, so the global batch grows with the GPUs; the efficiency is that of throughput, "
            "not of the time to an equal accuracy"
        )
    if chosen is not None and chosen is not series.baseline and chosen.efficiency and chosen.efficiency.low is None:
        said.append(
            f"the efficiency at {_gpus(chosen.gpus)} has no interval; it is compared with "
            f"{100 * threshold:g} % as it is"
        )
    return said + [f"{_gpus(point.gpus)}: {flag}" for point in series.timed for flag in point.flags]


def _storage(runs: Sequence[Run], study_bytes: int | None) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    if study_bytes is not None:
        found.append(("this study's folder", _size(study_bytes)))
    sizes = {run.parameters * BYTES_PER_PARAMETER.get(run.condition("optimizer"), 12) for run in runs if run.parameters}
    if sizes:
        each = max(sizes)
        found.append((
            "checkpoints of a running cell",
            f"{_size(each * KEPT_CHECKPOINTS)}: the {KEPT_CHECKPOINTS} newest of {_size(each)}, computed from the "
            "parameters in fp32 and the optimizer's state; gone once the cell is done",
        ))  # fmt: skip
    return tuple(found)


def _surely(estimate: Estimate) -> float:
    return estimate.value if estimate.low is None else estimate.low


def _times(estimate: Estimate, factor: float, more: float) -> Interval:
    low, high = (None if end is None else end * factor + more for end in (estimate.low, estimate.high))
    return Interval(value=estimate.value * factor + more, low=low, high=high)


def _scaled(value: Interval, factor: int) -> Interval:
    ends = (None if end is None else end * factor for end in (value.low, value.high))
    low, high = ends
    return Interval(value=value.value * factor, low=low, high=high)


def _sum(values: Sequence[Value]) -> Interval | None:
    """The sum, with the sums of the ends where all have some: wider than it need be, never too narrow."""
    known = [value for value in values if isinstance(value, Interval)]
    if not known:
        return None
    lows, highs = [v.low for v in known if v.low is not None], [v.high for v in known if v.high is not None]
    whole = len(lows) == len(highs) == len(known)
    total = sum(value.value for value in known)
    return Interval(value=total, low=sum(lows), high=sum(highs)) if whole else Interval(value=total)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("TB has no end")


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
