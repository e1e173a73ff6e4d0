"""The job's first line: `python -m vit_sweep.job.task BATCH_FOLDER`, run by every rank. An edge.

It finds out which rank of which cell it is, claims the attempt, sends its output to the attempt's folder, asks
whether the cell is still to be run, trains, and writes how it ended. torch is imported last.
"""

import faulthandler
import os
import socket
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from launchers.atomic import make_folder, opened, read, write_first
from launchers.batch import Batch
from launchers.checked import parse_json, to_json
from launchers.process.environment import JOB_ENDS
from launchers.process.identity import RankIdentity, identify
from launchers.queue.sockets import make_room_for_sockets
from vit_sweep.job.guardian import Guardian, block_signals
from vit_sweep.job.heartbeat import IMPORTING
from vit_sweep.job.host_memory import limit_mib
from vit_sweep.job.rank_log import RankLog, now, say
from vit_sweep.outcome.ending import Cause, Claim, DeviceMemory, RankFile
from vit_sweep.outcome.failure import Interrupted, JobError, cause_of, lacking, reached_limit
from vit_sweep.outcome.policy import stopped_by
from vit_sweep.outcome.result import Status
from vit_sweep.plan.cell import CellFile
from vit_sweep.record.attempt import attempt_name
from vit_sweep.record.record import Record
from vit_sweep.study.code.snapshot import running_digest
from vit_sweep.study.reading import RecordProblem
from vit_sweep.study.store import Study

_LEAVE_S = 20


def main(arguments: list[str]) -> int:
    """Be one rank of one cell; returns the process's exit code."""
    begun = time.monotonic()
    block_signals()
    batch_folder = Path(arguments[0])
    batch = parse_json(Batch, read(batch_folder / "batch.json"), source="batch.json")
    identity = replace(identify(os.environ, host=socket.gethostname()), shares_job=batch.shared)
    task = batch.tasks[identity.task_index]
    # The study may have been moved since: its place is where the batch's folder is now.
    study = Study(batch_folder.absolute().parent.parent)
    cell_dir = study.cell_dir(task.name)
    name = attempt_name(task.attempt, identity.restart)
    attempt = cell_dir / "attempts" / name
    make_folder(attempt)
    owner = _claim(study, task.name, name, identity)
    if owner is not None:
        # Into the launcher's log: the attempt's own files are the other job's.
        say(f"mismatch: job {owner} already runs attempt {name} of {task.name}, so job {identity.job_id} ends")
        return 1
    _redirect(attempt / f"rank{identity.rank}.log")
    log = RankLog(attempt, _rank_file(identity))
    guardian = Guardian(
        log, ends=_ends(), memory_limit_mib=limit_mib(os.environ, local_world_size=identity.local_world_size)
    )
    try:
        log.begin()
        guardian.start()
        file = parse_json(CellFile, read(cell_dir / "cell.json"), source=f"{cell_dir}/cell.json")
        guardian.watch(hang_minutes=file.options.hang_minutes)
        if _is_done(study, file, task.attempt):
            say("an earlier start of this attempt finished the run and was then started again: nothing is left to do")
        else:
            code = _wanted_code(study, file)
            make_room_for_sockets()  # of the loader's workers
            guardian.starting(IMPORTING)
            from vit_sweep.job.train.imports.preload import train

            train(file, identity, cell_dir=cell_dir, attempt=attempt, begun=begun, code=code, guardian=guardian)
    except BaseException as error:
        _write_end(log, guardian, error)
        # Its end is written; what libraries do at exit may wait for ranks that are gone.
        try:
            faulthandler.dump_traceback_later(_LEAVE_S, exit=True)
        except RuntimeError:  # no thread can be started, and so nothing would end that wait
            os._exit(1)
        return 1
    log.end(guardian.end_of(Cause.DONE, ""), last=True)
    return 0


def _wanted_code(study: Study, file: CellFile) -> str:
    """The digest of the code that runs; raises `JobError` if the end of another cell makes this one needless."""
    code = running_digest()
    skipped = stopped_by(file.cell, code, study.stops())
    if skipped is not None:
        raise JobError(Cause.SKIPPED, skipped)
    return code


def _claim(study: Study, cell_id: str, attempt: str, identity: RankIdentity) -> str | None:
    """Take the attempt for this job, or say which job has it. Rank 0 takes it; others may come before it did."""
    path = study.cell_dir(cell_id) / "attempts" / attempt / "claim.json"
    if identity.rank == 0:
        write_first(path, to_json(Claim(job_id=identity.job_id)))
    owner = study.claim(cell_id, attempt)
    return owner if owner != identity.job_id else None


def _is_done(study: Study, file: CellFile, attempt: int) -> bool:
    """Whether this very attempt has left its record: Slurm starts a job again whose last lines did not run.

    Raises `JobError` where a record is there and cannot be read.
    """
    record = study.record(file)
    if isinstance(record, RecordProblem) and record.status is Status.UNREADABLE:
        raise JobError(Cause.STORAGE, record.text)
    return isinstance(record, Record) and record.attempt_number == attempt


def _rank_file(identity: RankIdentity) -> RankFile:
    return RankFile(
        rank=identity.rank,
        world_size=identity.world_size,
        host=identity.node_name,
        pid=os.getpid(),
        job_id=identity.job_id,
        started_at=now(),
    )


def _ends() -> float | None:
    """Unix time at which the time limit ends the job, as set by its launcher."""
    try:
        return float(os.environ[JOB_ENDS])
    except (KeyError, ValueError):
        return None


def _write_end(log: RankLog, guardian: Guardian, error: BaseException) -> None:
    """Write how the rank ended, in its file and for people in its log."""
    cause = cause_of(error)
    first_line = next(iter(str(error).strip().splitlines()), "")
    message = first_line if cause is not Cause.BUG and first_line else f"{type(error).__name__}: {first_line}"
    advice = (reached_limit(error) or lacking(error)) if cause is Cause.CONFIGURATION else None
    message = f"{message} – {advice}" if advice else message
    stop = error.request if isinstance(error, Interrupted) else guardian.stop_request
    if stop is not None and cause in (Cause.COMMUNICATION, Cause.TERMINATED):
        # Another rank was told to end too and was faster: what is seen of it is an echo.
        cause = stop.cause
        message = message if isinstance(error, Interrupted) else f"{stop.message}; then {message}"
    signal = stop.signal if stop is not None and cause is stop.cause else None
    is_expected = isinstance(error, Interrupted) or cause is Cause.SKIPPED
    text = None if is_expected else "".join(traceback.format_exception(error))
    end = guardian.end_of(cause, message, signal=signal, device_memory=_device_memory(cause), traceback=text)
    log.end(end, last=True)
    say(text or message)


def _device_memory(cause: Cause) -> DeviceMemory | None:
    """The GPU's memory, where that is what ran out."""
    if cause is not Cause.OUT_OF_MEMORY or "torch" not in sys.modules:
        return None
    from vit_sweep.job.train.machine.device_memory import device_memory

    return device_memory()


def _redirect(path: Path) -> None:
    """Send this process's output, C libraries' included, to its own log."""
    log = opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
