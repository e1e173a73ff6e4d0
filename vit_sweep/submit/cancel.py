"""Ending the jobs of a study, all of them or some cells'. An edge."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from launchers.choose import launcher_of
from launchers.errors import UserError, closest
from vit_sweep.study.journal import Event, JobEntry, Sent, latest_attempts
from vit_sweep.study.lock import now
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study
from vit_sweep.submit.submission import resolve


def cancel(study: Study, patterns: Sequence[str] | None = None) -> int:
    """End queued and running cells, those that match one of `patterns` or all; returns how many.

    The journal says so first: a cell that is ended on purpose is not taken for a failure. Raises `UserError` for a
    pattern that fits no cell, and before anything is ended or said for a job that is not this user's to end.
    """
    ids = [file.cell_id for file in study.cell_files()]
    for pattern in patterns or ():
        if not any(fnmatchcase(cell, pattern) for cell in ids):
            raise UserError(f"--cells {pattern}: no cell of study {study.name} has that name – {closest(pattern, ids)}")
    with study.changing():
        resolve(study)
        active = [result.file.cell_id for result in settled_results(study) if result.status.under_way]
        chosen = {cell for cell in active if not patterns or any(fnmatchcase(cell, pattern) for pattern in patterns)}
        sent = {cell: a for cell, a in latest_attempts(study.jobs()).items() if cell in chosen and not a.in_doubt}
        for scheduler in {attempt.scheduler for attempt in sent.values()}:
            batches = {a.batch: study.submission(a) for a in sent.values() if a.scheduler == scheduler}
            launcher_of(scheduler).require_ours(list(batches.values()))
        by_batch: dict[str, dict[str, Sent]] = {}
        for cell, attempt in sent.items():
            by_batch.setdefault(attempt.batch, {})[cell] = attempt
        for batch, cells in by_batch.items():
            first = next(iter(cells.values()))
            study.journal(
                JobEntry(
                    at=now(),
                    event=Event.CANCELLED,
                    scheduler=first.scheduler,
                    batch=batch,
                    tasks=tuple((cell, attempt.attempt) for cell, attempt in cells.items()),
                    handle=first.handle,
                )
            )
    for scheduler in {attempt.scheduler for attempt in sent.values()}:
        targets = []
        for cells in by_batch.values():
            some = [attempt for attempt in cells.values() if attempt.scheduler == scheduler]
            if some:
                indices = None if len(some) == some[0].tasks else [attempt.index for attempt in some]
                targets.append((study.submission(some[0]), indices))
        launcher_of(scheduler).cancel(targets)
    return len(sent)
