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
from vit_sweep.study.cache.summaries import leave_summary


def keep(record: Record, cell_dir: Path, *, target: float | None = None) -> bool:
    """Write `record.json` and its summary; returns False, and leaves them, where this attempt or a later one has left
    its own.

    `target`: test accuracy whose time the summary says. Raises `JobError` where a record is there that cannot be read:
    it may be as good as this one.
    """
    path, text = cell_dir / "record.json", to_json(record)
    if not write_first(path, text):
        if _stays(path, record):
            return False
        write(path, text)
    leave_summary(record, text, cell_dir, target=target)
    return True


def _stays(path: Path, record: Record) -> bool:
    """Whether the record that is there is this cell's, of this attempt or a later one."""
    with suppress(UserError):
        try:
            stored = parse_json(Record, read(path), source=str(path))
        except OSError as error:
            raise JobError(Cause.STORAGE, f"{path} is there and cannot be read ({error.strerror}); it stays") from None
        return stored.cell_id == record.cell_id and stored.attempt_number >= record.attempt_number
    return False
