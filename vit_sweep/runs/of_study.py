"""From the results of a study to runs. Pure.

Values that many cells share (a model, a data set) are turned into words once.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache, wraps
from operator import attrgetter
from typing import Any, TypeVar

from launchers.checked import field_names, to_plain, varied
from launchers.profile import PartitionProfile
from vit_sweep.outcome.result import Result, note_of, story_of
from vit_sweep.plan.cell import Cell, CellFile
from vit_sweep.plan.choices import Allocation
from vit_sweep.plan.identity import readers
from vit_sweep.plan.predict import cost
from vit_sweep.plan.predict.memory import predict
from vit_sweep.plan.predict.pairs import loss_flop
from vit_sweep.plan.predict.vit import train_flop
from vit_sweep.plan.specs import DataSpec, EngineSpec, ModelSpec, OptimizerSpec
from vit_sweep.record.breakdown import mfu
from vit_sweep.record.learning import peak_rate
from vit_sweep.record.summary import Measured, Summary, summary_of
from vit_sweep.runs.run import Origin, Run, Shared, shared
from vit_sweep.study.journal import Event, JobEntry

_MIB = 1024
_MOST_KNOWN = 4096
"""Configurations whose values are held."""

T = TypeVar("T")


def _memoised(*ignored: str) -> Callable[[Callable[[Cell], T]], Callable[[Cell], T]]:
    """Work out once what depends on no field of a cell that is `ignored`: cells that differ only there share it."""
    configuration = attrgetter(*(name for name in field_names(Cell) if name not in ignored))

    def decorated(make: Callable[[Cell], T]) -> Callable[[Cell], T]:
        known: dict[object, T] = {}

        @wraps(make)
        def value(cell: Cell) -> T:
            key = configuration(cell)
            if key not in known:
                if len(known) == _MOST_KNOWN:
                    known.clear()
                known[key] = make(cell)
            return known[key]

        return value

    return decorated


def summarised(result: Result, target: float | None = None) -> Summary | None:
    """What its record comes to; None of a cell without a record."""
    return None if result.record is None else summary_of(result.record, target)


def runs_of(results: Iterable[Result]) -> list[Run]:
    """One run per cell, in the given order, whatever became of it."""
    return [run_of(result) for result in results]


def run_of(
    result: Result,
    *,
    peaks: Mapping[str, float] | None = None,
    submitted: Mapping[tuple[str, int], str] | None = None,
    profile: PartitionProfile | None = None,
    summary: Summary | None = None,
    planned: Run | None = None,
) -> Run:
    """The run of one cell; `profile`: its partition's, `summary`: what its record comes to, `planned`: what repeats
    have in common (`planned_run`), where they are known.

    `peaks`: dense peak of one GPU in the cell's precision, 10^12 operations per second, by cell id (MFU needs it).
    `submitted`: when each attempt was sent, see `submissions`.
    """
    cell, name, summary = result.file.cell, result.file.cell_id, summary or summarised(result)
    planned = planned or planned_run(result.file, profile)
    cores = _host_cores(summary.measured) if summary is not None else None
    own = {
        "run_id": name,
        "most_gpus": profile.most_gpus(cores) if profile is not None else None,
        "seed": cell.seed,
        "status": result.status,
        "cause": result.cause,
        "note": note_of(result, summary.cores if summary is not None else None),
        "attempts": len(result.history) + (summary is not None) or None,
    }
    if summary is None:
        return varied(planned, **own, step_flop=None)
    if cell.origin is not None:
        return varied(planned, varied(summary.measured, **_UNTIMED), **own, step_flop=None)
    return varied(
        planned,
        summary.measured,
        **own,
        mfu=mfu(
            cell.model,
            cell.outputs,
            images_per_s=summary.images_per_s,
            gpus=cell.gpus,
            peak_tflops=(peaks or {}).get(name),
        ),
        queue_wait_s=_queue_wait_s(cell, name, summary, submitted or {}),
    )


def planned_run(file: CellFile, profile: PartitionProfile | None) -> Run:
    """What the runs of a cell and of its repeats have in common, whatever comes of them."""
    cell = file.cell
    memory_mib, step_flop, words = _of_configuration(cell)
    forecast = cost.predict(cell, profile, ()) if profile is not None and cell.origin is None else None
    origin = cell.origin
    return varied(
        _BLANK,
        gpus=cell.gpus,
        nodes=cell.nodes,
        node_gpus=profile.gpus_per_node if profile is not None else None,
        curves=file.series if origin is None else (),
        continued_from=f"{origin.cell_id}/{origin.checkpoint}" if origin is not None else "",
        micro_batch=cell.micro_batch,
        accum=cell.accum,
        sequence=cell.sequence,
        work=cell.train_images,
        images=cell.images_per_epoch,
        conditions=words,
        epochs_requested=cell.epochs,
        epochs_done=0,
        step_predicted_ms=forecast.step_ms if forecast is not None else None,
        memory_predicted_mib=memory_mib,
        step_flop=step_flop,
    )


def extra_columns(result: Result, summary: Summary | None) -> dict[str, Any]:
    """What the table of runs says of a study's run that the run does not know; `summary`: what its record comes to."""
    cell = result.file.cell
    columns: dict[str, Any] = {
        "learning_rate": peak_rate(cell),
        "lr_scaling": cell.lr_scaling.value,
        "lr_warmup_epochs": cell.lr_warmup_epochs,
        "pipeline": cell.pipeline.value,
        "augment": cell.data.augment,
        "activation_checkpointing": cell.activation_checkpointing,
        "compile": cell.compile,
        "allocation": cell.allocation.value,
        "sequence": cell.sequence,
        "sequence_method": cell.sequence_method.value,
        "attention": cell.attention.value,
        "task": cell.task.value,
        "padding": cell.padding,
        "attempt": summary.attempt if summary is not None else result.attempt,
        "ended_before": result.story if summary is not None else story_of(result.history[:-1]),
    }
    return columns if summary is None else columns | summary.columns


