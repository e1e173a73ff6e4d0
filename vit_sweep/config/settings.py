"""From a composed configuration to a checked point and the settings of the sweep. An edge: knows YAML's shape."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic_core import ValidationError

from launchers.checked import Ge, Gt, Le, Line, Quantity, checked, field_names, fields_for, parse, to_plain
from launchers.errors import UserError
from launchers.merged_profile import either
from launchers.profile import Count, PartitionProfile, Positive, Scheduler
from vit_sweep.config.algebra import GridSpec, Order
from vit_sweep.config.profile.words import ON_OFF, minutes_of, normalised
from vit_sweep.config.shorthand import OTHERS
from vit_sweep.config.words import Plain
from vit_sweep.data.datasets import packed_spec
from vit_sweep.data.request import is_request, request_of
from vit_sweep.outcome.selection import Rerun, Retry
from vit_sweep.plan.cell import DeepSpeedProfiler, JobOptions, Logger
from vit_sweep.plan.choices import NotNegativeInt, Pipeline, Task
from vit_sweep.plan.deciding.question import EXAMPLES, DecideRule, Design, question_of
from vit_sweep.plan.plan import MemoryCheck
from vit_sweep.plan.point import Point
from vit_sweep.plan.repeats import RepeatRule
from vit_sweep.plan.waiting.packing import Pack

_YES_OR_NO = ("certify", "dry_run", "exposed", "preflight", "quiet", "wait")
_ACCOUNTING = ("account", "qos", "reservation")
"""Who pays a job and from what: of the command, not of the cell."""


@checked
class Settings:
    """What a sweep does with its cells. Not an axis: one value for the whole grid."""

    study: str | None
    """Name of the folder below `outputs`, the same name resumes it; null: MODEL-DATA-PARTITION."""
    outputs: Line
    """Folder that studies lie in."""
    data_root: Line
    """Folder of the data files, on the login node and on the compute nodes."""
    dry_run: bool | Literal["stdout", "json"]
    """Write plan and scripts, submit nothing; `stdout` prints the scripts too, `json` the plan as an object."""
    plan: Literal["short", "all"]
    """How the plan of a long grid is shown: by its axes, or with a row for each cell."""
    quiet: bool
    """Print the paths of the result tables and what went wrong, nothing else; `--quiet` says the same."""
    wait: bool
    """Watch until all cells have ended; false: submit and return."""
    retry: Retry | None
    """Ended cells that run again, by how they ended."""
    rerun: Rerun | None
    """Finished cells that run again."""
    checkpoint_epochs: NotNegativeInt
    """A checkpoint after every so many epochs; 0: only when a signal announces the end."""
    hang_minutes: Positive
    """How long a rank may make no progress before it is ended."""
    target_accuracy: Annotated[float, Gt(0), Le(1)] | None
    """Part of the test images classified right whose time the tables report; null: no such column."""
    preflight: bool
    """Measure collectives and matrix products at the start of each job."""
    certify: bool | None
    """Compare 50 steps of the engine with one process before each training; null: where engines are compared."""
    exposed: bool
    """Measure after the timed epochs what communication no computation hides; of several ranks, a minute at most."""
    profile_steps: NotNegativeInt
    """Optimizer steps of the profiled window after the timed epochs; 0: none."""
    deepspeed_profilers: tuple[DeepSpeedProfiler, ...]
    """DeepSpeed's own instruments that look at every run after its timed epochs (docs/study/tracking.md)."""
    logging: tuple[Logger, ...]
    """Libraries that are told every epoch's figures, wandb offline (docs/study/tracking.md)."""
    data_workers: NotNegativeInt
    """Processes per rank that read images for `data.pipeline=loader`."""
    account: Line | None
    """Slurm account that is charged, in place of the profile's; null: the profile's, or what SBATCH_ACCOUNT says."""
    qos: Line | None
    """Slurm QOS, likewise."""
    reservation: Line | None
    """Slurm reservation, likewise."""
    minutes: Count | None
    """Time limit of every job; null: from the predicted time, with a margin, within the partition's limit."""
    memory_check: MemoryCheck
    """What happens to cells that are predicted not to fit into a GPU's memory."""
    budget_gpu_hours: Quantity | None
    """Nothing is submitted that would take the study above it, by prediction and what it has spent."""
    max_gpus_in_flight: Count | None
    """GPUs that this sweep's arrays may use at once."""
    pack: Pack
    """Cells of one shape that run one after another in one job of Slurm, at most; `auto`: as many as a look at its
    queue says end soonest; `off`: one job a cell (docs/study/waiting.md)."""
    grid: GridSpec
    """A named grid, whose axes a command may replace one by one; `none`: the grid of the command line alone."""
    exclude: tuple[str, ...]
    """Predicates over the axes of a point, `gpus==8 and batch==128`; where one holds, the point is left out."""
    zip: tuple[tuple[str, ...], ...]
    """Axes that advance together instead of multiplying: `[[gpus,batch]]`."""
    repeats: Annotated[int, Ge(1), Le(1000)]
    """Independent runs of every point, with seeds seed, seed + 1, ..."""
    repeat_until: Annotated[float, Gt(0), Le(1)] | None
    """Relative half-width of the 95 % interval on a cell's median epoch time at which it has been repeated enough,
    0.02; whoever watches adds the repeats."""
    max_repeats: Annotated[int, Ge(1), Le(1000)]
    """Runs of one cell at most, with `repeat_until` or `design=adaptive`."""
    design: Design
    """Which cells of the grid run."""
    until: Line | None
    """Of `design=adaptive`: the question about the curve, "efficiency(64) +- 3 %", "time(16) +- 2 %" or
    "largest gpus with efficiency 80 % at 95 %" (docs/study/deciding.md)."""
    order: Order
    order_seed: NotNegativeInt
    """Of `order=random`."""

    @property
    def repeat_rule(self) -> RepeatRule | None:
        """When a cell has been repeated enough; None: as often as `repeats` says."""
        if self.repeat_until is None:
            return None
        return RepeatRule(half_width=self.repeat_until, most=max(self.max_repeats, self.repeats))

    @property
    def decide_rule(self) -> DecideRule | None:
        """The question that decides which cells run; None: all of them do. Raises `UserError` for half a question."""
        if self.design is Design.GRID:
            if self.until is not None:
                raise UserError(
                    f'until="{self.until}": the whole grid runs, whatever is asked; design=adaptive budget_gpu_hours=N '
                    "runs what answers it"
                )
            return None
        if self.until is None:
            raise UserError(f"design=adaptive: until says what is to be known; give {EXAMPLES}")
        question_of(self.until)
        if not self.budget_gpu_hours:
            raise UserError(
                f'design=adaptive until="{self.until}": budget_gpu_hours says when it stops at the latest; give one, '
                "for example budget_gpu_hours=50"
            )
        several = "repeats" if self.repeats > 1 else "repeat_until" if self.repeat_until is not None else ""
        if several:
            raise UserError(
                f"design=adaptive {several}={getattr(self, several)}: a sweep that decides repeats where that narrows "
                f"its answer, up to max_repeats={self.max_repeats} runs of a cell; leave {several} out"
            )
        if self.max_repeats < 2:
            raise UserError(
                f"design=adaptive max_repeats={self.max_repeats}: one run of a cell does not say how far its runs "
                "differ; give 2 or more"
            )
        return DecideRule(until=self.until, budget_gpu_hours=self.budget_gpu_hours, most=self.max_repeats)

    @property
    def job_options(self) -> JobOptions:
        """What a job is told beside its work."""
        return JobOptions(**fields_for(JobOptions, self) | {"certify": bool(self.certify)})


