"""The local queue never lets two cells share a core, and ends whatever happens."""

import itertools
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from launchers.batch import Batch, Shape, Task
from launchers.checked import to_json
from launchers.local.queue import _Machine, _Ranks
from launchers.queue.slots import Slots
from launchers.queue.task import QueueTask, begin
from tests.unit.launchers.local.queue_run import cores, work_off

CORES = len(os.sched_getaffinity(0))


def noted(tmp_path, ranks_of_batches, exclusive=False, tasks=3, **environment):
    """Run one queue over batches of the probe; returns the notes by batch and task."""
    folders = []
    for number, ranks in enumerate(ranks_of_batches):
        batch = Batch(
            study="s",
            study_dir=str(tmp_path / str(number)),
            profile=cores(exclusive=exclusive, **environment),
            shape=Shape(nodes=1, gpus_per_node=ranks, minutes=1),
            tasks=tuple(Task(name=f"c{i}", attempt=1) for i in range(tasks)),
            module="tests.unit.launchers.local.local_probe",
        )
        Path(batch.folder).mkdir(parents=True)
        Path(batch.folder, "batch.json").write_text(to_json(batch))
        folders.append(batch.folder)
    work_off(tmp_path, *folders)
    notes = [json.loads(p.read_text()) for p in tmp_path.rglob("note-*.json")]
    states = {f: json.loads(Path(f, "states.json").read_text()) for f in folders}
    return notes, states


def overlapping(notes):
    pairs = itertools.combinations(notes, 2)
    return [(a, b) for a, b in pairs if a["begun"] < b["ended"] and b["begun"] < a["ended"]]


@pytest.mark.skipif(CORES < 2, reason="one core cannot be shared out")
def test_no_core_is_ever_used_by_two_ranks_at_once(tmp_path):
    (tmp_path / "meet").mkdir()
    notes, _ = noted(tmp_path, [1, 2, 1], MEET_IN=str(tmp_path / "meet"))
    assert len(notes) == 3 + 6 + 3
    assert any(first["world"] == other["world"] == 1 for first, other in overlapping(notes)), (
        "no cells ran side by side"
    )
    for first, other in overlapping(notes):
        assert not set(first["cores"]) & set(other["cores"])


def test_an_exclusive_profile_runs_one_cell_at_a_time(tmp_path):
    notes, _ = noted(tmp_path, [1, 1], exclusive=True)
    assert len(notes) == 6
    assert overlapping(notes) == []


def test_more_ranks_than_cores_run_alone_and_unpinned(tmp_path):
    notes, _ = noted(tmp_path, [CORES + 1, 1], tasks=1)
    crowd = [note for note in notes if note["world"] == CORES + 1]
    assert len(crowd) == CORES + 1
    assert all(len(note["cores"]) == CORES for note in crowd)
    assert not any(first["world"] != other["world"] for first, other in overlapping(notes))


@pytest.mark.parametrize("can_fork", [True, False])
def test_a_task_that_waits_for_another_studys_cores_says_whose_they_are_and_since_when(tmp_path, capsys, can_fork):
    """Where clients look, and once in the queue's log; not only once the server that forks has its imports done."""
    names = ["core-0", "core-1"]
    waiting, neighbour = Slots(names, tmp_path), Slots(names, tmp_path)
    slots_taken = neighbour.take(2, "study /theirs (process 7) since 2026-01-01T00:00:00+00:00")
    machine = _Machine.__new__(_Machine)
    machine._slots, machine._can_fork = waiting, threading.Event()
    if can_fork:
        machine._can_fork.set()
    own = Batch(
        study="s",
        study_dir=str(tmp_path),
        profile=cores(),
        shape=Shape(nodes=1, gpus_per_node=2, minutes=1),
        tasks=(Task(name="c", attempt=1),),
        module="tests.unit.launchers.local.local_probe",
    )
    task = QueueTask(batch=own, folder=tmp_path, index=0, limit_s=60.0)
    assert [begin(task, machine.start_ranks, "local-1", 0.0) for _ in range(3)] == [True, False, False]
    sentence = "waits for cores of study /theirs (process 7) since 2026-01-01T00:00:00+00:00"
    assert task.status.detail == sentence
    assert capsys.readouterr().err.count(sentence) == 1
    neighbour.release(slots_taken)
    assert waiting.take(2) == names


def test_a_failed_rank_is_named_and_the_queue_goes_on(tmp_path, monkeypatch):
    """What its ranks are told comes from the environment of whoever started the queue."""
    monkeypatch.setenv("WHICH_FAILS", "1")
    notes, states = noted(tmp_path, [2], FAIL_INDEX="${oc.env:WHICH_FAILS}")
    (state,) = states.values()
    assert {item["state"] for item in state.values()} == {"ended"}
    assert "ended with code 3" in state["1"]["detail"]
    assert state["0"]["detail"] == state["2"]["detail"] == ""
    assert len(notes) == 6


@pytest.mark.parametrize("same", [True, False])
def test_a_signal_reaches_only_the_process_that_was_started(same, tmp_path):
    """The rank is no child of the queue: its number may be another process's by the time that it is told to end."""
    ranks = _Ranks(SimpleNamespace(), [])
    with subprocess.Popen(["sleep", "60"]) as process:
        ranks.add(SimpleNamespace(pid=process.pid, exitcode=None))
        if not same:
            ranks._proven[0]._ident = (process.pid, 1.0)  # the rank had this number, and began then
        ranks.send(signal.SIGTERM)
        if not same:
            assert process.poll() is None
            process.kill()
        assert process.wait() == (-signal.SIGTERM if same else -signal.SIGKILL)
