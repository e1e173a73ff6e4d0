"""Where the files go that are made of a study or of imported runs. An edge."""

import os
from pathlib import Path

from launchers.errors import UserError
from vit_sweep.runs.sources import Source
from vit_sweep.study.store import Study


def place_for(study: Study, *, output: Path | None) -> Path:
    """The study's own folder; where that may not be written `output`, or a folder that is made here."""
    if os.access(study.folder, os.W_OK):
        return study.folder
    if output is not None:
        return output.absolute()
    folder = Path(f"{study.name}-tables").absolute()
    folder.mkdir(exist_ok=True)
    return folder


def folder_of(source: Source, output: Path | None) -> Path:
    """Where the tables of imported runs lie; raises `UserError` for the folder of a study."""
    folder = output or Path("outputs") / (source.files[0].name.partition(".")[0] or "imported")
    if (folder / "study.json").exists():
        raise UserError(f"{folder} is the folder of a study; name another one with --output FOLDER")
    return folder


def page_path(output: Path | None, folder: Path) -> Path:
    """The report's file; raises `UserError` where it cannot be one."""
    path = output.absolute() if output is not None else folder / "report.html"
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"output={output}: name a file in a folder that there is, for example --output report.html")
    return path