def read(configs: Iterable[Plain]) -> tuple[list[Point], Settings]:
    """Check every combination; raises `UserError` for the first wrong value and for a swept setting."""
    points: list[Point] = []
    settings: Settings | None = None
    first: Plain = {}
    names = frozenset(field_names(Settings))
    packed: dict[str, Plain] = {}
    repeats: dict[tuple[object, ...], tuple[Plain, Point]] = {}
    for config in configs:
        command_settings = {k: v for k, v in config.items() if k in names}
        if settings is None:
            settings, first = parse(Settings, _normalised(command_settings), source=""), command_settings
        elif command_settings != first:
            swept = next(name for name in field_names(Settings) if command_settings.get(name) != first.get(name))
            raise UserError(f"{swept} cannot be swept: it holds for the whole sweep; give it one value")
        axes = {k: v for k, v in config.items() if k not in names}
        kind = _without_seed(axes)
        if kind in repeats:
            with suppress(ValidationError):  # it is read below, which says what is wrong with it
                points.append(repeats[kind][1].repeated(axes["seed"]))
                continue
        composed, axes = axes, _flat(axes)
        axes = axes | {"data": _packed_data(axes.get("data"), settings.data_root, packed)}
        axes = axes | {"model": _without_text_tower(_with_channels(axes.get("model"), axes["data"]), axes.get("task"))}
        points.append(parse(Point, _with_partition(axes, settings), source=""))
        repeats[kind] = (composed, points[-1])
    if settings is None:
        raise UserError("the grid is empty: no combination is left; give each axis at least one value")
    stated = [name for name in _ACCOUNTING if getattr(settings, name) is not None]
    if stated and not any(point.partition.scheduler is Scheduler.SLURM for point in points):
        partitions = ", ".join(sorted({point.partition.name for point in points}))
        raise UserError(
            f"{stated[0]}={getattr(settings, stated[0])}: partition {partitions} is not Slurm's; leave it out"
        )
    if settings.target_accuracy is not None:
        without = next((point for point in points if point.task is not Task.CLASSIFICATION), None)
        if without is not None:
            raise UserError(
                f"target_accuracy={settings.target_accuracy:g} task={without.task.value}: only a classification has an "
                "accuracy to reach; leave it out, or use task=classification"
            )
    return points, settings


def _without_seed(axes: Plain) -> tuple[object, ...]:
    """A key that axes share which differ in their seed alone and were made of one composition.

    Values are told apart as objects: good as long as one of these axes is kept.
    """
    others = {name: value for name, value in axes.items() if name != "seed"}
    return (*others, *map(id, others.values()))


