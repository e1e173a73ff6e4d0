"""The plan as a person sees it: a column for what varies, the rest said once above. An edge; rich draws."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.text import Text

from launchers.checked import to_plain
from launchers.profile import Scheduler
from launchers.text import plural
from vit_sweep.cli.terminal.fit_width import Column, Fitted, Role
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.plan import Plan, PlannedCell
from vit_sweep.report.tables.form.columns import CONFIGURATION
from vit_sweep.report.tables.parts import Variants
from vit_sweep.runs.of_study import conditions
from vit_sweep.study.store import Study
from vit_sweep.submit.next import NextCells, Written

_FOLDED = 50
"""Cells from which on a plan says what varies, and has no row for each."""
_VALUES = 9
"""Values of an axis that are listed: as many as there are engines in `grid=frameworks`."""
_RANKS = {"steps/epoch": 8, "global batch": 7, "nodes x GPUs": 6, "accum": 5, "micro": 4, "scaling": 3, "limit min": 2}
"""What leaves a narrow plan first: a cell's id has nodes, GPUs, micro batch and accumulation in it."""
_BY_THEMSELVES: dict[str, Any] = {
    field.name: field.default for field in dataclasses.fields(Cell) if field.default is not dataclasses.MISSING
}
"""What a cell has where nothing is said."""
_ALWAYS = ("step ms", "GPU-h")
"""Also where they are equal: what a person looks for."""
_OWN_GPUS, _ON_GPUS = re.compile(r"(?<! on )gpus=(\d+)"), re.compile(r" on gpus=(\d+)")
"""In a reason: the GPUs of its point, and those on which it would fit."""


class Field(NamedTuple):
    """Something that is said of every cell."""

    heading: str
    values: tuple[str, ...]
    """Of the cells in their order."""
    is_text: bool = False

    @property
    def varies(self) -> bool:
        """Whether it tells cells from each other."""
        return len(set(self.values)) > 1


def plan(
    console: Console, plan: Plan, *, study: str, todo: set[str], whole: bool = False, words: Iterable[str] = ()
) -> None:
    """Print the cells, what they amount to, and the points that cannot run.

    A long grid is shown by its axes, unless it is wanted `whole`. `words`: those of the command, whose values are
    named also where all cells share them.
    """
    points, planned = plural(len(plan.points), "point"), plural(len(plan.cells), "cell")
    title = f"study {study}: {points}, {planned}, {len(todo):,} to run"
    cells = list(plan.cells.values())
    fields = [
        *_shape(cells),
        *_stated_fields(cells, [word.partition("=")[0].lstrip("+") for word in words]),
        *_forecast(cells),
    ]
    fields_shown = [field for field in fields if field.varies or field.heading in _ALWAYS]
    shared = [f"{field.heading} {field.values[0]}" for field in fields if field not in fields_shown and field.values[0]]
    remarks = _remarks(plan, todo)
    console.print(title)
    console.print(Text(", ".join(shared), "dim"), end="\n\n")
    folded = len(cells) >= _FOLDED and not whole
    alone = len(cells) == 1 and not fields_shown and not any(remarks.values)
    rows = f"cell {next(iter(plan.cells))}" if alone else _rows(list(plan.cells), fields_shown, remarks)
    console.print(_summary(fields_shown, remarks) if folded else rows)
    console.print()
    if folded:
        console.print(f"{len(cells):,} cells in short; --all (plan=all) shows a row for each")
    _total(console, plan, todo)
    several = [name for name, forecast in plan.cells.items() if forecast.job and len(forecast.series) > 1]
    if several:
        console.print(
            f"in several curves, run in the allocation of one: {plural(len(several), 'cell')}, {', '.join(several)}; "
            "a study for each placement gives every curve its own"
        )
    if plan.duplicates:
        same = plural(plan.duplicates, "point is the same run|points are the same runs")
        console.print(f"{same} as others and {'shares its cell' if plan.duplicates == 1 else 'share their cells'}")
    for reason, count in _of_all_counts(reason for point in plan.infeasible for reason in point.reasons):
        heading = "skipped" if count == 1 else f"skipped {count} points:"
        console.print(Text.assemble((heading, "yellow"), f" {reason}"))


