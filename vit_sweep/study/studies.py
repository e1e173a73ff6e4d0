"""Studies by name or folder. An edge."""

from pathlib import Path

from launchers.errors import UserError, closest
from vit_sweep.study.store import Study


def open_study(study: str) -> Study:
    """Find a study by folder or by name; raises `UserError` with the menu of studies."""
    for folder in (Path(study), Path("outputs") / study):
        if (folder / "study.json").is_file():
            return Study(folder.absolute())
    known = [path.parent.name for path in Path("outputs").glob("*/study.json")]
    menu = closest(study, known) if known else "there is no study in outputs/ yet"
    raise UserError(f"{study} is not a study (no study.json in it) – {menu}")
