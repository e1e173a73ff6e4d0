"""Cells of somebody's capsule as points of a sweep of one's own. An edge: it composes configurations, looks for data
and packages, and starts nothing.

What a capsule says of a cell is data and becomes a point again; partition, interpreter and paths are those of whoever
runs it. Where that would run code, or read a file, that somebody else has named, the cell is left out and named.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import ValidationError

from launchers.checked import field_names, parse_json
from launchers.errors import UserError, closest
from launchers.profile import PartitionProfile, Scheduler
from launchers.text import grouped, some
from vit_sweep.analysis.pairing import MACHINE, require_known
from vit_sweep.config.settings import Settings, read
from vit_sweep.config.shorthand import expanded
from vit_sweep.config.words import word
from vit_sweep.data import datasets
from vit_sweep.plan.cell import Cell, CellFile, JobOptions, Series, crowd, oversubscribed
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.plan.plan import Knowledge, PlannedCell, make_plan
from vit_sweep.plan.point import Point
from vit_sweep.plan.rerun import PLACE, Offer, Sample, changed_fields, point_of, sampled
from vit_sweep.record.record import Record
from vit_sweep.record.stats import spent_gpu_hours
from vit_sweep.runs.of_study import conditions
from vit_sweep.study.code.provenance import require_engines, require_models, require_optimizers, require_tasks
from vit_sweep.study.trust import programs
from vit_sweep.submit.sweep import same_python

BUDGET_GPU_HOURS = 10.0
"""Of a sample, where `budget_gpu_hours` says nothing."""
PART = 0.2
"""Of the cells, where nobody says how many."""
LEAST = 2
"""Cells of a sample: of the fewest GPUs and of the most."""
_OF_A_GRID = frozenset(
    {"grid", "exclude", "zip", "repeats", "repeat_until", "max_repeats", "design", "until", "retry", "rerun"}
)
"""Settings that would choose other cells than the sample's."""
_OPTIONS = tuple(name for name in field_names(JobOptions) if name in field_names(Settings) and name != "logging")
"""How a published job behaved beside its work, which the same settings ask for."""
_FILES = re.compile(r"path|dir|file|url|weights|checkpoint|cache")
"""In the name of an argument of a library's model: it may read or write there."""
_CURVE = Series(scaling=Scaling.STRONG, batch_per=BatchPer.GPU, placement="")
"""Of a cell in no curve: `placement` is no word, so its own count of nodes holds."""


class Published(NamedTuple):
    """What a capsule says of a study's cells."""

    study: str
    cells: Mapping[str, bytes]
    """`cell.json` by the name of its folder."""
    records: Mapping[str, bytes]
    """`record.json` likewise."""


class Wish(NamedTuple):
    """What of it is to run again."""

    words: Sequence[str] = ()
    """Of a command: a partition and settings of a sweep."""
    config_dir: Path | None = None
    across: Sequence[str] = ()
    cells: int | None = None
    """How many; None: `part` of them."""
    part: float = PART
    seed: int = 0


class Rerun(NamedTuple):
    """A sample, ready to be planned as any sweep."""

    points: list[Point]
    settings: Settings
    sample: Sample
    budget: float
    """GPU-hours."""
    left: dict[str, str]
    """Why a cell cannot run again here, by its id."""
    across: tuple[str, ...]
    """What may differ, the partition's name among it where it does."""
    overrides: list[str]
    published: int
    """Cells of the capsule."""


class _Partition(NamedTuple):
    profile: PartitionProfile
    settings: Settings


class _Built(NamedTuple):
    points: list[Point]
    planned: PlannedCell


