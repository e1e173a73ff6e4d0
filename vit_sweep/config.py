"""From a composed configuration to a checked point and the settings of the sweep. An edge: knows YAML's shape."""

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from launchers.checked import checked, field_names, parse
from launchers.errors import UserError
from vit_sweep.compose import Plain
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
    dry_run: bool
    """Write plan and scripts, submit nothing."""
    wait: bool
    """Watch until all cells have ended; false: submit and return."""
    retry: Retry | None


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
