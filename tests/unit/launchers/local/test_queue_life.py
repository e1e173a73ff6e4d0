"""The local queue for real, with ranks that train nothing: restarts, limits, cancellation, and its own end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from launchers.backend import Ended, Submission, TaskState
from launchers.batch import RUN_AGAIN, Shape, Task
from launchers.checked import to_json
from launchers.errors import UserError
from launchers.local.backend import LocalLauncher
from launchers.queue.files import read_handle, read_states
from launchers.queue.handle import handle_of, no_process, process_of
from tests.conftest import ROOT, wait_for
from tests.unit.builders import batch
from tests.unit.launchers.local.queue_run import cores
from tests.unit.launchers.queue.queue_at import set_clock
from tests.unit.launchers.queue.queue_probe import notes

QUEUE = "import sys; from launchers.local.queue import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def queue(tmp_path):
    """Write batches of the probe and start one queue for them; what is left of it is killed in the end."""
    processes = []

    def start(
        *orders,
        queue=("-c", QUEUE),
        closing=None,
        ranks=1,
        PYTHONPATH="",  # noqa: N803
        TMPDIR=str(tmp_path),  # noqa: N803
        closing_module="",
        **changes,
    ):
        folders = []
        for number, words in enumerate(orders):
            this_batch = batch(
                study_dir=str(tmp_path / str(number)),
                profile=cores(),
                shape=Shape(nodes=1, gpus_per_node=ranks, minutes=1),
                tasks=tuple(Task(name=f"c{number}-{i}", attempt=1) for i in range(len(words))),
                **{
                    "module": "tests.unit.launchers.queue.queue_probe",
                    "closing": closing_module or "tests.unit.launchers.queue.queue_probe",
                }
                | changes,
            )
            folder = Path(this_batch.folder)
            folder.mkdir(parents=True)
            (folder / "batch.json").write_text(to_json(this_batch))
            (folder / "orders.json").write_text(json.dumps(dict(enumerate(words)) | {"closing": closing or 0}))
            folders.append(folder)
        process = subprocess.Popen(
            [sys.executable, *queue, *map(str, folders)],
            env=os.environ | {"PYTHONPATH": f"{PYTHONPATH}:{ROOT}", "TMPDIR": TMPDIR},
            cwd=ROOT,
        )
        processes.append(process)
        return process, folders

    yield start
    for process in processes:
        process.kill()
        process.wait()
    for path in tmp_path.rglob("notes.jsonl"):
        for note in notes(path.parent):
            if note["what"] == "begun" and is_rank(note["pid"]):
                os.kill(note["pid"], signal.SIGKILL)


def is_rank(pid):
    """Whether a process noted by a rank still lives (and its number was not given to another)."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "multiprocessing" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def began(folder):
    return [note for note in notes(folder) if note["what"] == "begun"]


def heard(folder):
    return [note["what"] for note in notes(folder) if note["what"].startswith("SIG")]


def submission(folder, tasks):
    return Submission(batch_name=folder.name, folder=str(folder), handle=read_handle(folder), tasks=tasks)


# --- once more ----------------------------------------------------------------------------------------


def test_a_task_is_started_again_when_its_closing_module_says_so_and_keeps_its_place(queue):
    process, (folder,) = queue(["fail_once", "done", "done"], closing=RUN_AGAIN, parallel=1)
    assert process.wait(timeout=300) == 0
    assert [(n["VIT_SWEEP_TASK_INDEX"], n["VIT_SWEEP_RESTART"]) for n in began(folder)] == [
        ("0", "0"),
        ("0", "1"),
        ("1", "0"),
        ("2", "0"),
    ]
    assert {n["VIT_SWEEP_JOB_ID"] for n in began(folder)} == {f"local-{process.pid}-{i}" for i in range(3)}
    (closing,) = [note for note in notes(folder) if note["what"] == "closing"]
    assert (closing["code"], closing["RANK"], closing["VIT_SWEEP_RESTART"]) == (3, None, "0")
    assert {status.ended for status in read_states(folder).values()} == {Ended.COMPLETED}


def test_a_rank_that_died_of_a_signal_gives_the_code_to_its_closing_module(queue):
    process, (folder,) = queue(["die"])
    assert process.wait(timeout=300) == 0
    assert [note["code"] for note in notes(folder) if note["what"] == "closing"] == [137]
    assert read_states(folder)[0].detail == "rank 0 died of signal SIGKILL"


def test_no_more_tasks_of_a_batch_run_at_once_than_it_may(queue):
    process, (folder,) = queue(["linger"] * 4, parallel=1)
    assert process.wait(timeout=300) == 0
    assert [note["what"] for note in notes(folder)] == ["begun", "ended"] * 4


