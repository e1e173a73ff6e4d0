"""From runs to series: what belongs together, what stands apart and why, one baseline each. Pure.

Medians only, so that the tables of a running study are quick; `intervals.with_intervals` adds the intervals.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from launchers.checked import field_names, varied
from launchers.text import grouped
from vit_sweep.analysis.series.series import Apart, Estimate, ScalingSeries, SeriesKey, SeriesPoint, point_flags
from vit_sweep.plan.cell import Series as Membership
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.record.machine import differences, facts_of, may_pool
from vit_sweep.runs.run import Origin, Run, in_order


def group(runs: Iterable[Run], scaling: Scaling) -> list[ScalingSeries]:
    """Return the series of one scaling mode, in an order that does not depend on that of the runs.

    A run that was given twice counts once.
    """
    alike: dict[tuple[Any, ...], dict[str, Run]] = {}
    for run in runs:
        for membership in run.curves:
            if membership.scaling is scaling:
                alike.setdefault(_series_fields(run, membership), {})[run.run_id] = run
    members = {SeriesKey(**dict(zip(_KEY, values, strict=True))): some for values, some in alike.items()}
    _share_single_gpu(members)
    labels = label_of(members)
    return [_series(key, labels[key], list(members[key].values())) for key in sorted(members, key=_order)]


_KEY = field_names(SeriesKey)


def _series_fields(run: Run, membership: Membership) -> tuple[Any, ...]:
    """What names the series of a run: the fields of its key, which is made once for all of its runs."""
    per_gpu = membership.batch_per is BatchPer.GPU
    work = run.work
    if membership.scaling is Scaling.WEAK and work is not None:
        work = work // run.gpus
    conditions = run.conditions
    if membership.scaling is Scaling.STRONG and run.compared is not None:
        # Another number of compared pairs is another loss, not less or more of the same work.
        conditions = tuple(sorted((*conditions, ("compared_pairs", str(run.compared)))))
    batch = run.micro_batch if per_gpu else run.global_batch
    return membership.scaling, membership.batch_per.value, batch, run.accum, membership.placement, work, conditions


_NAMED = ("model", "data", "precision", "engine", "optimizer", "partition", "gpu_model")
_FIRST = (*_NAMED, "data.pipeline", "epochs")
"""Conditions that a label names before others."""


def label_of(keys: Iterable[SeriesKey]) -> dict[SeriesKey, str]:
    """Say of each series just what tells it from the others: `batch 64, spread`; of a single one its batch."""
    all_keys = list(keys)
    labels: dict[SeriesKey, str] = {}
    plain = {key: dict(key.conditions) for key in all_keys}
    names = sorted({name for values in plain.values() for name in values}, key=lambda n: (_rank(n), n))
    telling = [name for name in names if len({values.get(name, "") for values in plain.values()}) > 1]
    # `model.layers` says nothing new where the model's name already differs.
    telling = [name for name in telling if "." not in name or not _implied(name, plain)]
    several = {
        field: len({getattr(key, field) for key in all_keys}) > 1
        for field in ("batch", "accum", "placement", "batch_per")
    }
    works = {scaling: {key.work for key in all_keys if key.scaling is scaling} for scaling in Scaling}
    for key in all_keys:
        words = [_condition_words(name, plain[key].get(name, "")) for name in telling]
        if several["batch"]:
            words.append(_value_words("batch", key.batch))
        if several["accum"]:
            words.append(_value_words("accum", key.accum))
        if several["placement"]:
            words.append(key.placement or "placement not stated")
        if several["batch_per"]:
            words.append(f"batch per {key.batch_per}")
        if len(works[key.scaling]) > 1:
            words.append("images not stated" if key.work is None else f"{key.work} images")
        labels[key] = ", ".join(words) or ("all runs" if key.batch is None else f"batch {key.batch}")
    return labels


def _value_words(name: str, value: int | None) -> str:
    return f"{name} not stated" if value is None else f"{name} {value}"


def _rank(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _implied(name: str, plain: dict[SeriesKey, dict[str, str]]) -> bool:
    """Whether the group's own name tells apart whatever this value tells apart."""
    by_name: dict[str, set[str]] = {}
    for values in plain.values():
        by_name.setdefault(values.get(name.split(".", 1)[0], ""), set()).add(values.get(name, ""))
    return len(by_name) > 1 and all(len(values) == 1 for values in by_name.values())