def _packed_data(data: object, root: str, packed: dict[str, Plain]) -> object:
    """Put what was packed in place of a data set's `path`; `packed` remembers what was looked up."""
    if not isinstance(data, dict) or not is_request(data):
        return data
    key = json.dumps(data, sort_keys=True)
    if key not in packed:
        request = request_of({name: value for name, value in data.items() if name != "augment"})
        packed[key] = to_plain(packed_spec(request, Path(root))) | {"augment": data.get("augment", False)}
    return packed[key]


def _with_channels(model: object, data: object) -> object:
    """Give the model as many channels as the data has, unless the command says how many."""
    if not isinstance(model, dict) or not isinstance(data, dict) or model.get("channels") is not None:
        return model
    kept = {name: value for name, value in model.items() if name != "channels"}
    return kept | ({"channels": data["channels"]} if "channels" in data else {})


def _without_text_tower(model: object, task: object) -> object:
    """Leave out the text tower where there are no captions: then it is no part of what runs."""
    if not isinstance(model, dict) or task == Task.CONTRASTIVE:
        return model
    return {name: value for name, value in model.items() if name != "text"}


def _with_partition(axes: Plain, settings: Settings) -> Plain:
    """Axes with their partition normalised; of several, `partition=a+b`, what whichever starts a cell has in common."""
    partition = _with_accounting(axes.get("partition"), settings)
    others = [_with_accounting(other, settings) for other in (axes.get(OTHERS) or {}).values()]
    if others:
        named = [(profile, f"partition {profile.get('name', '')}".strip()) for profile in (partition, *others)]
        profiles = [parse(PartitionProfile, profile, source=label) for profile, label in named]
        partition = to_plain(either(profiles))
    return {key: value for key, value in axes.items() if key != OTHERS} | {"partition": partition}


def _with_accounting(partition: object, settings: Settings) -> Any:
    """A profile normalised, with the command's account, QOS and reservation in place of a partition's of Slurm."""
    if not isinstance(partition, dict):
        return partition
    partition = normalised(partition)
    stated = {name: value for name in _ACCOUNTING if (value := getattr(settings, name)) is not None}
    return partition | stated if partition.get("scheduler") == Scheduler.SLURM else partition


def _flat(axes: Plain) -> Plain:
    """Mappings as words or pairs in an order; `data.pipeline` out of the data set: how images are read."""
    engine = axes.get("engine")
    if isinstance(engine, dict) and "config" in engine:
        if not isinstance(engine["config"], dict):
            raise UserError(
                f"engine.config={engine['config']}: keys of DeepSpeed's configuration belong below it; use "
                "++engine.config.KEY=VALUE"
            )
        words = sorted(f"{key}={json.dumps(value)}" for key, value in _leaves(engine["config"]))
        axes = axes | {"engine": engine | {"config": words}}
    model = axes.get("model")
    if isinstance(model, dict) and isinstance(model.get("arguments", ""), dict | None):
        axes = axes | {"model": model | {"arguments": sorted((model["arguments"] or {}).items())}}
    data = axes.get("data")
    if not isinstance(data, dict) or "pipeline" not in data:
        return axes
    pipeline = data["pipeline"]
    if pipeline not in list(Pipeline):
        # Said here: behind this line the key has another name than the one that the user typed.
        menu = " or ".join(f"'{pipeline}'" for pipeline in Pipeline)
        raise UserError(f"grid: data.pipeline={pipeline} is not one of {menu}")
    return axes | {"data": {k: v for k, v in data.items() if k != "pipeline"}, "pipeline": pipeline}


def _leaves(nested: Plain, path: str = "") -> Iterator[tuple[str, object]]:
    for name, value in nested.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _normalised(values: Plain) -> Plain:
    """Take other spellings whose meaning is clear: `logging=wandb` for a list of one, `preflight=off` for false."""
    read = dict(values)
    for name in ("exclude", "deepspeed_profilers", "logging"):
        if isinstance(values.get(name), str):
            read[name] = [values[name]]
    for name in _YES_OR_NO:
        if values.get(name) in ON_OFF:
            read[name] = ON_OFF[values[name]]
    if values.get("pack") is False:
        read["pack"] = "off"
    if isinstance(values.get("minutes"), str):
        read["minutes"] = minutes_of("minutes", values["minutes"])
    # An account may be a number.
    return read | {name: str(values[name]) for name in _ACCOUNTING if isinstance(values.get(name), int)}


def study_folder(settings: Settings, points: Iterable[Point]) -> Path:
    """Return the study's folder. Its default name is stable, so the same command resumes the study."""
    name = settings.study
    if name is None:
        parts = [
            {p.model.name for p in points},
            {p.data.name for p in points},
            {p.partition.name for p in points},
        ]
        name = "-".join("+".join(sorted(part)) for part in parts)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
        raise UserError(
            f"study={name}: a study's name becomes a folder and a job name; "
            "use letters, digits and . _ + - only, starting with a letter or digit"
        )
    return Path(settings.outputs).absolute() / name