def rerun(published: Published, wish: Wish) -> Rerun:
    """Choose and build the cells that run again.

    Raises `UserError` for a wrong word, and where no cell is left, with every reason.
    """
    _check(wish)
    words = _with_study(_words(wish), published.study)
    files, excluded = _readable(published.cells)
    require_known(wish.across, (name for file in files.values() for name, _ in conditions(file.cell)))
    partitions = _partitions(words, {file.cell.partition for file in files.values()}, wish.config_dir)
    built: dict[str, _Built] = {}
    for cell_id, file in files.items():
        partition = partitions[file.cell.partition]
        outcome = partition if isinstance(partition, str) else _built(file, partition, wish.across)
        if isinstance(outcome, str):
            excluded[cell_id] = outcome
        else:
            built[cell_id] = outcome
    settings = next((partition.settings for partition in partitions.values() if not isinstance(partition, str)), None)
    if not built or settings is None:
        raise UserError("no cell of it can run again here:\n" + "\n".join(f"  {line}" for line in lines(excluded)))
    budget = BUDGET_GPU_HOURS if settings.budget_gpu_hours is None else settings.budget_gpu_hours
    offers = [_offer(files[cell_id], one, published.records.get(cell_id)) for cell_id, one in built.items()]
    max_cells = wish.cells or max(LEAST, round(wish.part * len(published.cells)))
    sample = sampled(offers, count=max_cells, seed=wish.seed, budget=budget)
    if not sample.chosen:
        least = min(offer.gpu_hours for offer in sample.dear)
        raise UserError(
            f"budget_gpu_hours={budget:g}: the cheapest cell takes about {least:.3g} GPU-hours; give as many or more"
        )
    pairs = [(files[offer.cell_id], built[offer.cell_id]) for offer in sample.chosen]
    options = Counter(file.options for file, _ in pairs).most_common(1)[0][0]
    renamed = any(file.cell.partition != one.planned.cell.partition for file, one in pairs)
    return Rerun(
        points=[point for _, one in pairs for point in one.points],
        # The sample has kept within the budget; what it has spent by the time it is resumed takes nothing away from it.
        settings=replace(settings, budget_gpu_hours=None, **_as_published(options, words)),
        sample=sample,
        budget=budget,
        left=excluded,
        across=_across(wish.across, renamed=renamed),
        overrides=words,
        published=len(published.cells),
    )


def _check(wish: Wish) -> None:
    if wish.cells is not None and wish.cells < 1:
        raise UserError(f"cells={wish.cells}: how many cells are to run again? 1 or more")
    if not 0 < wish.part <= 1:
        raise UserError(f"sample={wish.part:g}: a part of the cells, above 0 and at most 1; 0.2 is a fifth")


def _words(wish: Wish) -> list[str]:
    allowed = {"partition", *field_names(Settings)} - _OF_A_GRID
    for argument in wish.words:
        key, is_word, _ = argument.partition("=")
        name = key.lstrip("+").partition(".")[0].partition("@")[0]
        if not is_word or name not in allowed or key.startswith("~"):
            raise UserError(
                f"{argument}: the capsule says what each cell is; a partition of yours and settings of a sweep may "
                f"follow (partition=NAME, study=NAME, dry_run=true) – {closest(name, allowed)}"
            )
    return expanded(list(wish.words), wish.config_dir)


def _with_study(words: list[str], name: str) -> list[str]:
    if any(given.startswith("study=") for given in words):
        return words
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):  # Hydra would work out what stands in it
        raise UserError("the capsule's study has a name that no folder here can have; name one: study=NAME")
    return [*words, f"study={word(f'{name}-again')}"]


def _readable(cells: Mapping[str, bytes]) -> tuple[dict[str, CellFile], dict[str, str]]:
    """The cells that this version can read, and why it cannot read the others."""
    files: dict[str, CellFile] = {}
    excluded: dict[str, str] = {}
    for name, text in cells.items():
        try:
            file = parse_json(CellFile, text, source="")
        except UserError as error:
            excluded[name] = f"this version cannot read its cell.json: {error}"
            continue
        if not name == file.cell_id == file.cell.cell_id:
            excluded[name] = (
                f"its configuration is that of {file.cell.cell_id}: another version wrote it, or it was changed (a "
                "seed, a batch)"
            )
        elif reason := _why_not_rebuilt(file.cell):
            excluded[name] = reason
        else:
            files[name] = file
    return files, excluded


def _why_not_rebuilt(cell: Cell) -> str:
    """Why this cell needs what no capsule has, or what only its user may let run; empty where it does not."""
    if cell.origin is not None:
        return f"it goes on from a checkpoint of {cell.origin.cell_id}, and no capsule has checkpoints"
    if cell.model.init is not None:
        return f"it begins with the weights of a file, {Path(cell.model.init).name}, and no capsule has weights"
    if code := programs((), (cell,)):
        return f"it runs {code[0]}, which is not vit_sweep's code: read it, then type the words of its sweep"
    file_arguments = [
        f"{name}={value}" for name, value in cell.model.arguments if _FILES.search(name) or "/" in str(value)
    ]
    if file_arguments:
        return (
            f"its model takes {file_arguments[0]}, which may name a file: look at it, then type the words of its sweep"
        )
    if cell.engine.config:
        return (
            f"it gives DeepSpeed further keys ({cell.engine.config[0]}), which may name files: read them, then "
            "type the words of its sweep"
        )
    return ""


def _partitions(words: list[str], names: Collection[str], config_dir: Path | None) -> dict[str, _Partition | str]:
    """The partition that each published one's cells run on here; the reason where there is none of its name."""
    is_named = any(text.lstrip("+").startswith("partition=") for text in words)
    partitions: dict[str, _Partition | str] = {}
    named = _partition(words, config_dir)  # raises for what is wrong with the words themselves
    for name in sorted(names):
        try:
            partitions[name] = named if is_named else _partition([*words, f"partition={word(name)}"], config_dir)
        except UserError:
            partitions[name] = f"there is no partition {name} here: name one of yours, partition=NAME"
    return partitions


