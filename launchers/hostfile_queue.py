"""The hostfile queue: `python -m launchers.hostfile_queue BATCH_FOLDER...` works batches off over their hosts.

It runs apart from the client, on the control host, one task at a time. A task starts when all of its hosts
are free of this user's other studies: a lock for each host, on this machine.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from urllib.parse import quote

from launchers.backend import TaskState, TaskStatus
from launchers.checked import parse_json
from launchers.hostfile import hosts_of
from launchers.job import Batch
from launchers.queue_states import write_states
from launchers.slots import Slots, slot_folder

_CANCEL_GRACE_S = 20.0
"""How long mpirun may take to end its ranks: more than it grants them, less than a client waits."""

States = dict[int, TaskStatus]


class _Stopped(Exception):  # noqa: N818 - it is no error
    """SIGTERM arrived."""


def main(folders: list[str]) -> int:
    """Work off the batches in `folders`, widest first; returns 0 once every task has ended, however it ended."""
    signal.signal(signal.SIGTERM, _on_term)
    batches = [parse_json(Batch, (Path(f) / "batch.json").read_bytes(), what=f) for f in folders]
    states = {
        batch.folder: {i: TaskStatus(state=TaskState.QUEUED) for i in range(len(batch.tasks))} for batch in batches
    }
    for batch in batches:
        write_states(Path(batch.folder), states[batch.folder])
    try:
        for batch in sorted(batches, key=lambda b: -b.shape.gpus):
            slots = Slots([f"host-{quote(host.name, safe='')}" for host in hosts_of(batch)], slot_folder())
            for index in range(len(batch.tasks)):
                _run_when_free(batch, index, slots, states[batch.folder])
    except _Stopped:
        for batch in batches:
            mine = states[batch.folder]
            for index, said in mine.items():
                if said.state is not TaskState.ENDED:
                    mine[index] = TaskStatus(state=TaskState.ENDED, detail="cancelled")
            write_states(Path(batch.folder), mine)
    return 0


def _run_when_free(batch: Batch, index: int, slots: Slots, states: States) -> None:
    """Wait for the hosts, run one task, note how it ended."""
    while (taken := slots.take(len(slots))) is None:
        waiting = TaskStatus(state=TaskState.QUEUED, detail="its hosts are taken by another study")
        if states[index] != waiting:
            states[index] = waiting
            write_states(Path(batch.folder), states)
        time.sleep(0.5)
    try:
        states[index] = TaskStatus(state=TaskState.RUNNING, detail=" ".join(host.name for host in hosts_of(batch)))
        write_states(Path(batch.folder), states)
        states[index] = TaskStatus(state=TaskState.ENDED, detail=_run(batch, index))
        write_states(Path(batch.folder), states)
    finally:
        slots.give_back(taken)


def _run(batch: Batch, index: int) -> str:
    """Run the task's script; returns how it ended, empty when well."""
    folder = Path(batch.folder)
    for stale in folder.glob(f"ended/{index}-*"):
        stale.unlink()
    log = folder / f"mpirun-{index}.log"
    environment = os.environ | {"VIT_SWEEP_JOB_ID": f"hostfile-{os.getpid()}-{index}"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", str(folder / "job.sh"), str(index)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=batch.study_dir,
            env=environment,
        )
        try:
            code = process.wait()
        except _Stopped:
            _end(process)
            raise
    return how_it_ended(code, _codes(folder, index), log.read_text(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End mpirun; it ends its ranks, and the daemons on the hosts end theirs when it is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process.terminate()
    try:
        process.wait(timeout=_CANCEL_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _codes(folder: Path, index: int) -> dict[int, int]:
    """Exit codes of the ranks that ended badly, as their wrappers noted them."""
    codes: dict[int, int] = {}
    for path in folder.glob(f"ended/{index}-*"):
        text = path.read_text().strip()
        if text.isdigit():
            codes[int(path.name.split("-")[1])] = int(text)
    return codes


def how_it_ended(code: int, ranks: dict[int, int], output: str) -> str:
    """Say how a task ended: the ranks that died of a signal first, they are the cause, not the echo.

    `ranks` are shell exit codes (128 + signal); without one, mpirun's own first words stand in.
    """
    died = [f"rank {r} died of signal {_signal(c - 128)}" for r, c in sorted(ranks.items()) if c > 128]
    failed = [f"rank {r} ended with code {c}" for r, c in sorted(ranks.items()) if c <= 128]
    if code == 0 or died or failed:
        return "; ".join(died or failed)
    words = [line.strip() for line in output.splitlines() if line.strip(" -")]
    return f"mpirun ended with code {code}: {words[0] if words else 'it said nothing'}"


def _signal(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)


def _on_term(_signal: int, _frame: FrameType | None) -> None:
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
