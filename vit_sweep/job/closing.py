"""The closing module of a job that did not end well: `python -m vit_sweep.job.closing BATCH_FOLDER CODE`. An edge.

It judges what the ranks wrote, keeps the verdict, warns the cells that need not repeat it, and tells by its exit code
whether the same task is to be started again.
"""

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from launchers.atomic import read
from launchers.batch import RUN_AGAIN, SETUP_FAILED, Batch
from launchers.checked import parse_json
from launchers.errors import UserError
from launchers.process.identity import place_of
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.outcome.policy import Action, Stop, decide, makes_stop
from vit_sweep.outcome.verdict import Attempt, judge, verdicts
from vit_sweep.plan.cell import CellFile
from vit_sweep.record.attempt import attempt_name
from vit_sweep.study.code.snapshot import running_digest
from vit_sweep.study.lock import now
from vit_sweep.study.store import Study

_LAST_LINES = 12
_READABLE = (Cause.RANK_DIED, Cause.HANG, Cause.BUG, Cause.COMMUNICATION, Cause.HOST_OUT_OF_MEMORY)
"""Ends where a person will want to read what the log said last."""


def main(arguments: list[str]) -> int:
    """Judge one attempt; returns `RUN_AGAIN` where its policy says so, else 0."""
    batch_folder, code = Path(arguments[0]), int(arguments[1])
    batch = parse_json(Batch, read(batch_folder / "batch.json"), source="batch.json")
    identity = place_of(os.environ)
    task = batch.tasks[identity.task_index]
    study = Study(batch_folder.absolute().parent.parent)
    name = attempt_name(task.attempt, identity.restart)
    claimed = study.claim(task.name, name)
    if claimed is not None and claimed != identity.job_id:
        _say(f"attempt {name} of {task.name} belongs to job {claimed}, not to {identity.job_id}; nothing is judged")
        return 0
    history = study.attempts(task.name, since=task.since)
    attempt = next((past for past in history if past.name == name), Attempt(name=name))
    if attempt.exit is not None and attempt.exit.cause is Cause.DONE:
        return 0
    if code == SETUP_FAILED and not attempt.ranks:
        exit = _of_setup(batch_folder / "logs", identity.job_id)
    else:
        exit = _with_last_lines(_verdict(attempt, code), study.cell_dir(task.name) / "attempts" / name)
    earlier = verdicts([*(past for past in history if past.name != name), attempt])
    decision = decide([*earlier, exit])
    run_again = decision.action is Action.AGAIN
    is_written = study.write_exit(task.name, name, replace(exit, again=run_again))
    _say(f"{task.name} attempt {name}: {exit.cause.value}: {exit.message}\n{decision.reason}")
    if not is_written:
        # Starts are bounded by counting verdicts: of one that nobody can count there must be no next.
        _say(f"{study.folder} cannot be written to, so this verdict is not kept and the job is not started again")
        return 0
    if makes_stop(exit):
        _warn(study, task.name, exit)
    return RUN_AGAIN if run_again else 0


def _say(text: str) -> None:
    """One line in the log of the batch, for people."""
    sys.stderr.write(f"vit_sweep: {text}\n")


def _verdict(attempt: Attempt, code: int) -> Exit:
    if attempt.ranks:
        return judge(attempt.ranks, code=code, at=now())
    message = f"no rank began, the launcher ended with code {code}; its output is in the logs of the batch"
    return Exit(cause=Cause.LOST, message=message, at=now())


def _of_setup(logs: Path, job_id: str) -> Exit:
    """A line of the profile's setup failed: the job's own log has its words."""
    texts = []
    # Of an array's task, or of a job that is none and calls itself task 0.
    for path in (logs / f"{job_id}_0_log.err", logs / f"{job_id}_log.err"):
        with suppress(OSError):
            texts.append(read(path).decode(errors="replace"))
    lines = _last_lines("\n".join(texts))
    message = (
        f"a setup line of the profile failed: {' / '.join(lines[-2:]) or 'see the logs of the batch'}; fix it (or say "
        "setup_may_fail: true), then retry=failed"
    )
    return Exit(cause=Cause.CONFIGURATION, message=message, at=now(), last_lines=lines)


def _with_last_lines(exit: Exit, folder: Path) -> Exit:
    """For people: how the log of the blamed rank ends."""
    if exit.cause not in _READABLE:
        return exit
    try:
        text = read(folder / f"rank{exit.rank}.log").decode(errors="replace")
    except OSError:
        return exit
    return replace(exit, last_lines=_last_lines(text))


def _last_lines(log: str) -> tuple[str, ...]:
    return tuple(line[:400] for line in log.splitlines() if line.strip())[-_LAST_LINES:]


def _warn(study: Study, cell_id: str, exit: Exit) -> None:
    try:
        path = study.cell_dir(cell_id) / "cell.json"
        file = parse_json(CellFile, read(path), source=str(path))
        study.write_stop(
            Stop(cell_id=cell_id, cell=file.cell, cause=exit.cause, message=exit.message, code=running_digest())
        )
    except (OSError, UserError) as error:
        _say(f"cells that have not begun are not warned: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
