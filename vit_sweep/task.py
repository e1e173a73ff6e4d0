"""The job's first line: `python -m vit_sweep.task BATCH_FOLDER`, run by every rank. An edge.

It finds out which rank of which cell it is, sends its output to the attempt's folder, trains, and
writes how it ended.
"""

import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

from launchers.checked import parse_json, to_json
from launchers.job import Batch
from launchers.rank import RankIdentity, identify
from vit_sweep.cell import CellFile
from vit_sweep.failure import Interrupted, cause_of
from vit_sweep.files import write_first
from vit_sweep.record import Cause, Exit
from vit_sweep.store import attempt_name


def main(arguments: list[str]) -> int:
    """Be one rank of one cell; returns the process's exit code."""
    begun = time.monotonic()
    batch_folder = Path(arguments[0])
    batch = parse_json(Batch, (batch_folder / "batch.json").read_bytes(), what="batch.json")
    me = identify(os.environ, host=socket.gethostname())
    task = batch.tasks[me.task_index]
    # The study may have been moved since: its place is where the batch's folder is now.
    cell_dir = batch_folder.parent.parent / "cells" / task.name
    attempt = cell_dir / "attempts" / attempt_name(task.attempt, me.restart)
    attempt.mkdir(parents=True, exist_ok=True)
    _redirect(attempt / f"rank{me.rank}.log")
    for name in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(name, _interrupt)
    try:
        file = parse_json(CellFile, (cell_dir / "cell.json").read_bytes(), what=f"{cell_dir}/cell.json")
        from vit_sweep.train.run import train

        train(file, me, cell_dir=cell_dir, attempt=attempt, begun=begun)
    except BaseException as error:
        _write_exit(attempt, me, error)
        traceback.print_exc()
        return 1
    return 0


def _write_exit(attempt: Path, me: RankIdentity, error: BaseException) -> None:
    cause = cause_of(error)
    message = str(error).strip().splitlines()[0] if str(error).strip() else ""
    said = message if cause is not Cause.BUG else f"{type(error).__name__}: {message}"
    report = Exit(
        cause=cause,
        message=said,
        rank=me.rank,
        host=me.node_name,
        traceback="".join(traceback.format_exception(error)),
    )
    write_first(attempt / "exit.json", to_json(report))


def _redirect(path: Path) -> None:
    """Send this process's output, C libraries' included, to its own log."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(f"the scheduler sent {signal.Signals(number).name} (time limit, preemption or cancellation)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