# --- code ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preload", [(), ("queue_snapped",)])
def test_ranks_and_closing_modules_run_the_batchs_code_and_not_what_lies_on_the_path(queue, tmp_path, preload):
    for name in ("checkout", "snapshot"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "queue_snapped.py").write_text(
            "import os, sys\n"
            "def main(arguments):\n"
            f"    os.close(os.open(os.path.join(arguments[0], '{name}' + str(len(arguments))), os.O_CREAT))\n"
            "    return 2 - len(arguments) or 3\n"
            "if __name__ == '__main__':\n"
            "    sys.exit(main(sys.argv[1:]))\n"
        )
    process, (folder,) = queue(
        ["any"],
        PYTHONPATH=str(tmp_path / "checkout"),
        module="queue_snapped",
        closing_module="queue_snapped",
        code=str(tmp_path / "snapshot"),
        preload=preload,
    )
    assert process.wait(timeout=300) == 0
    assert {path.name for path in folder.glob("*t[12]")} == {"snapshot1", "snapshot2"}


# --- the time limit -----------------------------------------------------------------------------------


def test_ranks_are_warned_and_then_ended_at_their_time_limit_which_they_know(queue):
    before = int(time.time())
    process, (folder,) = queue(["wait"], queue=("-m", "tests.unit.launchers.queue.queue_at", "launchers.local.queue"))
    (rank,) = wait_for(lambda: began(folder))
    assert before + 60 <= int(rank["VIT_SWEEP_JOB_ENDS"]) <= rank["at"] + 60
    set_clock(folder, 31)
    wait_for(lambda: heard(folder) == ["SIGUSR2"])
    set_clock(folder, 61)
    assert process.wait(timeout=300) == 0
    assert heard(folder) == ["SIGUSR2", "SIGTERM"]
    status = read_states(folder)[0]
    assert (status.ended, status.detail) == (Ended.TIME_LIMIT, "its time limit of 1 min was over")


# --- cancellation -------------------------------------------------------------------------------------


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two tasks must run side by side")
def test_cancelling_tasks_leaves_the_queues_other_tasks_and_batches_alone(queue):
    process, (first, other) = queue(["wait", "done", "done"], ["wait"], closing=RUN_AGAIN)
    wait_for(lambda: began(first) and began(other))
    LocalLauncher().cancel([(submission(first, 3), [0])])
    assert read_states(first)[0].ended is Ended.CANCELLED
    assert [n["VIT_SWEEP_TASK_INDEX"] for n in notes(first) if n["what"] == "closing"] == ["0"], "its verdict is wanted"
    assert process.poll() is None
    assert read_states(other)[0].state is TaskState.RUNNING
    wait_for(lambda: read_states(first)[2].ended)
    assert [read_states(first)[i].ended for i in (1, 2)] == [Ended.COMPLETED] * 2
    LocalLauncher().cancel([(submission(other, 1), None)])
    assert process.wait(timeout=300) == 0
    assert len(began(first)) == 3, "75 of a cancelled task's closing module means nothing"


def test_a_rank_may_block_signals_and_take_them_where_it_likes(queue):
    process, (folder,) = queue(["take"])
    wait_for(lambda: began(folder))
    LocalLauncher().cancel([(submission(folder, 1), None)])
    assert process.wait(timeout=300) == 0
    assert [note["code"] for note in notes(folder) if note["what"] == "closing"] == [1], (
        "it was not ended by the signal"
    )


def test_a_queue_hears_its_clients_while_it_imports_what_its_ranks_need(queue, tmp_path):
    (tmp_path / "path").mkdir()
    os.mkfifo(tmp_path / "imports")
    (tmp_path / "path/queue_slow_import.py").write_text(f"open({str(tmp_path / 'imports')!r}).read()\n")
    process, (folder,) = queue(["done", "done"], PYTHONPATH=str(tmp_path / "path"), preload=("queue_slow_import",))
    wait_for(lambda: len(read_states(folder)) == 2)
    try:
        LocalLauncher().cancel([(submission(folder, 2), [0])], wait_s=300)
        assert [read_states(folder)[i].ended for i in range(2)] == [Ended.CANCELLED, None]
    finally:
        (tmp_path / "imports").write_text("")
    assert process.wait(timeout=300) == 0
    assert [note["VIT_SWEEP_TASK_INDEX"] for note in began(folder)] == ["1"]


def test_a_temporary_folder_with_a_long_name_keeps_no_rank_from_starting(queue, tmp_path):
    """Sockets have short paths only."""
    (tmp_path / ("t" * 120)).mkdir()
    process, (folder,) = queue(["done"], TMPDIR=str(tmp_path / ("t" * 120)))
    assert process.wait(timeout=300) == 0
    assert len(began(folder)) == 1


def test_tasks_whose_ranks_cannot_be_started_end_with_the_reason(queue, tmp_path):
    (tmp_path / "path").mkdir()
    (tmp_path / "path/queue_no_import.py").write_text("raise RuntimeError('no')\n")
    process, (folder,) = queue(["done", "done"], PYTHONPATH=str(tmp_path / "path"), preload=("queue_no_import",))
    assert process.wait(timeout=300) == 0
    assert not began(folder)
    for status in read_states(folder).values():
        assert status.ended is Ended.FAILED
        assert "it could not be started: the server that forks ranks does not answer" in status.detail


