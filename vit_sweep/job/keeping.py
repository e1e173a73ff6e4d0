"""A cell's record is kept once: of two starts of one attempt, that of the one that ended first.

Slurm starts a job again while ranks of its first start still run: on a node whose slurmd is gone, they outlive it.
"""

from contextlib import suppress
from pathlib import Path

from launchers.atomic import read, write, write_first
from launchers.checked import parse_json, to_json
from launchers.errors import UserError
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError
from vit_sweep.record.record import Record


def keep(record: Record, cell_dir: Path) -> bool:
    """Write `record.json`; returns False, and leaves it, where this attempt or a later one has left its own.

    Raises `JobError` where one is there that cannot be read: it may be as good as this one.
    """
    path, text = cell_dir / "record.json", to_json(record)
    if write_first(path, text):
        return True
    with suppress(UserError):
        try:
            there = parse_json(Record, read(path), what=str(path))
        except OSError as error:
            raise JobError(Cause.STORAGE, f"{path} is there and cannot be read ({error.strerror}); it stays") from None
        if there.cell_id == record.cell_id and there.attempt_number >= record.attempt_number:
            return False
    write(path, text)
    return True
