"""Ending the jobs of a study, all of them or some cells'. An edge."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from launchers.choose import launcher_of
from launchers.errors import UserError, closest
from vit_sweep.study.journal import Event, JobEntry, SubmittedAttempt, latest_attempts
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
        selected = {cell for cell in active if not patterns or any(fnmatchcase(cell, pattern) for pattern in patterns)}
        attempts = {cell: a for cell, a in latest_attempts(study.jobs()).items() if cell in selected and not a.in_doubt}
        for scheduler in {attempt.scheduler for attempt in attempts.values()}:
            batches = {a.batch: study.submission(a) for a in attempts.values() if a.scheduler == scheduler}
            launcher_of(scheduler).require_ours(list(batches.values()))
        by_batch: dict[str, dict[str, SubmittedAttempt]] = {}
        for cell, attempt in attempts.items():
            by_batch.setdefault(attempt.batch, {})[cell] = attempt
        for batch, cells in by_batch.items():
            attempt_of_batch = next(iter(cells.values()))
            study.journal(
                JobEntry(
                    at=now(),
                    event=Event.CANCELLED,
                    scheduler=attempt_of_batch.scheduler,
                    batch=batch,
                    tasks=tuple((cell, attempt.attempt) for cell, attempt in cells.items()),
                    handle=attempt_of_batch.handle,
                )
            )
    for scheduler in {attempt.scheduler for attempt in attempts.values()}:
        targets = []
        for cells in by_batch.values():
            of_scheduler = [attempt for attempt in cells.values() if attempt.scheduler == scheduler]
            if of_scheduler:
                indices = (
                    None if len(of_scheduler) == of_scheduler[0].tasks else [attempt.index for attempt in of_scheduler]
                )
                targets.append((study.submission(of_scheduler[0]), indices))
        launcher_of(scheduler).cancel(targets)
    return len(attempts)