def test_sigterm_ends_everything_of_a_queue(queue):
    process, (folder,) = queue(["wait"] * 3, parallel=1)
    wait_for(lambda: began(folder))
    process.terminate()
    assert process.wait(timeout=300) == 0
    assert {(s.ended, s.detail) for s in read_states(folder).values()} == {(Ended.CANCELLED, "cancelled")}
    assert len(began(folder)) == 1


def test_cancelling_what_a_dead_queue_left_behind_is_no_error(tmp_path):
    gone = Submission(batch_name="b", folder=str(tmp_path), handle=no_process(), tasks=2)
    LocalLauncher().cancel([(gone, None)])
    assert not (tmp_path / "cancel").exists()


def test_a_queue_that_does_not_answer_is_named_with_what_to_do(tmp_path):
    deaf = Submission(batch_name="b", folder=str(tmp_path), handle=handle_of(os.getpid()), tasks=2)
    with pytest.raises(UserError, match=rf"process {os.getpid()} on .* task 1 of b within 0 s .* kill"):
        LocalLauncher().cancel([(deaf, [1])], wait_s=0.2)


# --- the queue's own end ------------------------------------------------------------------------------


def test_ranks_do_not_outlive_a_queue_that_was_killed_and_their_end_is_unsaid(queue):
    process, (folder,) = queue(["wait", "done"], ranks=2)
    wait_for(lambda: len(began(folder)) == 2)
    sent = submission(folder, 2)
    process.kill()
    process.wait()
    wait_for(lambda: not any(is_rank(note["pid"]) for note in began(folder)))
    assert [n["what"] for n in notes(folder)].count("SIGTERM") == 2, "each could write its checkpoint"
    for status in LocalLauncher().states([sent]).values():
        assert (status.state, status.ended) == (TaskState.ENDED, Ended.UNREPORTED)
        assert status.detail == "the local queue is gone"


def test_a_queue_lives_on_while_its_disk_is_full_and_speaks_when_there_is_room(queue):
    process, (folder,) = queue(["wait"])
    wait_for(lambda: began(folder) and read_states(folder)[0].state is TaskState.RUNNING)
    (folder / "states.json").unlink()
    (folder / "states.json").mkdir()  # as on a full disk, the queue cannot replace it
    (folder / "cancel").mkdir(exist_ok=True)
    (folder / "cancel/0").touch()
    wait_for(lambda: [n for n in notes(folder) if n["what"] == "closing"])
    room = threading.Timer(1.0, (folder / "states.json").rmdir)
    room.start()
    assert process.wait(timeout=300) == 0
    room.join()
    assert read_states(folder)[0].ended is Ended.CANCELLED


FULL_DISK = """
import errno, sys
from pathlib import Path
from launchers.queue import loop

write, folder = loop.write_handle, Path(sys.argv[1])

def on_full_disk(folders):
    if not (folder / "room").exists():
        (folder / "tried").touch()
        raise OSError(errno.ENOSPC, "No space left on device")
    write(folders)

loop.write_handle = on_full_disk
"""


def test_a_queue_whose_disk_is_full_when_it_starts_waits_for_room(queue):
    process, (folder,) = queue(["done"], queue=("-c", FULL_DISK + QUEUE))
    wait_for((folder / "tried").exists)
    (folder / "tried").unlink()
    wait_for((folder / "tried").exists)
    (folder / "room").touch()
    assert process.wait(timeout=300) == 0
    assert read_states(folder)[0].ended is Ended.COMPLETED


# --- states and handles -------------------------------------------------------------------------------


def test_states_and_handles_of_earlier_versions_are_still_read(tmp_path):
    (tmp_path / "states.json").write_text(
        '{"0": {"state": "running", "detail": ""}, "1": {"state": "ended", "detail": "x"}}'
    )
    born = psutil.Process().create_time()
    host = no_process().split("/")[0]
    old = Submission(batch_name="b", folder=str(tmp_path), handle=f"{host}/{os.getpid()}/{born:.2f}|/a/b", tasks=2)
    states = LocalLauncher().states([old])
    assert states["b", 0].state is TaskState.RUNNING
    assert (states["b", 1].state, states["b", 1].ended) == (TaskState.ENDED, None)


def test_a_process_with_the_number_of_a_dead_queue_is_not_that_queue():
    handle = handle_of(os.getpid())
    assert process_of(handle).pid == os.getpid()
    assert process_of(handle.rsplit("/", 1)[0] + "/1") is None
    assert process_of("elsewhere/" + handle.split("/", 1)[1]) is None


def test_of_a_queue_on_another_host_nothing_is_known_but_what_it_wrote(tmp_path):
    (tmp_path / "states.json").write_text('{"1": {"state": "ended", "detail": "", "ended": "completed", "hosts": "h"}}')
    sent = Submission(batch_name="b", folder=str(tmp_path), handle="elsewhere/1/2", tasks=2)
    states = LocalLauncher().states([sent])
    assert (states["b", 0].state, states["b", 0].detail) == (TaskState.UNKNOWN, "its queue is on elsewhere")
    assert states["b", 1].ended is Ended.COMPLETED