def _partition(words: list[str], config_dir: Path | None) -> _Partition:
    from vit_sweep.config.python_words import grid  # it imports Hydra

    points, settings = read(grid(words, config_dir=config_dir))
    if len(points) > 1:
        raise UserError(f"{' '.join(words)}: these sweep {len(points)} combinations; name one value each")
    return _Partition(points[0].partition, settings)


def _built(file: CellFile, partition: _Partition, across: Sequence[str]) -> _Built | str:
    """The points of one cell, and what they become here; the reason where that is not what was published."""
    try:
        points = [point_of(file.cell, series, partition.profile) for series in file.series or (_CURVE,)]
    except ValidationError:
        return "its configuration is none that a grid could ask for"
    cores = len(os.sched_getaffinity(0)) if partition.profile.scheduler is Scheduler.LOCAL else None
    settings = partition.settings
    knowledge = Knowledge(
        cores=cores, memory_check=settings.memory_check, minutes=settings.minutes, options=file.options
    )
    plan = make_plan(points, knowledge)
    if reasons := [reason for point in plan.infeasible for reason in point.reasons]:
        return reasons[0]
    if len(plan.cells) > 1:
        return "its curves ask for different cells here"
    (planned,) = plan.cells.values()
    changed = [name for name in changed_fields(file.cell, planned.cell) if not _may_differ(name, across)]
    if changed:
        return _difference(changed[0], file.cell, planned.cell)
    if cores is not None and oversubscribed(planned.cell, cores):
        return crowd(planned.cell, cores)
    missing = _missing(planned, Path(settings.data_root))
    return missing or _Built(points, planned)


def _may_differ(name: str, across: Sequence[str]) -> bool:
    """Of what a partition decides, the layout over nodes must be the same; what a cell trains must be in any case."""
    accepted = {MACHINE, name, *(["partition"] if name == "cpus_per_gpu" else [])}
    return name in PLACE and name != "nodes" and bool(accepted & {*across})


def _difference(name: str, published: Cell, rebuilt: Cell) -> str:
    old, new = (str(getattr(cell, name)) for cell in (published, rebuilt))
    if name in ("device", "gpu_model"):
        return (
            f"another GPU model: {published.gpu_model} published, {rebuilt.gpu_model} here (--across machine runs it)"
        )
    if len(old) + len(new) > 100:
        return f"this version builds another cell of it: {name} differs"
    remedy = {"nodes": "a partition with as many GPUs a node", "cpus_per_gpu": "--across partition runs it"}
    return f"{name}: {old} published, {new} here" + (f" ({remedy[name]})" if name in remedy else "")


def _missing(planned: PlannedCell, root: Path) -> str:
    """The data set or the package that is not here."""
    cell = planned.cell
    try:
        datasets.require(cell.data, root)
        if same_python(planned):
            require_engines([cell.engine.kind])
            require_optimizers([cell.optimizer.kind])
            require_models([cell.model])
            require_tasks([cell.task])
    except UserError as error:
        return str(error)
    return ""


def _offer(file: CellFile, built: _Built, record: bytes | None) -> Offer:
    """What a cell would cost: as much as it did, unless it ran on other GPUs and the plan knows better."""
    hours, alike = built.planned.gpu_hours, built.planned.cell.gpu_model == file.cell.gpu_model
    if record is not None and (alike or built.planned.time is None):
        with suppress(UserError):  # a record of another version says nothing of its time here
            hours = spent_gpu_hours(parse_json(Record, record, source=""))
    cell = file.cell
    return Offer(cell_id=cell.cell_id, gpus=cell.gpus, configuration=cell.configuration.cell_id, gpu_hours=hours)


def _as_published(options: JobOptions, words: Sequence[str]) -> dict[str, Any]:
    overridden = {text.lstrip("+").partition("=")[0] for text in words}
    return {name: getattr(options, name) for name in _OPTIONS if name not in overridden}


def _across(across: Sequence[str], *, renamed: bool) -> tuple[str, ...]:
    """A partition's name says where something ran, not what; of another machine the GPU's model goes with it."""
    implied = ["partition"] if renamed else []
    implied += ["gpu_model"] if MACHINE in across else []
    return tuple(dict.fromkeys([*across, *implied]))


def lines(excluded: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each reason why cells cannot run again."""
    for reason, cells in grouped((reason, cell_id) for cell_id, reason in excluded.items()).items():
        yield f"{some(cells, 3)}: {reason}"
