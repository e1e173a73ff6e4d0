"""Ending the jobs of a study, all of them or some cells'. An edge."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from launchers.choose import launcher_of
from launchers.errors import UserError, closest
from launchers.text import grouped
from vit_sweep.study.journal import Event, JobEntry, latest_attempts
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
        by_batch = grouped((attempt.batch, (cell, attempt)) for cell, attempt in attempts.items())
        by_scheduler = grouped((members[0][1].scheduler, members) for members in by_batch.values())
        for scheduler, batches in by_scheduler.items():
            launcher_of(scheduler).require_ours([study.submission(members[0][1]) for members in batches])
        for batch, members in by_batch.items():
            _, first = members[0]
            study.journal(
                JobEntry(
                    at=now(),
                    event=Event.CANCELLED,
                    scheduler=first.scheduler,
                    batch=batch,
                    tasks=tuple((cell, attempt.attempt) for cell, attempt in members),
                    handle=first.handle,
                )
            )
    for scheduler, batches in by_scheduler.items():
        targets = []
        for members in batches:
            (_, first), indices = members[0], [attempt.index for _, attempt in members]
            targets.append((study.submission(first), None if len(indices) == first.tasks else indices))
        launcher_of(scheduler).cancel(targets)
    return len(attempts)
