"""Valid objects with overridable keywords, so that a test states only what it is about.

`test_cell` pins the identity of `cell()`: keep the defaults, or renew that literal on purpose.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from launchers.batch import Batch, Shape, Task
from launchers.checked import to_json
from launchers.process.identity import RankIdentity
from launchers.profile import Device, PartitionProfile, Scheduler
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import Cell, CellFile, JobOptions, Series
from vit_sweep.plan.choices import BatchPer, DataSource, OptimizerKind, Placement, Precision, Scaling
from vit_sweep.plan.plan import Plan, make_plan
from vit_sweep.plan.point import Point
from vit_sweep.plan.specs import DataSpec, EngineSpec, ModelSpec, OptimizerSpec
from vit_sweep.record.record import BatchTriple, EpochReport, RankReport, Record, Resolved
from vit_sweep.study.journal import Event, JobEntry
from vit_sweep.study.store import Study

MODEL = ModelSpec(name="vit_test", image_size=32, patch_size=8, layers=2, heads=2, width=64, mlp_width=128)
DATA = DataSpec(name="made_up", source=DataSource.SYNTHETIC, train_images=1600, test_images=100, classes=10)
ENGINE = EngineSpec(name="zero0", zero_stage=0)
OPTIMIZER = OptimizerSpec(name="adamw", kind=OptimizerKind.ADAMW, learning_rate=0.001, weight_decay=0.01)


def profile(**changes: Any) -> PartitionProfile:
    """A Slurm partition of 4 nodes x 8 GPUs."""
    given: dict[str, Any] = {
        "name": "lab",
        "scheduler": Scheduler.SLURM,
        "nodes": 4,
        "gpus_per_node": 8,
        "gpu_model": "Tesla T4",
    }
    return PartitionProfile(**(given | changes))


def point(**changes: Any) -> Point:
    """One GPU, micro batch 16, strong scaling over 1600 images."""
    given: dict[str, Any] = {
        "gpus": 1,
        "nodes": None,
        "placement": Placement.PACKED,
        "batch": 16,
        "batch_per": BatchPer.GPU,
        "accum": 1,
        "scaling": Scaling.STRONG,
        "precision": Precision.FP32,
        "epochs": 3,
        "warmup_steps": 1,
        "seed": 0,
        "fraction": 1.0,
        "weak_fraction": 0.1,
        "model": MODEL,
        "data": DATA,
        "engine": ENGINE,
        "optimizer": OPTIMIZER,
        "partition": profile(),
    }
    return Point(**(given | changes))


def data(train_images: int) -> DataSpec:
    """The made-up data set at another size."""
    return replace(DATA, train_images=train_images)


def cell(**changes: Any) -> Cell:
    """The cell of `point()`; every physical field can be given."""
    given: dict[str, Any] = {
        "gpus": 1,
        "nodes": 1,
        "micro_batch": 16,
        "accum": 1,
        "train_images": 1600,
        "precision": Precision.FP32,
        "epochs": 3,
        "warmup_steps": 1,
        "seed": 0,
        "model": MODEL,
        "data": DATA,
        "engine": ENGINE,
        "optimizer": OPTIMIZER,
        "partition": "lab",
        "device": Device.CUDA,
        "gpu_model": "Tesla T4",
        "cpus_per_gpu": 1,
    }
    return Cell(**(given | changes))


def series(scaling: Scaling = Scaling.STRONG, batch_per: BatchPer = BatchPer.GPU, placement: str = "packed") -> Series:
    """A curve."""
    return Series(scaling=scaling, batch_per=batch_per, placement=placement)


def resolved(cell: Cell, **changes: Any) -> Resolved:
    """What ran, exactly as `cell` asked."""
    given: dict[str, Any] = {
        "gpus": cell.gpus,
        "nodes": cell.nodes,
        "hosts": tuple(f"node{i}" for i in range(cell.nodes)),
        "batch": BatchTriple(micro_batch=cell.micro_batch, accum=cell.accum, global_batch=cell.global_batch),
        "zero_stage": cell.engine.zero_stage,
        "precision": cell.precision.value,
        "steps_per_epoch": cell.steps_per_epoch,
        "parameters": 1000,
    }
    return Resolved(**(given | changes))


def record(
    cell: Cell,
    epoch_seconds: Sequence[float] = (2.0, 1.0, 1.0),
    host_cores: int = 8,
    step_ms: Sequence[Sequence[float]] | None = None,
    **changes: Any,
) -> Record:
    """A finished run: `epoch_seconds` per epoch; `step_ms` per epoch and step (default: equal steps)."""
    steps = cell.steps_per_epoch
    given: dict[str, Any] = {
        "cell_id": cell.cell_id,
        "requested": cell,
        "resolved": resolved(cell),
        "ranks": tuple(_rank(cell, rank, host_cores) for rank in range(cell.gpus)),
        "epochs": tuple(
            _epoch(cell, number, seconds, step_ms[number - 1] if step_ms else (1000 * seconds / steps,) * steps)
            for number, seconds in enumerate(epoch_seconds, start=1)
        ),
        "attempt": "1",
        "job_id": "17_0",
        "started_at": "2025-01-01T00:00:00Z",
        "startup_s": 3.0,
        "versions": {"python": "3.11"},
    }
    return Record(**(given | changes))


def _rank(cell, rank, host_cores):
    return RankReport(
        rank=rank,
        host=f"node{rank // cell.gpus_per_node}",
        local_rank=rank % cell.gpus_per_node,
        device=cell.gpu_model,
        cores=cell.cpus_per_gpu,
        host_cores=host_cores,
        visible_gpus=cell.gpus_per_node,
        peak_memory_mib=None,
        peak_reserved_mib=None,
        peak_host_mib=500.0,
    )


def _epoch(cell, number, seconds, step_ms):
    return EpochReport(
        epoch=number,
        seconds=seconds,
        seconds_by_rank=(seconds,) * cell.gpus,
        step_ms=tuple(step_ms),
        step_ms_by_rank=(tuple(step_ms),) * cell.gpus,
        images=cell.images_per_epoch,
        train_loss=2.0,
        train_accuracy=0.25,
        test_loss=2.5,
        test_accuracy=0.125,
    )


def put_record(study: Study, cell: Cell, seconds: float, **changes: Any) -> None:
    """The record of a cell as a job leaves it, written aside and renamed; `seconds`: of its epochs but the first."""
    path = study.cell_dir(cell.cell_id) / "record.json"
    aside = path.with_name("aside")
    aside.write_text(to_json(record(cell, (9.0, seconds, seconds), **changes)))
    aside.replace(path)


def rank_identity(**changes: Any) -> RankIdentity:
    """The only rank of a job, without a GPU."""
    given: dict[str, Any] = {
        "rank": 0,
        "world_size": 1,
        "local_rank": 0,
        "local_world_size": 1,
        "node_rank": 0,
        "nodes": 1,
        "node_name": "n1",
        "task_index": 0,
        "restart": 0,
        "job_id": "17_0",
        "visible_gpus": 0,
    }
    return RankIdentity(**(given | changes))


def result(cell: Cell, *curves: Series, record: Record | None = None, status: Any = None, detail: str = "") -> Result:
    """A cell and its run: done with `record`, else missing; on the packed strong curve unless told."""
    file = CellFile(cell_id=cell.cell_id, cell=cell, series=curves or (series(),), data_root="/data")
    return Result(file=file, record=record, status=Status(status or ("done" if record else "missing")), detail=detail)


def planned_study(folder: Path, *points: Point, **options: Any) -> tuple[Study, Plan]:
    """A study that plans `points`, of which nothing is submitted; `options`: of its jobs."""
    study, plan = Study.create_or_resume(folder), make_plan(points)
    study.write_command(["-m", "gpus=1,2"], ["gpus=1,2"], code="abc")
    study.write_plan(plan, data_root="data", options=JobOptions(**options))
    return study, plan


def asked_for(study: Path) -> None:
    """As if what dry runs have looked at in a study had been asked for."""
    path = study / "study.json"
    content = json.loads(path.read_text())
    for command in content["commands"]:
        command.pop("dry_run", None)
    path.write_text(json.dumps(content))


def put_programs(folder: Path, **bodies: str) -> None:
    """Programs in bash by their names, in a folder that is made if it is not there."""
    folder.mkdir(exist_ok=True)
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)


def batch(**changes: Any) -> Batch:
    """Two tasks on one node with two GPUs."""
    given: dict[str, Any] = {
        "study": "s",
        "study_dir": "/studies/s",
        "profile": profile(),
        "shape": Shape(nodes=1, gpus_per_node=2, minutes=60),
        "tasks": tuple(Task(name=name, attempt=1) for name in ("n1-g2-a", "n1-g2-b")),
        "module": "vit_sweep.job.task",
    }
    return Batch(**(given | changes))


def entry(event: Event, batch: str, *tasks: tuple[str, int], handle: str = "", **changes: Any) -> JobEntry:
    """A line of the journal: cells and their attempts that a batch of Slurm has."""
    given: dict[str, Any] = {"at": "2025-01-01T00:00:00Z", "scheduler": Scheduler.SLURM}
    return JobEntry(event=event, batch=batch, tasks=tasks, handle=handle, **(given | changes))


@st.composite
def cells(draw):
    """Any cell that `grid` could make, as far as the arithmetic goes."""
    nodes, gpus_per_node = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    gpus, micro, accum = nodes * gpus_per_node, draw(st.integers(1, 128)), draw(st.integers(1, 8))
    return cell(
        gpus=gpus,
        nodes=nodes,
        micro_batch=micro,
        accum=accum,
        train_images=draw(st.integers(micro * accum * gpus, 200_000)),
        precision=draw(st.sampled_from(Precision)),
        engine=EngineSpec(name="zero", zero_stage=draw(st.integers(0, 3))),
    )
