"""One answer of squeue for all of a user's clients on one machine: never too old, never believed in what it lacks."""

import json
import os
import threading
from types import SimpleNamespace

import pytest

from launchers.backend import Submission, TaskState
from launchers.queue import slots
from launchers.slurm import squeue_cache
from launchers.slurm.backend import SlurmLauncher
from launchers.slurm.squeue_cache import newest
from tests.unit.builders import put_programs

LONG_AGO_S = 1e6


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The one place where an answer may be kept."""
    folder = tmp_path / "mine"
    monkeypatch.setattr(squeue_cache, "places", lambda _: iter([folder]))
    return folder


@pytest.fixture
def stub(place, tmp_path, monkeypatch):
    """What the stand-in for squeue was asked; it lists what stands in `queue`."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    listed = f'echo "$*" >> {tmp_path}/calls; cat {tmp_path}/queue'
    put_programs(tmp_path / "bin", squeue=listed, sacct="echo 'Slurm accounting storage is disabled' >&2; exit 1")
    (tmp_path / "calls").touch()
    (tmp_path / "queue").write_text("17|0|RUNNING|n1|None\n17|1|PENDING||Priority\n18|0|PENDING||Priority\n")
    return SimpleNamespace(
        queue=tmp_path / "queue",
        of_all=lambda: [c for c in (tmp_path / "calls").read_text().splitlines() if "--user=" in c],
        of_jobs=lambda: [c for c in (tmp_path / "calls").read_text().splitlines() if "--jobs=" in c],
    )


def sent(handle, tasks):
    return Submission(batch_name=f"b{handle}", folder=f"/studies/s/jobs/{handle}", handle=handle, tasks=tasks)


def states(*submissions, max_age_s=LONG_AGO_S):
    answer = SlurmLauncher().states(submissions, max_age_s=max_age_s)
    return {key: status.state for key, status in answer.items()}


def test_two_studies_share_one_question(stub):
    assert states(sent("17", 2)) == {("b17", 0): TaskState.RUNNING, ("b17", 1): TaskState.QUEUED}
    assert states(sent("18", 1)) == {("b18", 0): TaskState.QUEUED}
    assert len(stub.of_all()) == 1
    assert stub.of_jobs() == []


def test_two_clients_at_once_ask_once(place):
    """The second one waits for the lock and then finds an answer that is young enough for it."""
    asking, go, questions = threading.Event(), threading.Event(), []

    def ask():
        questions.append(1)
        asking.set()
        assert go.wait(60)
        return "said", None

    both = [threading.Thread(target=newest, args=("q", ask), kwargs={"not_before": 0.0}) for _ in range(2)]
    both[0].start()
    assert asking.wait(60)
    both[1].start()
    go.set()
    for client in both:
        client.join()
    assert questions == [1]


def test_whoever_needs_it_younger_asks_again_and_leaves_that_for_the_others(stub):
    states(sent("17", 2))
    stub.queue.write_text("17|0|COMPLETED|n1|None\n17|1|RUNNING|n1|None\n")
    assert states(sent("17", 2), max_age_s=0)["b17", 0] is TaskState.ENDED
    assert states(sent("17", 2))["b17", 0] is TaskState.ENDED
    assert len(stub.of_all()) == 2


def test_a_job_younger_than_the_answer_is_asked_for_itself_and_never_taken_for_gone(stub):
    states(sent("17", 2))
    stub.queue.write_text("17|0|RUNNING|n1|None\n19|0|PENDING||Priority\n")
    assert states(sent("19", 1)) == {("b19", 0): TaskState.QUEUED}
    assert len(stub.of_all()) == 1
    assert ["--jobs=19" in call for call in stub.of_jobs()] == [True]


def test_a_task_that_the_answer_lacks_of_an_array_that_it_has_is_asked_for_too(stub):
    stub.queue.write_text("17|0|RUNNING|n1|None\n")
    assert states(sent("17", 2))["b17", 1] is TaskState.ENDED
    assert len(stub.of_jobs()) == 1


def test_a_controller_that_is_away_is_asked_once_for_all(stub, tmp_path):
    put_programs(tmp_path / "bin", squeue=f"echo \"$*\" >> {tmp_path}/calls; echo 'no controller' >&2; exit 1")
    for _ in range(2):
        assert set(states(sent("17", 2)).values()) == {TaskState.UNKNOWN}
    assert len(stub.of_all()) == 1
    assert stub.of_jobs() == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: kept | {"boot": "another start of the machine"},
        lambda kept: kept | {"asked_at": kept["asked_at"] + LONG_AGO_S},
        lambda kept: kept | {"asked_at": "now"},
        lambda kept: {"text": kept["text"]},
        lambda kept: "{",
    ],
    ids=["of an earlier start", "from the future", "no time", "a part", "no JSON object"],
)
def test_an_answer_that_cannot_be_of_this_machines_past_counts_for_nothing(spoil, stub, place):
    states(sent("17", 2))
    (file,) = place.glob("*.json")
    file.write_text(json.dumps(spoil(json.loads(file.read_text()))))
    states(sent("17", 2))
    assert len(stub.of_all()) == 2


def test_it_is_kept_for_its_user_alone(stub, place):
    states(sent("17", 2))
    assert place.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away takes root")
def test_a_folder_of_somebody_else_is_neither_read_nor_written(stub, place):
    states(sent("17", 2))
    os.chown(place, 65534, 65534)
    before = {path: path.read_bytes() for path in place.iterdir()}
    stub.queue.write_text("17|0|COMPLETED|n1|None\n17|1|RUNNING|n1|None\n")
    assert states(sent("17", 2))["b17", 0] is TaskState.ENDED
    assert {path: path.read_bytes() for path in place.iterdir()} == before


def test_a_folder_that_others_may_write_is_not_trusted_and_everybody_asks_for_themselves(stub, place):
    place.mkdir(mode=0o700)
    place.chmod(0o777)
    for _ in range(2):
        states(sent("17", 2))
    assert len(stub.of_all()) == 2
    assert list(place.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(stub, place, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    place.symlink_to(tmp_path / "elsewhere")
    states(sent("17", 2))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_clusters_and_configurations_do_not_share(place, monkeypatch):
    questions = []

    def ask():
        questions.append(1)
        return "", None

    for configuration in ("a", "b"):
        monkeypatch.setenv("SLURM_CONF", configuration)
        for question in ("squeue --clusters=x", "squeue --clusters=y"):
            newest(question, ask, not_before=0.0)
    assert len(questions) == 4


def test_places_are_those_of_the_locks():
    assert squeue_cache.places is slots.places
