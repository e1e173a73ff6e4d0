"""The hostfile queue, with a stand-in for mpirun: one task at a time, locks of hosts, limits, cancellation, its end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from launchers.backend import Ended, Submission, TaskState
from launchers.batch import RUN_AGAIN
from launchers.hostfile.backend import HostfileLauncher
from launchers.queue.files import read_handle, read_states
from tests.conftest import ROOT, wait_for
from tests.unit.builders import put_programs
from tests.unit.launchers.hostfile.test_backend import rendered
from tests.unit.launchers.queue.queue_at import set_clock
from tests.unit.launchers.queue.queue_probe import notes

UNTIL_TOLD = """
trap "echo USR2 >> {0}/told" USR2
trap "echo TERM >> {0}/told; exit 1" TERM
echo $$ > {0}/ran
while :; do sleep 0.1; done
"""


def read(path):
    return path.read_text() if path.exists() else ""


@pytest.fixture
def queue(tmp_path):
    """Write a batch of two tasks on hosts a and b, and an `mpirun` for its job.sh; start the queue."""
    processes = []

    def start(mpirun, *, queue=("launchers.hostfile.queue",), orders=None, **changes):
        item = rendered(study_dir=str(tmp_path), **changes)
        folder = Path(item.batch.folder)
        folder.mkdir(parents=True)
        for name, text in item.files.items():
            (folder / name).write_text(text)
        (folder / "orders.json").write_text(json.dumps(orders or {}))
        put_programs(tmp_path / "bin", mpirun=mpirun)
        process = subprocess.Popen(
            [sys.executable, "-m", *queue, str(folder)],
            cwd=ROOT,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
        )
        processes.append(process)
        return process, folder

    yield start
    for process in processes:
        process.kill()  # which also tells its mpirun to end
        process.wait()


def submission(folder):
    return Submission(batch_name=folder.name, folder=str(folder), handle=wait_for(lambda: read_handle(folder)), tasks=2)


def test_tasks_run_one_after_the_other_and_a_failed_one_does_not_stop_the_queue(queue, tmp_path):
    process, folder = queue(
        f'mkdir {tmp_path}/alone || exit 9; rmdir {tmp_path}/alone; [ "$VIT_SWEEP_TASK_INDEX" = 1 ] || exit 4'
    )
    assert process.wait(timeout=300) == 0
    message = "mpirun ended with code 4: it said nothing"
    assert json.loads((folder / "states.json").read_text()) == {
        "0": {"state": "ended", "detail": message, "ended": "failed", "hosts": "a b"},
        "1": {"state": "ended", "detail": "", "ended": "completed", "hosts": "a b"},
    }


def test_a_task_waits_while_another_study_holds_one_of_its_hosts(queue, tmp_path):
    locks = tmp_path / f"vit_sweep-{os.getuid()}"
    locks.mkdir(mode=0o700)
    with FileLock(locks / "host-b.lock"):
        process, folder = queue(f"touch {tmp_path}/ran")
        wait_for(lambda: "another study" in read(folder / "states.json"))
        assert not (tmp_path / "ran").exists()
    assert process.wait(timeout=300) == 0
    assert (tmp_path / "ran").exists()


def test_a_task_starts_again_in_its_place_and_every_start_has_its_own_log(queue, tmp_path):
    process, folder = queue(
        'echo "$VIT_SWEEP_TASK_INDEX.$VIT_SWEEP_RESTART ends $VIT_SWEEP_JOB_ENDS"; [ "$VIT_SWEEP_RESTART" != 0 ]',
        closing="tests.unit.launchers.queue.queue_probe",
        orders={"0": "fail", "1": "fail", "closing": RUN_AGAIN},
    )
    assert process.wait(timeout=300) == 0
    closings = [(n["VIT_SWEEP_TASK_INDEX"], n["VIT_SWEEP_JOB_ID"], n["code"]) for n in notes(folder)]
    assert closings == [(str(i), f"hostfile-{process.pid}-{i}", 1) for i in range(2)]
    logs = {path.name: path.read_text().split(" ")[0] for path in folder.glob("mpirun-*.log")}
    assert logs == {"mpirun-0.log": "0.0", "mpirun-0.1.log": "0.1", "mpirun-1.log": "1.0", "mpirun-1.1.log": "1.1"}
    begun = sorted(folder.glob("mpirun-*.log"), key=lambda path: path.stat().st_mtime_ns)
    assert [path.name for path in begun] == ["mpirun-0.log", "mpirun-0.1.log", "mpirun-1.log", "mpirun-1.1.log"]
    assert int((folder / "mpirun-0.log").read_text().split()[-1]) > time.time()
    assert {status.ended for status in read_states(folder).values()} == {Ended.COMPLETED}


def test_mpirun_is_warned_and_then_told_to_end_at_the_time_limit(queue, tmp_path):
    process, folder = queue(
        f'[ "$VIT_SWEEP_TASK_INDEX" = 0 ] || exit 0; {UNTIL_TOLD.format(tmp_path)}',
        queue=("tests.unit.launchers.queue.queue_at", "launchers.hostfile.queue"),
    )
    wait_for((tmp_path / "ran").exists)
    set_clock(folder, 59 * 60)
    wait_for(lambda: read(tmp_path / "told") == "USR2\n")
    set_clock(folder, 61 * 60)
    assert process.wait(timeout=300) == 0
    assert read(tmp_path / "told").split() == ["USR2", "TERM"]
    states = read_states(folder)
    assert (states[0].ended, states[0].detail) == (Ended.TIME_LIMIT, "its time limit of 60 min was over")
    assert states[1].ended is Ended.COMPLETED


def test_a_cancelled_task_ends_its_mpirun_and_the_next_one_runs(queue, tmp_path):
    process, folder = queue(f'[ "$VIT_SWEEP_TASK_INDEX" = 0 ] || exit 0; {UNTIL_TOLD.format(tmp_path)}')
    wait_for((tmp_path / "ran").exists)
    HostfileLauncher().cancel([(submission(folder), [0])])
    assert process.wait(timeout=300) == 0
    assert read(tmp_path / "told").split() == ["TERM"]
    assert [read_states(folder)[i].ended for i in range(2)] == [Ended.CANCELLED, Ended.COMPLETED]


def test_a_queue_that_is_told_to_end_ends_mpirun_and_says_so(queue, tmp_path):
    process, folder = queue(UNTIL_TOLD.format(tmp_path))
    wait_for((tmp_path / "ran").exists)
    process.terminate()
    assert process.wait(timeout=300) == 0
    assert read(tmp_path / "told").split() == ["TERM"]
    assert {(task.ended, task.detail) for task in read_states(folder).values()} == {(Ended.CANCELLED, "cancelled")}


def test_mpirun_does_not_outlive_a_queue_that_was_killed(queue, tmp_path):
    process, folder = queue(UNTIL_TOLD.format(tmp_path))
    wait_for(lambda: read(tmp_path / "ran").endswith("\n"))
    wait_for(lambda: read_states(folder)[0].state is TaskState.RUNNING)
    sent = submission(folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not Path(f"/proc/{read(tmp_path / 'ran').strip()}").exists())
    assert read(tmp_path / "told").split() == ["TERM"]
    states = HostfileLauncher().states([sent])
    assert {(s.state, s.ended, s.detail) for s in states.values()} == {
        (TaskState.ENDED, Ended.UNREPORTED, "the hostfile queue is gone")
    }
    assert states[folder.name, 0].hosts == "a b"