def _condition_words(name: str, value: str) -> str:
    if not value:
        return f"{name} not stated"
    return value if name in _NAMED else f"{name}={value}"


def _order(key: SeriesKey) -> tuple[object, ...]:
    amounts = (key.batch or 0, key.accum or 0, key.work or 0)
    return (in_order(key.conditions), key.placement, key.batch_per, *amounts, key.scaling.value)


def _share_single_gpu(members: dict[SeriesKey, dict[str, Run]]) -> None:
    """One GPU has no placement: the same run starts the packed and the spread series."""
    singles: dict[SeriesKey, dict[str, Run]] = {}
    for key, runs in members.items():
        alone = {name: run for name, run in runs.items() if run.gpus == 1}
        singles.setdefault(replace(key, placement=""), {}).update(alone)
    for key, runs in members.items():
        if all(run.gpus != 1 for run in runs.values()):
            runs.update(singles[replace(key, placement="")])


def _series(key: SeriesKey, label: str, runs: Sequence[Run]) -> ScalingSeries:
    runs = sorted(runs, key=lambda run: (run.gpus, run.nodes or 0, run.seed or 0, run.run_id))
    by_place = grouped(((run.gpus, run.nodes), run) for run in runs)
    apart: list[Apart] = []
    points = []
    base: Run | None = None
    for (gpus, nodes), repeats in sorted(by_place.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        timed = [run for run in repeats if run.timed]
        pooled, left = _split_poolable(timed, base)
        base = base or (pooled[0] if pooled else None)
        apart += left
        without = tuple(run for run in repeats if not run.timed)
        if pooled or without:
            points.append(_point(gpus, nodes, tuple(pooled), without))
    machines = [rank for point in points for run in point.runs for rank in run.machine]
    return compared(
        ScalingSeries(key=key, label=label, points=tuple(points), apart=tuple(apart), flags=differences(machines))
    )


def _split_poolable(runs: Sequence[Run], base: Run | None) -> tuple[list[Run], list[Apart]]:
    """Split the runs of one GPU count into those that may be pooled and those that must stand apart.

    The GPU must be that of the series' first point; among repeats the largest set of equal machines is kept.
    """
    apart = [Apart(run=run, reason=why) for run in runs if (why := _other_gpu(run, base))]
    left = [run for run in runs if not _other_gpu(run, base)]
    kinds = grouped((facts_of(run.machine) if run.origin is Origin.STUDY else run.origin, run) for run in left)
    best: list[Run] = []
    for first, *_ in kinds.values():
        # Runs of one kind are alike; only kinds need be compared.
        poolable = [run for kind in kinds.values() if _poolable(first, kind[0])[0] for run in kind]
        if len(poolable) > len(best):
            best = poolable
    pooled_ids = {run.run_id for run in best}
    best = [run for run in left if run.run_id in pooled_ids]
    for run in left:
        if run.run_id not in pooled_ids:
            apart.append(Apart(run=run, reason=f"another machine than its repeats: {_poolable(best[0], run)[1]}"))
    return best, apart


def _poolable(a: Run, b: Run) -> tuple[bool, str]:
    if a.origin is not Origin.STUDY or a is b:
        return True, ""
    return may_pool(a.machine, b.machine)


def _other_gpu(run: Run, base: Run | None) -> str:
    """Why a run is not on the GPUs of its baseline; empty if it is, or if nobody said."""
    if base is None or not run.devices or not base.devices or set(run.devices) == set(base.devices):
        return ""
    devices, base_devices = (" + ".join(sorted(set(run_.devices))) for run_ in (run, base))
    return f"unlike GPUs: it ran on {devices}, the first run of its series on {base_devices}"


def _point(gpus: int, nodes: int | None, runs: tuple[Run, ...], without: tuple[Run, ...]) -> SeriesPoint:
    point = SeriesPoint(gpus=gpus, nodes=nodes, runs=runs, without=without)
    if not runs:
        return point
    medians = [median(run.epoch_s) for run in runs]
    time_s, n = median(medians), len(runs)
    images = {run.images for run in runs}
    # A mean over unlike amounts of work would agree with no time.
    work = images.pop() if len(images) == 1 else None
    steps = [run.step_ms for run in runs if run.step_ms is not None]
    inside = [(max(run.epoch_s) - min(run.epoch_s)) / median(run.epoch_s) for run in runs if len(run.epoch_s) > 1]
    first = [run.first_epoch_s for run in runs if run.first_epoch_s is not None]
    return varied(
        point,
        time_s=Estimate(value=time_s, n=n),
        step_ms=Estimate(value=median(steps), n=len(steps)) if steps else None,
        images_per_s=Estimate(value=work / time_s, n=n) if work is not None else None,
        first_epoch_s=median(first) if first else None,
        within=median(inside) if inside else None,
        between=(max(medians) - min(medians)) / time_s if n > 1 else None,
        epochs=sum(len(run.epoch_s) for run in runs),
        oversubscribed=any(run.oversubscribed for run in runs),
    )


def compared(series: ScalingSeries) -> ScalingSeries:
    """Give every point its speedup and efficiency; without a baseline, say which cell to run."""
    if not series.points:
        return series
    base = series.points[0]
    if base.time_s is None:
        return varied(series, no_baseline=_missing(base))
    if base.oversubscribed:
        crowded = (
            f"no baseline: gpus={base.gpus} ran with more ranks than cores, so its time is no measure; run it on a "
            "machine with enough cores"
        )
        return varied(series, no_baseline=crowded)
    points = tuple(_against(point, base, series.key) for point in series.points)
    compared_series = varied(series, points=points, baseline_gpus=base.gpus)
    return varied(compared_series, points=tuple(varied(point, flags=point_flags(point, base)) for point in points))


def _missing(base: SeriesPoint) -> str:
    run = base.without[0]
    why = f"{run.status} ({run.cause})" if run.cause else run.status
    return f"no baseline: gpus={base.gpus} ({run.run_id}) is {why}; " + (
        "the comparison comes with its record" if run.status.under_way else "run that cell, or nothing can be compared"
    )


def _against(point: SeriesPoint, base: SeriesPoint, key: SeriesKey) -> SeriesPoint:
    if point.time_s is None or base.time_s is None or point.oversubscribed:
        return point
    n = min(point.time_s.n, base.time_s.n)
    speedup, efficiency = ratios(base.time_s.value / point.time_s.value, point.gpus / base.gpus, key.scaling)
    compared_point = varied(point, speedup=Estimate(value=speedup, n=n), efficiency=Estimate(value=efficiency, n=n))
    if key.scaling is Scaling.STRONG and point.gpus > base.gpus:
        fraction = serial_fraction(speedup, point.gpus / base.gpus)
        compared_point = varied(compared_point, serial_fraction=Estimate(value=fraction, n=n))
    return compared_point


def ratios(ratio: float, factor: float, scaling: Scaling) -> tuple[float, float]:
    """Speedup and efficiency from T(p0)/T(p) and p/p0; works on arrays as well."""
    return (ratio, ratio / factor) if scaling is Scaling.STRONG else (ratio * factor, ratio)


def serial_fraction(speedup: float, factor: float) -> float:
    """Karp and Flatt's: (1/S - 1/q) / (1 - 1/q), q = p/p0 > 1. Below zero where the baseline is too slow."""
    return (1 / speedup - 1 / factor) / (1 - 1 / factor)
