"""From a composed configuration to a checked point and the settings of the sweep. An edge: knows YAML's shape."""

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from launchers.checked import checked, field_names, parse
from launchers.errors import UserError
from launchers.profile import Count
from vit_sweep.compose import Plain
from vit_sweep.plan import MemoryCheck
from vit_sweep.point import Point


class Retry(StrEnum):
    """Which ended cells the same command runs again."""

    FAILED = "failed"


@checked
class Settings:
    """What a sweep does with its cells. Not an axis: one value for the whole grid."""

    study: str | None
    """Name of the folder below `outputs`; null: made from model, data and partition."""
    outputs: str
    data_root: str
    """Folder of the data files, on the login node and on the compute nodes."""
    dry_run: bool | Literal["stdout"]
    """Write plan and scripts, submit nothing; `stdout` prints the scripts too."""
    wait: bool
    """Watch until all cells have ended; false: submit and return."""
    retry: Retry | None
    minutes: Count | None
    """Time limit of every job; null: from the predicted time, with a margin, within the partition's limit."""
    memory_check: MemoryCheck
    """What happens to cells that are predicted not to fit into a GPU's memory."""
    budget_gpu_hours: Annotated[float, Ge(0)] | None
    """Nothing is submitted that would take the study above it, by prediction."""
    max_gpus_in_flight: Count | None
    """GPUs that this sweep's arrays may use at once."""


def read(configs: Iterable[Plain]) -> tuple[list[Point], Settings]:
    """Check every combination; raises `UserError` for the first wrong value and for a swept setting."""
    points: list[Point] = []
    settings: Settings | None = None
    names = field_names(Settings)
    for config in configs:
        mine = parse(Settings, {k: v for k, v in config.items() if k in names}, what="settings")
        if settings is not None and mine != settings:
            swept = next(name for name in names if getattr(mine, name) != getattr(settings, name))
            raise UserError(f"{swept} cannot be swept: it holds for the whole sweep; give it one value")
        settings = mine
        points.append(parse(Point, {k: v for k, v in config.items() if k not in names}, what="grid"))
    if settings is None:
        raise UserError("the grid is empty: no combination is left; give each axis at least one value")
    return points, settings


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
