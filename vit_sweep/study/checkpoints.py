"""Checkpoints as files: which of a cell's are whole, and what they are by content. An edge; it knows no torch."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from launchers.atomic import read, reading
from launchers.checked import parse_json
from launchers.errors import UserError
from vit_sweep.record.position import Position, refusal

POSITION = "position.json"


def newest(
    folder: Path, *, cell_id: str, world_size: int, zero_stage: int | None, passed_over: Callable[[str, str], None]
) -> str | None:
    """The text of the newest position below `folder` whose checkpoint is whole and of this cell; None: there is none.

    `passed_over` hears of each newer one, and why it is none.
    """
    for checkpoint in sorted(folder.glob("e*-s*"), key=_progress, reverse=True):
        try:
            text = read(checkpoint / POSITION).decode()
            position = parse_json(Position, text, source=POSITION)
            sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in files_of(checkpoint)}
            reason = refusal(position, cell_id=cell_id, world_size=world_size, zero_stage=zero_stage, sizes=sizes)
            if reason is None and position.name != checkpoint.name:
                reason = f"it says that it is {position.name}"
        except (OSError, UserError, ValueError) as error:
            reason = str(error)
        if reason is None:
            return text
        passed_over(checkpoint.name, reason)
    return None


def content_of(checkpoint: Path, position: Position) -> str:
    """16 hex digits over its position and each file that this names, with their names; reads every byte once."""
    digest = hashlib.sha256()
    for name in (POSITION, *sorted(position.files)):
        with reading(checkpoint / name) as file:
            digest.update(f"{name}\0".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def link_in(checkpoint: Path, *, below: Path) -> Path | None:
    """A symbolic link on the way from `below` to the checkpoint, or in it: what lies behind is not its cell's."""
    ancestors = [path for path in (checkpoint, *checkpoint.parents) if below in path.parents]
    return next((path for path in (*ancestors, *sorted(checkpoint.rglob("*"))) if path.is_symlink()), None)


def files_of(folder: Path) -> Iterator[Path]:
    """All files below a folder, in an order that does not depend on the disk's."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _progress(folder: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder.name))
