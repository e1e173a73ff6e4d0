"""The curves that a reader may ask with the pointer: points with cells and hosts, and what a fit says. Pure.

All that is predicted comes from `predict`, count by count: the page moves sliders over these numbers and has no law of
its own, so it cannot say anything else than the analysis does.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from launchers.checked import checked
from launchers.text import visible
from vit_sweep.analysis.laws.crossing import layout_of
from vit_sweep.analysis.laws.fitted import REACH, Fit
from vit_sweep.analysis.laws.laws import NAMES
from vit_sweep.analysis.laws.predicting import Prediction, plausible, predict
from vit_sweep.analysis.series.estimates import scaled
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.plan.choices import Placement, Scaling
from vit_sweep.report.tables.form.rounding import estimate_text

_EVERY = 64
"""GPU counts up to which each may be asked; above, 32 to a doubling."""
_NAMED = 6
"""Cells and hosts of a point that are named."""


@checked
class CountEstimate:
    """What is known of one GPU count: by measurement, by the fit, or why it is not."""

    gpus: int
    paid_gpus: int
    """GPUs that a job of its own holds: more where nodes are handed out whole."""
    time_s: Estimate | None = None
    """Of an epoch."""
    speedup: Estimate | None = None
    efficiency: Estimate | None = None
    gpu_hours: Estimate | None = None
    """Of an epoch."""
    nodes: int | None = None
    cells: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    extrapolated: bool = False
    refusal: str = ""
    """Why there is no time."""


@checked
class Curve:
    """One series, as the page draws it and lets its reader ask it."""

    scaling: Scaling
    label: str
    """Tells it from the others; with its scaling mode."""
    family: str
    """The same without its batch: what the slider for the batch stays in."""
    batch: int | None
    batch_per: str
    """gpu or global: what `batch` counts."""
    epochs: int | None
    """As trained."""
    baseline_gpus: int | None
    measured: tuple[CountEstimate, ...]
    fitted: tuple[CountEstimate, ...]
    """Every count that may be asked: predictions and refusals."""
    laws: tuple[str, ...]
    """Whose band it is, the best one first; empty where no law is fitted."""


def curve_of(series: ScalingSeries, fits: Sequence[Fit]) -> Curve:
    """A series with its points, and what its laws say of every count that a slider reaches."""
    laws = plausible(fits)
    parts = [part for part in series.label.split(", ") if part]
    others = [part for part in parts if not re.fullmatch(r"batch [\d,]+", part)]
    mode = f"{series.key.scaling.value} scaling"
    epochs = [run.epochs_requested for run in series.timed_runs if run.epochs_requested is not None]
    return Curve(
        scaling=series.key.scaling,
        label=", ".join((mode, *parts)),
        family=", ".join((mode, *others)),
        batch=series.key.batch,
        batch_per=series.key.batch_per,
        epochs=max(epochs, default=None),
        baseline_gpus=series.baseline_gpus,
        measured=tuple(_measured(point) for point in series.timed),
        fitted=tuple(_fitted(series, fits, laws, gpus) for gpus in counts_of(series)),
        laws=tuple(dict.fromkeys(NAMES[law.law] for law in laws)),
    )


def counts_of(series: ScalingSeries) -> tuple[int, ...]:
    """The GPU counts that may be asked: from a quarter of the smallest to four times the largest measured one, and
    one beyond, which no fit is trusted for."""
    measured = sorted({point.gpus for point in series.timed})
    if not measured:
        return ()
    least, most = math.ceil(measured[0] / REACH), math.floor(REACH * measured[-1])
    counts = {*range(least, min(most, _EVERY) + 1), *measured, most, 2 * most}
    step, end = 2, _EVERY
    while end < most:
        counts |= {*range(max(least, end), min(2 * end, most) + 1, step)}
        step, end = 2 * step, 2 * end
    return tuple(sorted(counts))


def data_of(curves: Iterable[Curve]) -> str:
    """The curves as JSON that may stand inside a page: no text of a study can end its element."""
    text = json.dumps([_plain(curve) for curve in curves], separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _measured(point: SeriesPoint) -> CountEstimate:
    assert point.time_s is not None
    paid = point.runs[0].paid_gpus
    return CountEstimate(
        gpus=point.gpus,
        paid_gpus=paid,
        time_s=point.time_s,
        speedup=point.speedup,
        efficiency=point.efficiency,
        gpu_hours=scaled(point.time_s, paid / 3600),
        nodes=point.nodes,
        cells=tuple(run.run_id for run in point.runs),
        hosts=tuple(dict.fromkeys(host for run in point.runs for host in run.hosts)),
        flags=point.flags,
    )


def _fitted(series: ScalingSeries, fits: Sequence[Fit], laws: Sequence[Fit], gpus: int) -> CountEstimate:
    paid = _paid(series, gpus)
    if not laws:
        return CountEstimate(gpus=gpus, paid_gpus=paid, refusal=_no_law(series, fits))
    predicted = predict(laws, gpus)
    if not isinstance(predicted, Prediction):
        return CountEstimate(gpus=gpus, paid_gpus=paid, refusal=predicted.reason)
    return CountEstimate(
        gpus=gpus,
        paid_gpus=paid,
        time_s=predicted.time_s,
        speedup=predicted.speedup,
        efficiency=predicted.efficiency,
        gpu_hours=scaled(predicted.time_s, paid / 3600),
        extrapolated=predicted.extrapolated,
    )


def _no_law(series: ScalingSeries, fits: Sequence[Fit]) -> str:
    reason = next((fit.refusal for fit in fits if fit.refusal), "")
    if reason:
        return f"no law is fitted – {reason}"
    return "no law could be held out" if fits else f"no law is fitted: {series.no_baseline or 'no run has a time'}"


def _paid(series: ScalingSeries, gpus: int) -> int:
    """GPUs that a job of so many holds; whole nodes where those of the measured counts were held whole."""
    known = {point.gpus: point.runs[0].paid_gpus for point in series.timed}
    if gpus in known:
        return known[gpus]
    size = layout_of(series).node_gpus
    if size is None or all(count == paid for count, paid in known.items()):
        return gpus
    return size * (gpus if series.key.placement == Placement.SPREAD else math.ceil(gpus / size))


def _plain(curve: Curve) -> dict[str, Any]:
    return {
        "scaling": curve.scaling.value,
        "label": visible(curve.label),
        "family": visible(curve.family),
        "batch": curve.batch,
        "per": curve.batch_per,
        "epochs": curve.epochs,
        "baseline": curve.baseline_gpus,
        "laws": list(curve.laws),
        "measured": [_as_data(estimate) for estimate in curve.measured],
        "fitted": [_as_data(estimate) for estimate in curve.fitted],
    }


def _as_data(estimate: CountEstimate) -> dict[str, Any]:
    """What is not there is left out: most counts are asked of the fit, which has no hosts."""
    numbers = {
        "time": _number(estimate.time_s),
        "speedup": _number(estimate.speedup),
        "efficiency": _number(estimate.efficiency, percent=True),
        "hours": _number(estimate.gpu_hours),
    }
    words = {
        "nodes": estimate.nodes,
        "cells": _named(estimate.cells),
        "hosts": _named(estimate.hosts),
        "flags": [visible(flag) for flag in estimate.flags[:_NAMED]],
        "extrapolated": estimate.extrapolated,
        "refusal": visible(estimate.refusal),
        "n": estimate.time_s.n if estimate.time_s is not None and estimate.cells else None,
    }
    values = {name: value for name, value in (numbers | words).items() if value}
    return {"gpus": estimate.gpus, "paid": estimate.paid_gpus} | values


def _named(names: Sequence[str]) -> list[str]:
    more = [f"and {len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return [visible(name) for name in names[:_NAMED]] + more


def _number(estimate: Estimate | None, *, percent: bool = False) -> list[float | str | None] | None:
    """Value, ends and the text that tables have of them."""
    if estimate is None or not math.isfinite(estimate.value):
        return None
    if estimate.high is not None and not math.isfinite(estimate.high):
        estimate = replace(estimate, low=None, high=None)
    return [estimate.value, estimate.low, estimate.high, estimate_text(estimate, percent=percent)]
