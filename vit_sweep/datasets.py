"""Data files before a job needs them: are they there, are they whole, how to get them. An edge, without torch."""

import hashlib
from pathlib import Path

from launchers.errors import UserError
from vit_sweep.point import DataSpec


def problem_of(data: DataSpec, root: Path) -> str | None:
    """Say what is wrong with the files of `data` below `root`, or None when they are whole."""
    for file in data.files:
        path = root / file.path
        if not path.is_file():
            return f"data={data.name}: {path} is missing"
        with path.open("rb") as handle:
            md5 = hashlib.file_digest(handle, "md5").hexdigest()
        if md5 != file.md5:
            return f"data={data.name}: {path} is damaged (md5 {md5}, expected {file.md5})"
    return None


def require(data: DataSpec, root: Path) -> None:
    """Raise `UserError` with the command that helps, unless the files of `data` are whole."""
    problem = problem_of(data, root)
    if problem is not None:
        raise UserError(
            f"{problem}; fetch it on a machine with internet: python -m vit_sweep data prepare {data.name} "
            f"--root {root}"
        )
