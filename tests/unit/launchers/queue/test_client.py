"""Starting one of our queues: whenever the client is killed, there is exactly one queue in the end, and it is found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from launchers.backend import Ended, Rendered, Submission, SubmitError, SubmitProblem, TaskState, Unconfirmed
from launchers.batch import Shape, Task
from launchers.checked import to_json
from launchers.local.backend import LocalLauncher
from launchers.queue.client import start_queue
from launchers.queue.files import read_handle, read_states, write_handle
from launchers.queue.handle import handle_of, no_process, process_of
from launchers.submission_lock import under_way
from tests.conftest import ROOT, wait_for
from tests.unit.builders import batch
from tests.unit.launchers.local.queue_run import cores
from tests.unit.launchers.queue.queue_probe import notes

POINTS = ("before", "locked", "forked", "started", "yielded")


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two written batches of one task that waits to be told to end; queues that are left over are ended."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # locks of cores of its own
    rendered = []
    for number in range(2):
        item = batch(
            study_dir=str(tmp_path),
            profile=cores(),
            shape=Shape(nodes=1, gpus_per_node=1, minutes=5),
            tasks=(Task(name=f"c{number}", attempt=1),),
            module="tests.unit.launchers.queue.queue_probe",
        )
        Path(item.folder).mkdir(parents=True)
        Path(item.folder, "batch.json").write_text(to_json(item))
        Path(item.folder, "orders.json").write_text(json.dumps({"0": "wait"}))
        rendered.append(item)
    yield rendered
    for process in queues_of(tmp_path):
        process.terminate()
    # Not by waiting for the processes: whoever adopts an orphan may never take its exit code, and it stays a zombie.
    wait_for(lambda: not queues_of(tmp_path))


def queues_of(folder):
    """Living queue processes whose batches lie in `folder`."""
    queues = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "launchers.local.queue" in words and any(str(folder) in argument for argument in words):
            queues.append(process)
    return queues


def doubts(batches):
    return [Unconfirmed(batch_name=b.name, folder=b.folder, study=b.study, tasks=len(b.tasks)) for b in batches]


def submit(batches):
    return list(LocalLauncher().submit([Rendered(batch=b, files={}, script="job.sh") for b in batches]))


@pytest.mark.parametrize("point", POINTS)
def test_whenever_a_client_is_killed_the_next_one_finds_the_one_queue_or_may_start_it(point, two, tmp_path):
    client = [sys.executable, "-m", "tests.unit.launchers.queue.queue_client", point, *(b.folder for b in two)]
    assert subprocess.run(client, cwd=ROOT, timeout=300).returncode == -9
    submitted = LocalLauncher().find(doubts(two))
    assert submitted.keys() == {b.name for b in two}
    if point in ("before", "locked"):
        assert set(submitted.values()) == {None}
        submitted = {s.batch_name: s for s in submit(two)}
    (queue,) = queues_of(tmp_path)
    assert {process_of(s.handle).pid for s in submitted.values()} == {queue.pid}
    wait_for(lambda: notes(two[0].folder) or notes(two[1].folder))
    LocalLauncher().cancel([(s, None) for s in submitted.values()])
    wait_for(lambda: not queues_of(tmp_path))
    assert {read_states(Path(b.folder))[0].ended for b in two} == {Ended.CANCELLED}
    for b in two:
        assert [note["what"] for note in notes(b.folder)].count("begun") <= 1, (
            "cancelled before it began, or begun once"
        )


def test_the_client_and_its_queue_name_the_queue_alike(two):
    submissions = submit(two)
    handles = [wait_for(lambda b=b: read_handle(Path(b.folder))) for b in two]
    assert handles == [s.handle for s in submissions]
    assert [s.folder for s in submissions] == [b.folder for b in two]


def test_a_process_that_ends_while_its_birth_is_read_is_gone(monkeypatch):
    with subprocess.Popen(["sleep", "60"]) as process:
        handle = handle_of(process.pid)
        process.kill()

    def gone(path):
        # What reading says where the process went away after its file was opened.
        raise ProcessLookupError(3, "No such process", str(path))

    monkeypatch.setattr(Path, "read_text", gone)
    monkeypatch.setattr(psutil, "Process", Ghost)
    assert process_of(handle) is None


class Ghost:
    """A process as psutil has it after its end."""

    def __init__(self, pid):
        self.pid = pid

    def create_time(self):
        raise psutil.NoSuchProcess(self.pid)


def test_a_batch_that_a_living_queue_has_is_never_given_to_a_second_one(two):
    submit(two[:1])
    wait_for(lambda: read_handle(Path(two[0].folder)))
    with pytest.raises(SubmitError, match="works on this batch already") as refused:
        submit(two)
    assert refused.value.problem is SubmitProblem.BUSY, "looking it up finds it"


def test_a_batch_that_another_client_is_submitting_is_left_to_that_client(two, monkeypatch):
    monkeypatch.setattr("launchers.queue.client._FIND_S", 0.2)
    with under_way(Path(two[0].folder)), pytest.raises(SubmitError, match="another client submits this batch"):
        submit(two)


def test_what_an_earlier_queue_of_the_same_folder_said_is_forgotten(two):
    folder = Path(two[0].folder)
    (folder / "queue.json").write_text(json.dumps({"handle": no_process()}))
    (folder / "states.json").write_text('{"0": {"state": "ended", "detail": "long ago"}}')
    (folder / "cancel").mkdir()
    (folder / "cancel/0").touch()
    (submission,) = submit(two[:1])
    wait_for(lambda: read_states(folder).get(0) and read_states(folder)[0].state is TaskState.RUNNING)
    assert read_handle(folder) == submission.handle


# --- doubts without a process -------------------------------------------------------------------------


def unconfirmed(folder):
    return [Unconfirmed(batch_name="b", folder=str(folder), study="s", tasks=2)]


def test_a_folder_without_a_word_was_never_submitted(tmp_path):
    assert LocalLauncher().find(unconfirmed(tmp_path)) == {"b": None}
    assert LocalLauncher().find(unconfirmed(tmp_path / "never made")) == {"b": None}


def test_of_a_submission_that_stays_under_way_nothing_is_said(tmp_path):
    with under_way(tmp_path):
        assert LocalLauncher().find(unconfirmed(tmp_path), wait_s=0.3) == {}
        write_handle([tmp_path])
        assert LocalLauncher().find(unconfirmed(tmp_path), wait_s=0.3)["b"].handle == read_handle(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *("", '{"hand', "[]", '{"handle": 3}', '{"handle": "words"}', '{"handle": null}'),
        # They would be lines of the journal, and words of advice: `kill -1`.
        *('{"handle": "h/-1/1"}', '{"handle": "h/5/a\\nb"}', '{"handle": "a b/5/1"}', '{"handle": "--me"}'),
    ],
)
def test_a_damaged_queue_file_means_a_queue_that_was_there_and_is_gone(tmp_path, text):
    (tmp_path / "queue.json").write_text(text)
    submitted = LocalLauncher().find(unconfirmed(tmp_path))["b"]
    assert isinstance(submitted, Submission)
    states = LocalLauncher().states([submitted])
    assert {(s.state, s.ended) for s in states.values()} == {(TaskState.ENDED, Ended.UNREPORTED)}
    with under_way(tmp_path):
        assert LocalLauncher().find(unconfirmed(tmp_path), wait_s=0.3) == {}, "while it may live, nothing is said"


def test_a_lost_queue_file_does_not_hide_that_a_queue_had_begun(tmp_path):
    (tmp_path / "states.json").write_text('{"0": {"state": "ended", "detail": "", "ended": "completed", "hosts": ""}}')
    submitted = LocalLauncher().find(unconfirmed(tmp_path))["b"]
    assert LocalLauncher().states([submitted])["b", 0].ended is Ended.COMPLETED


# --- what the queue inherits --------------------------------------------------------------------------


def test_a_queue_that_never_came_up_leaves_no_word_of_an_earlier_one(two):
    folder = Path(two[0].folder)
    write_handle([folder])
    handle = read_handle(folder)
    (folder / "queue.json").write_text(json.dumps({"handle": handle.rsplit("/", 1)[0] + "/1"}))
    (_,) = start_queue([Rendered(batch=two[0], files={}, script="job.sh")], ["false"], name="the queue")
    assert LocalLauncher().find(doubts(two[:1])) == {two[0].name: None}


def test_the_queue_holds_the_locks_as_long_as_it_lives_and_runs_the_batchs_code(tmp_path):
    item = batch(study_dir=str(tmp_path), code="/snapshots/1")
    Path(item.folder).mkdir(parents=True)
    go = tmp_path / "go"
    os.mkfifo(go)
    (tmp_path / "json.py").write_text("raise SystemExit('a module that lies in the study was imported')")
    script = f"import os, json; print('path', os.environ['PYTHONPATH'], flush=True); open({str(go)!r}).read()"
    rendered = [Rendered(batch=item, files={}, script="job.sh")]
    (submission,) = start_queue(rendered, [sys.executable, "-c", script], name="the queue")
    assert LocalLauncher().find(doubts([item]), wait_s=0.2) == {}, "it lives and has said nothing"
    go.write_text("")
    wait_for(lambda: LocalLauncher().find(doubts([item]), wait_s=0.0) == {item.name: None})
    assert "path /snapshots/1" in Path(item.folder, "queue.log").read_text()
    assert process_of(submission.handle) is None