def _of_all_counts(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """Each reason and of how many points it is; those that differ only in their GPUs are one, which names all of them.

    >>> _of_all_counts(["gpus=3: lab allows 1, 2 or 4", "gpus=3: lab allows 1, 2 or 4", "gpus=5: lab allows 1, 2 or 4"])
    [('gpus=3,5: lab allows 1, 2 or 4', 3)]
    >>> _of_all_counts(["too large; use sequence=4, or", "too large; use sequence=4 on gpus=8, or"])
    [('too large; use sequence=4 on gpus=8, or', 2)]
    """
    alike: dict[str, Counter[str]] = {}
    for reason in reasons:
        alike.setdefault(_OWN_GPUS.sub("gpus=", _ON_GPUS.sub("", reason)), Counter())[reason] += 1
    counted = list[tuple[str, int]]()
    for counts in alike.values():
        if len(counts) > 1 and all(len({*_OWN_GPUS.findall(reason)}) <= 1 for reason in counts):
            text = _OWN_GPUS.sub(f"gpus={_all_of(_OWN_GPUS, counts)}", max(counts, key=len))
            counted.append((_ON_GPUS.sub(f" on gpus={_all_of(_ON_GPUS, counts)}", text), counts.total()))
        else:
            counted += counts.items()
    return counted


def _all_of(pattern: re.Pattern[str], reasons: Iterable[str]) -> str:
    """The numbers that stand there in any of them."""
    return ",".join(map(str, sorted({int(number) for reason in reasons for number in pattern.findall(reason)})))


def _rows(cell_ids: Sequence[str], fields: Sequence[Field], remarks: Field) -> Fitted:
    columns = [Column("cell", tuple(cell_ids), Role.KEY, is_text=True)]
    for field in fields:
        role = Role.MEASURE if not field.is_text or field.heading in _RANKS else Role.KEY
        rank = _RANKS.get(field.heading, 0)
        columns.append(Column(field.heading, field.values, role, is_text=field.is_text, rank=rank))
    if any(remarks.values):
        columns.append(Column(remarks.heading, remarks.values, Role.REMARK))
    return Fitted(tuple(columns), frame=box.SIMPLE_HEAD)


def _summary(fields: Sequence[Field], remarks: Field) -> Fitted:
    """A row for each thing that varies: its values, or how far they reach; and what is remarked of how many cells."""
    names = [field.heading for field in fields]
    values = [_range_text(list(dict.fromkeys(field.values))) for field in fields]
    for text, count in Counter(filter(None, remarks.values)).items():
        names.append(plural(count, "cell"))
        values.append(text)
    return Fitted(
        (Column("", tuple(names), Role.KEY, is_text=True), Column("values", tuple(values), Role.REMARK)),
        frame=box.SIMPLE_HEAD,
    )


def _range_text(values: Sequence[str]) -> str:
    """All values, or the ends of many numbers.

    >>> _range_text(["1", "2"]), _range_text([str(seed) for seed in range(100)])
    ('1, 2', '0 to 99 (100 values)')
    """
    if len(values) <= _VALUES:
        return ", ".join(values)
    try:
        numbers = sorted(values, key=float)
    except ValueError:
        return f"{', '.join(values[:_VALUES])} ... ({len(values)} values)"
    return f"{numbers[0]} to {numbers[-1]} ({len(values)} values)"


def as_data(plan: Plan, study: Study, chosen: NextCells, written: Written, remarks: Sequence[str]) -> dict[str, Any]:
    """The plan of a grid for programs, with what would be submitted; null where nothing is known."""
    return {
        "study": study.name,
        "folder": str(study.folder),
        "points": [
            {
                "axes": point.axes,
                "cell": point.cell_id,
                "reasons": list(point.reasons),
                "remarks": list(point.remarks),
            }
            for point in plan.points
        ],
        "cells": [
            _cell_data(planned) | {"to_run": cell_id in chosen.todo, "skipped": chosen.selection.skipped.get(cell_id)}
            for cell_id, planned in plan.cells.items()
        ],
        "batches": [
            {
                "partition": item.batch.profile.name,
                "nodes": item.batch.shape.nodes,
                "gpus_per_node": item.batch.shape.gpus_per_node,
                "limit_minutes": item.batch.shape.minutes,
                "shared": item.batch.shared,
                "parallel": item.batch.parallel,
                "cells": [task.name for task in item.batch.tasks],
                "script": str(Path(item.batch.folder) / item.script),
            }
            for item in written.rendered
        ],
        "pack": to_plain(written.choice) if written.choice is not None else None,
        "gpu_hours": sum(item.planned.gpu_hours for item in chosen.todo.values()),
        "remarks": [*remarks, *written.remarks],
    }


_NUMBERS = (
    *("gpus", "nodes", "gpus_per_node", "micro_batch", "accum", "global_batch", "steps_per_epoch", "epochs", "seed"),
)


def _cell_data(planned: PlannedCell) -> dict[str, Any]:
    cell, time = planned.cell, planned.time
    return {
        "cell": cell.cell_id,
        "partition": planned.profile.name,
        **{name: getattr(cell, name) for name in _NUMBERS},
        "scaling": sorted({series.scaling.value for series in planned.series}),
        "limit_minutes": planned.shape.minutes,
        "memory_gib": planned.memory.total_gib if planned.memory else None,
        "step_ms": time.step_ms if time else None,
        "seconds": time.seconds if time else None,
        "basis": time.basis if time else None,
        "gpu_hours": planned.gpu_hours,
    }


def _of(heading: str, cells: Iterable[PlannedCell], text: Callable[[PlannedCell], object], **how: bool) -> Field:
    return Field(heading, tuple(str(text(planned)) for planned in cells), **how)


def _shape(cells: Sequence[PlannedCell]) -> list[Field]:
    """Ranks, batch and steps."""
    return [
        _of("nodes x GPUs", cells, lambda planned: f"{planned.cell.nodes} x {planned.cell.gpus_per_node}"),
        _of("micro", cells, lambda planned: planned.cell.micro_batch),
        _of("accum", cells, lambda planned: planned.cell.accum),
        _of("global batch", cells, lambda planned: planned.cell.global_batch),
        _of("steps/epoch", cells, lambda planned: planned.cell.steps_per_epoch),
        _of(
            "scaling", cells, lambda planned: " ".join(sorted({s.scaling.value for s in planned.series})), is_text=True
        ),
    ]


def _stated_fields(cells: Sequence[PlannedCell], keys_stated: Iterable[str]) -> list[Field]:
    """Everything else that cells may differ in: the axes with a name, values behind these where they vary or their key
    is among `keys_stated`, and keys of a cell that have another value than they have by themselves."""
    stated = [dict(conditions(planned.cell)) for planned in cells]
    keys = Variants(conditions(planned.cell) for planned in cells).keys
    usual = dict(conditions(replace(cells[0].cell, **_BY_THEMSELVES)))
    chosen = [name for name, value in stated[0].items() if "." not in name and value != usual.get(name)]
    nested = [name for name in keys_stated if "." in name and name in stated[0]]
    names = dict.fromkeys([*(name for name in CONFIGURATION if name in stated[0]), "epochs", *nested, *keys, *chosen])
    seeds = _of("seed", cells, lambda planned: planned.cell.seed)
    values_by_name = {name: tuple(values.get(name, "") for values in stated) for name in names}
    return [*(Field(heading, values, is_text=True) for heading, values in _by_heading(values_by_name).items()), seeds]


def _by_heading(values_by_name: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Values by the last part of their names; by the whole name where two with equal ends have different values.
    `model.name` beside an equal `model` says nothing.

    >>> _by_heading({"data.channels": ("1", "3"), "model.channels": ("1", "3")})
    {'channels': ('1', '3')}
    >>> _by_heading({"model": ("a",), "model.name": ("a",)})
    {'model': ('a',)}
    >>> _by_heading({"data.name": ("a",), "model.name": ("b",)})
    {'data.name': ('a',), 'model.name': ('b',)}
    """
    ends: dict[str, set[tuple[str, ...]]] = {}
    values_by_name = {
        name: values
        for name, values in values_by_name.items()
        if not (name.endswith(".name") and values == values_by_name.get(name.removesuffix(".name")))
    }
    for name, values in values_by_name.items():
        ends.setdefault(_end(name), set()).add(values)
    return {_end(name) if len(ends[_end(name)]) == 1 else name: values for name, values in values_by_name.items()}


def _end(name: str) -> str:
    return name.partition(".")[2] or name


def _forecast(cells: Sequence[PlannedCell]) -> list[Field]:
    """What the cells are given and will take, as far as anything is known of it."""
    fields = []
    if any(cell.profile.scheduler is Scheduler.SLURM for cell in cells):
        fields.append(_of("limit min", cells, lambda cell: cell.shape.minutes))
    if any(cell.memory for cell in cells):
        fields.append(_of("GiB/GPU", cells, lambda cell: f"{cell.memory.total_gib:.1f}" if cell.memory else "–"))
    if any(cell.time for cell in cells):
        fields.append(_of("step ms", cells, lambda cell: f"{cell.time.step_ms:.0f}" if cell.time else "–"))
        fields.append(_of("GPU-h", cells, lambda cell: f"{cell.gpu_hours:.2f}"))
    return fields


def _remarks(plan: Plan, todo: set[str]) -> Field:
    """What a person should know of a cell."""
    of_points = {point.cell_id: point.remarks for point in plan.points}
    texts = (
        "; ".join([*([] if cell_id in todo else ["not run again"]), *_shared(planned), *of_points[cell_id]])
        for cell_id, planned in plan.cells.items()
    )
    return Field("remarks", tuple(texts), is_text=True)


def _shared(planned: PlannedCell) -> list[str]:
    """What a person should know of a cell that shares its allocation: the GPUs that are paid while it runs."""
    job = planned.job
    if job is None:
        return []
    limit = f", {job.minutes} min" if planned.profile.scheduler is Scheduler.SLURM else ""
    return [f"on the first of {job.nodes} x {job.gpus_per_node} GPUs{limit}"]


def _total(console: Console, plan: Plan, todo: set[str]) -> None:
    """Say what the cells to run are expected to cost, and what that estimate rests on."""
    timed = [cell for cell_id, cell in plan.cells.items() if cell_id in todo and cell.time]
    if timed:
        bases = "; ".join(sorted({re.sub(r", nearest .*", "", cell.time.basis) for cell in timed if cell.time}))
        total = sum(cell.gpu_hours for cell in timed)
        idle = sum(cell.idle_gpu_hours for cell in timed)
        waits = f", {idle:.2f} of them for idle GPUs of shared allocations and whole nodes" if idle else ""
        console.print(f"estimate: {total:.2f} GPU-hours for {plural(len(timed), 'cell')}{waits}, from {bases}")
