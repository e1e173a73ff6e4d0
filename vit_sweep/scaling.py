"""Strong and weak scaling: series with one baseline each, speedup and efficiency. Pure.

T(p) is the median epoch time on p GPUs; the baseline p0 is the smallest `gpus` of the same series:
same data, model, precision, engine, optimizer, batch, accum, partition, GPU model, placement and work.
Formulas: strong speedup S = T(p0)/T(p), efficiency S/(p/p0) (Amdahl 1967);
weak efficiency T(p0)/T(p), scaled speedup = efficiency x p/p0 (Gustafson 1988).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from launchers.checked import checked, to_plain
from vit_sweep.cell import Cell, CellFile, Series
from vit_sweep.ending import Exit, Progress
from vit_sweep.plan import PADDING_WORTH_SAYING, crowd, oversubscribed
from vit_sweep.point import BatchPer, Scaling
from vit_sweep.record import Record
from vit_sweep.stats import epoch_time, step_ms


@checked
class Result:
    """A cell and what is known of its run."""

    file: CellFile
    record: Record | None
    status: str
    """done, oom, failed, cancelled, skipped, missing; retry, running, queued, unknown."""
    detail: str = ""
    attempt: str = ""
    """The attempt that this is about: `2.1` is the second, started again once by the scheduler."""
    progress: Progress | None = None
    """Where a running attempt is."""
    history: tuple[Exit, ...] = ()
    """How its attempts ended, oldest first, without the one that gave the record."""
    exclude: tuple[str, ...] = ()
    """Hosts that a retry must not get."""

    @property
    def cause(self) -> str:
        """Why it has no record, in one word."""
        return self.history[-1].cause.value if self.history and self.record is None else ""

    @property
    def story(self) -> str:
        """Its earlier ends, for the tables: `preempted, time_limit x 2`."""
        return story_of(self.history)


def story_of(history: Iterable[Exit]) -> str:
    """Count the causes of ends, in the order in which they first came."""
    counted = Counter(end.cause.value for end in history)
    return ", ".join(cause if count == 1 else f"{cause} x {count}" for cause, count in counted.items())


class SeriesKey(NamedTuple):
    """All that must be equal along a curve."""

    scaling: str
    model: str
    data: str
    precision: str
    engine: str
    optimizer: str
    batch_per: str
    batch: int
    accum: int
    partition: str
    gpu_model: str
    placement: str
    epochs: int
    seed: int
    warmup_steps: int
    work: int
    """Images of an epoch (strong), or of an epoch and GPU (weak)."""
    values: tuple[tuple[str, str], ...]
    """Every value behind the names (`model.layers`, `optimizer.learning_rate`, ...): names can be overridden."""


@checked
class Row:
    """One cell in one curve."""

    key: SeriesKey
    gpus: int
    nodes: int
    cell_id: str
    status: str
    note: str = ""
    epoch_s: float | None = None
    spread_s: float | None = None
    first_epoch_s: float | None = None
    step_ms: float | None = None
    images_per_s: float | None = None
    speedup: float | None = None
    efficiency: float | None = None
    train_accuracy: float | None = None
    test_accuracy: float | None = None
    n: int = 0
    baseline_gpus: int | None = None
    oversubscribed: bool = False


def curves(results: Iterable[Result], scaling: Scaling) -> list[list[Row]]:
    """Return the curves of one scaling mode, each sorted by `gpus`, with speedup where there is a baseline."""
    groups: dict[SeriesKey, list[Row]] = {}
    for result in results:
        for series in result.file.series:
            if series.scaling is scaling:
                key = series_key(result.file.cell, series)
                groups.setdefault(key, []).append(_row(key, result))
    _share_single_gpu(groups)
    return [_with_speedup(sorted(groups[key], key=lambda row: (row.gpus, row.nodes))) for key in sorted(groups)]


def series_key(cell: Cell, series: Series) -> SeriesKey:
    """Name the curve of a cell."""
    strong = series.scaling is Scaling.STRONG
    return SeriesKey(
        scaling=series.scaling.value,
        model=cell.model.name,
        data=cell.data.name,
        precision=cell.precision.value,
        engine=cell.engine.name,
        optimizer=cell.optimizer.name,
        batch_per=series.batch_per.value,
        batch=cell.micro_batch if series.batch_per is BatchPer.GPU else cell.global_batch,
        accum=cell.accum,
        partition=cell.partition,
        gpu_model=cell.gpu_model,
        placement=series.placement,
        epochs=cell.epochs,
        seed=cell.seed,
        warmup_steps=cell.warmup_steps,
        work=cell.train_images if strong else cell.train_images // cell.gpus,
        values=_values(cell),
    )


def variants(keys: Iterable[SeriesKey]) -> dict[SeriesKey, str]:
    """Say what tells curves of the same names apart: `model.layers=4`; empty where names suffice."""
    by_names: dict[tuple[str, ...], list[SeriesKey]] = {}
    for key in dict.fromkeys(keys):
        by_names.setdefault((key.model, key.data, key.engine, key.optimizer, key.partition), []).append(key)
    said: dict[SeriesKey, str] = {}
    for group in by_names.values():
        seen: dict[str, set[str]] = {}
        for key in group:
            for name, value in key.values:
                seen.setdefault(name, set()).add(value)
        for key in group:
            said[key] = " ".join(f"{name}={value}" for name, value in key.values if len(seen[name]) > 1)
    return said


def _values(cell: Cell) -> tuple[tuple[str, str], ...]:
    specs = {"model": cell.model, "data": cell.data, "engine": cell.engine, "optimizer": cell.optimizer}
    values = {f"{group}.{name}": str(value) for group, spec in specs.items() for name, value in to_plain(spec).items()}
    values |= {
        "partition.cpus_per_gpu": str(cell.cpus_per_gpu),
        "data.pipeline": cell.pipeline.value,
        "lr_scaling": cell.lr_scaling.value,
        "lr_warmup_epochs": f"{cell.lr_warmup_epochs:g}",
        "activation_checkpointing": str(cell.activation_checkpointing).lower(),
        "compile": str(cell.compile).lower(),
    }
    return tuple(sorted(values.items()))


def _share_single_gpu(groups: dict[SeriesKey, list[Row]]) -> None:
    """One GPU has no placement: the same run starts the packed and the spread curve."""
    singles = {key._replace(placement=""): row for key, rows in groups.items() for row in rows if row.gpus == 1}
    for key, rows in groups.items():
        single = singles.get(key._replace(placement=""))
        if single is not None and all(row.gpus != 1 for row in rows):
            rows.append(replace(single, key=key))


def _row(key: SeriesKey, result: Result) -> Row:
    cell, record = result.file.cell, result.record
    row = Row(
        key=key,
        gpus=cell.gpus,
        nodes=cell.nodes,
        cell_id=result.file.cell_id,
        status=result.status,
        note=result.detail,
    )
    if record is None:
        return row
    time = epoch_time(record)
    return replace(
        row,
        note=note_of(result),
        epoch_s=time.median_s,
        spread_s=time.spread_s,
        first_epoch_s=time.first_s,
        step_ms=step_ms(record),
        images_per_s=record.epochs[-1].images / time.median_s,
        train_accuracy=record.epochs[-1].train_accuracy,
        test_accuracy=record.epochs[-1].test_accuracy,
        n=time.n,
        oversubscribed=is_oversubscribed(cell, record),
    )


def is_oversubscribed(cell: Cell, record: Record) -> bool:
    """Whether the ranks outnumbered the cores that they could use, as the job itself counted them."""
    return oversubscribed(cell, _cores(record))


def note_of(result: Result) -> str:
    """What a reader of this run's times must know, in every table that shows them."""
    cell, record = result.file.cell, result.record
    remarks = [result.detail] if result.detail else []
    if record is not None and result.history:
        remarks.append(f"ended before by {result.story}")
    if record is not None and is_oversubscribed(cell, record):
        remarks.append(crowd(cell, _cores(record)))
    if record is not None and cell.padding > PADDING_WORTH_SAYING:
        remarks.append(f"{cell.padding:.0%} repeated images")
    return "; ".join(remarks)


def _cores(record: Record) -> int:
    return min(rank.host_cores for rank in record.ranks)


def _with_speedup(rows: Sequence[Row]) -> list[Row]:
    base = rows[0]
    problem = ""
    if base.epoch_s is None:
        problem = f"no baseline: gpus={base.gpus} is {base.status}"
    elif base.oversubscribed:
        problem = f"no baseline: gpus={base.gpus} is oversubscribed"
    return [_compare(row, base, problem) for row in rows]


def _compare(row: Row, base: Row, problem: str) -> Row:
    if row.epoch_s is None or row.oversubscribed:
        return row
    if problem or base.epoch_s is None:
        return replace(row, note="; ".join(filter(None, [row.note, problem])))
    ratio, factor = base.epoch_s / row.epoch_s, row.gpus / base.gpus
    strong = row.key.scaling == Scaling.STRONG
    return replace(
        row,
        speedup=ratio if strong else ratio * factor,
        efficiency=ratio / factor if strong else ratio,
        baseline_gpus=base.gpus,
    )