_BLANK = Run(run_id="", origin=Origin.STUDY, gpus=1)
"""Of whose fields the others are taken: all was checked where it was read, and there are thousands of runs."""
_TIMES = ("epoch_s", "first_epoch_s", "epoch_all_s", "interrupted", "joules_per_image", "step_ms", "step_percentiles")
_PARTS = ("step_ms_by_rank", "compute_ms_by_rank", "parts", "explanation", "bytes_per_step", "collectives_per_step")
_UNTIMED = {name: getattr(_BLANK, name) for name in (*_TIMES, *_PARTS, "moved_bytes")}
"""What is left out of a run that goes on from another cell's checkpoint, as are rates and waits: nobody must compare
it."""


@_memoised("seed")
def _of_configuration(cell: Cell) -> tuple[float | None, float, Shared]:
    """Of one GPU: the memory that is predicted, in MiB, and the operations of a step; and the conditions."""
    predicted = predict(cell)
    flop = (train_flop(cell.model, cell.outputs) + loss_flop(cell)) * (cell.micro_batch * cell.accum / cell.sequence)
    return predicted.total_gib * _MIB if predicted else None, flop, shared(conditions(cell))


def _host_cores(measured: Measured) -> int | None:
    """Cores of the smallest host that a cell ran on; None where nobody looked."""
    return min((machine.host_cores for machine in measured.machine if machine.host_cores), default=None)


def submissions(journal: Iterable[JobEntry]) -> dict[tuple[str, int], str]:
    """When each attempt of each cell was handed to its scheduler, by cell id and attempt (UTC, ISO 8601)."""
    return {
        (cell, attempt): entry.at
        for entry in journal
        if entry.event is Event.SUBMITTED
        for cell, attempt in entry.tasks
    }


_BESIDE = ("gpus", "nodes", "micro_batch", "accum", "train_images", "seed", "device", "origin")
"""What is no condition of a curve, or follows from others."""
_SAID_OTHERWISE = {"cpus_per_gpu": "partition.cpus_per_gpu", "pipeline": "data.pipeline"}
_CONDITIONS = {_SAID_OTHERWISE.get(name, name): read for name, read in readers(Cell).items() if name not in _BESIDE}


@_memoised("gpus", "nodes", "micro_batch", "accum", "train_images", "seed")
def conditions(cell: Cell) -> tuple[tuple[str, str], ...]:
    """All that must be equal along a curve beside batch, accumulation and work, as words, sorted by name."""
    values = {name: str(read(cell)) for name, read in _CONDITIONS.items()}
    values["lr_warmup_epochs"] = f"{cell.lr_warmup_epochs:g}"
    if cell.origin is not None:
        values["continued_from"] = f"{cell.origin.cell_id}/{cell.origin.checkpoint}"
    for group in ("model", "data", "engine", "optimizer"):
        values |= {f"{group}.{name}": value for name, value in _values(getattr(cell, group))}
    return tuple(sorted(values.items()))


@lru_cache(maxsize=512)
def _values(spec: ModelSpec | DataSpec | EngineSpec | OptimizerSpec) -> tuple[tuple[str, str], ...]:
    return tuple((name, _as_typed(value)) for name, value in to_plain(spec).items() if name != "counts")


def _as_typed(value: Any) -> str:
    """A value as a person would type it: `depth=2 patch_size=8` of a model's arguments.

    >>> _said([["depth", 2], ["patch_size", 8]]), _said(["prescale_gradients=true"]), _said([224, 112]), _said([])
    ('depth=2 patch_size=8', 'prescale_gradients=true', '[224, 112]', '[]')
    """
    match value:
        case [str(), *_]:
            return " ".join(map(str, value))
        case [[str(), _], *_]:
            return " ".join(f"{name}={argument}" for name, argument in value)
    return str(value)


def _queue_wait_s(cell: Cell, cell_id: str, summary: Summary, submitted: Mapping[tuple[str, int], str]) -> float | None:
    """From the submission of the record's attempt to its first line; None after a restart, which waited twice, and in a
    shared allocation, where it waited for the other cells as well."""
    if "." in summary.attempt or summary.measured.shared_job or cell.allocation is Allocation.SHARED:
        return None
    submitted_at = submitted.get((cell_id, int(summary.attempt)))
    if submitted_at is None:
        return None
    return max(0.0, (_time(summary.measured.started_at) - _time(submitted_at)).total_seconds())


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
