"""A run that was stopped and goes on reaches what an undisturbed one reaches, bit by bit, and says so in its times."""

import json
import os
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from launchers.checked import to_json
from tests.e2e.train.ranks import Job, ended, small_cell, wait_for
from tests.unit.builders import record
from vit_sweep.plan.choices import Precision
from vit_sweep.record.position import Position

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What each cell learns when nobody stops it, run once."""

    @cache
    def run(**changes):
        job = Job(tmp_path_factory.mktemp("undisturbed"), small_cell(**changes), checkpoint_epochs=0)
        assert job.run() == [0] * job.cell.gpus, job.log()
        return learned(job)

    return run


def learned(job):
    keys = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    return [[epoch[key] for key in keys] for epoch in job.json("record.json")["epochs"]]


PLACES = {"middle": (2, 1), "beginning": (1, 0), "border": (2, 0), "evaluation": (2, 6, "evaluating")}
"""Epoch and finished steps where the signal comes."""


@pytest.mark.parametrize(
    ("place", "changes"),
    [
        # Every place and every engine once; which goes with which makes no difference to either.
        ("beginning", {"gpus": 1}),
        ("evaluation", {"gpus": 1}),
        ("middle", {"gpus": 2}),
        ("middle", {"gpus": 2, "zero": 1}),
        ("border", {"gpus": 2, "zero": 2}),
        ("evaluation", {"gpus": 2, "zero": 3}),
        ("middle", {"gpus": 2, "accum": 2}),
        ("border", {"gpus": 2, "precision": Precision.BF16}),
        ("middle", {"gpus": 2, "precision": Precision.BF16, "zero": 2}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(f"{k}={v}" for k, v in value.items()),
)
def test_a_stopped_run_goes_on_to_the_very_same_losses(tmp_path, undisturbed, place, changes):
    job = Job(tmp_path, small_cell(**changes))
    stopped_rank = job.cell.gpus - 1  # one rank only, and not the one that decides
    assert job.run(probe=("signal_at", stopped_rank, "SIGUSR2", *PLACES[place])) == [1] * job.cell.gpus, job.log()
    for rank in range(job.cell.gpus):
        end = job.end(rank)
        assert (end["cause"], end["signal"]) == ("preempted", "SIGUSR2")
        assert f"a checkpoint was saved at epoch {end['epoch']}, step {end['step']}" in end["message"]
        assert (end["epoch"], end["step"]) == (job.end()["epoch"], job.end()["step"])
    assert job.run(attempt=2) == [0] * job.cell.gpus, job.log(attempt=2)
    assert learned(job) == undisturbed(**changes)
    record = job.json("record.json")
    assert (record["restarts"], record["attempts"], record["attempt"]) == (1, ["1", "2"], "2")
    # Where all ranks really stopped: ranks that need no others in an evaluation may have been past it.
    stopped_in, steps_before = job.end()["epoch"], job.end()["step"]
    disturbed = [e["epoch"] for e in record["epochs"] if e["interrupted"]]
    assert disturbed == ([stopped_in] if steps_before else [])
    assert [e["epoch"] for e in record["epochs"] if e["cold"]] == sorted({1, stopped_in})
    # Of what the stop took nothing is known, so no clock goes on over it.
    assert [e["wall_s"] is None for e in record["epochs"]] == [e["epoch"] >= stopped_in for e in record["epochs"]]
    assert [len(e["step_ms"]) for e in record["epochs"]] == [6 // job.cell.accum] * 3


def test_a_rank_killed_between_epochs_costs_only_the_work_since_the_last_checkpoint(tmp_path, undisturbed):
    job = Job(tmp_path, small_cell(gpus=2, zero=2))
    codes = job.run(probe=("signal_at", 0, "SIGKILL", 3, 2))
    assert codes[0] == -9
    assert job.checkpoints() == ["e0002-s000000", "e0003-s000000"]
    assert job.run(attempt=2) == [0, 0], job.log(attempt=2)
    assert learned(job) == undisturbed(gpus=2, zero=2)
    epochs = job.json("record.json")["epochs"]
    # The third was begun twice and run once as a whole: it is cold, but nothing of the first try is in it.
    assert [(e["cold"], e["interrupted"]) for e in epochs] == [(True, False), (False, False), (True, False)]


def test_several_restarts_are_all_counted(tmp_path, undisturbed):
    job = Job(tmp_path, small_cell(gpus=2))
    assert job.run(1, probe=("signal_at", 1, "SIGUSR2", 1, 2)) == [1, 1]
    assert job.run(2, probe=("signal_at", 0, "SIGTERM", 1, 4)) == [1, 1]
    assert job.end(0, 2)["cause"] == "terminated"
    assert job.run(3) == [0, 0], job.log(attempt=3)
    assert learned(job) == undisturbed(gpus=2)
    record = job.json("record.json")
    assert (record["restarts"], record["attempts"]) == (2, ["1", "2", "3"])


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before(tmp_path, undisturbed):
    job = Job(tmp_path, small_cell(gpus=2))
    assert job.run(probe=("signal_at", 0, "SIGUSR2", 3, 3)) == [1, 1]
    older, newest = job.checkpoints()
    (weights,) = (job.dir / "checkpoint" / newest).glob("state/*model_states.pt")
    os.truncate(weights, weights.stat().st_size // 2)
    (job.dir / "checkpoint" / older / ".partial").touch()  # a stray file harms nobody
    assert job.run(2) == [0, 0], job.log(attempt=2)
    assert f"checkpoint {newest} is passed over: state/{weights.name} has" in job.log(attempt=2)
    assert f"goes on from checkpoint {older}" in job.log(attempt=2)
    assert learned(job) == undisturbed(gpus=2)


def test_a_checkpoint_that_only_looks_whole_is_named_with_what_to_do(tmp_path):
    job = Job(tmp_path, small_cell(gpus=1))
    assert job.run(probe=("signal_at", 0, "SIGUSR2", 2, 3)) == [1]
    newest = job.dir / "checkpoint" / job.checkpoints()[-1]
    (weights,) = newest.glob("state/*model_states.pt")
    weights.write_bytes(b"x" * weights.stat().st_size)
    assert job.run(2) == [1]
    end = job.end(attempt=2)
    assert end["cause"] == "storage"
    assert f"checkpoint {newest} cannot be read" in end["message"]
    shutil.rmtree(newest)
    assert job.run(3) == [0], job.log(attempt=3)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path):
    """Of somebody else's study: pickle runs what a file names; tensors are all that is read."""
    job = Job(tmp_path, small_cell(gpus=1))
    assert job.run(probe=("signal_at", 0, "SIGUSR2", 2, 3)) == [1]
    for file in (job.dir / "checkpoint" / job.checkpoints()[-1]).rglob("*.pt"):
        torch.save({"module": Planted(tmp_path / "ran")}, file)  # to its last byte: with more of them it is no archive
    position = job.dir / "checkpoint" / job.checkpoints()[-1] / "position.json"
    parsed = json.loads(position.read_text())
    parsed["files"] = {name: (position.parent / name).stat().st_size for name in parsed["files"]}
    position.write_text(json.dumps(parsed))
    assert job.run(2) == [1]
    assert not (tmp_path / "ran").exists()
    assert "cannot be read" in job.log(attempt=2)


class Planted:
    """What an unpickler would make by touching a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_damaged_positions_mean_a_start_from_the_beginning(tmp_path, undisturbed):
    job = Job(tmp_path, small_cell(gpus=1))
    assert job.run(probe=("signal_at", 0, "SIGUSR2", 2, 3)) == [1]
    for name, text in zip(job.checkpoints(), ("", "{"), strict=True):
        (job.dir / "checkpoint" / name / "position.json").write_text(text)
    assert job.run(2) == [0], job.log(attempt=2)
    assert learned(job) == undisturbed(gpus=1)
    assert job.json("record.json")["attempts"] == ["2"]


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1}', "null"])
def test_a_damaged_position_is_no_checkpoint(tmp_path, text):
    from vit_sweep.job.train.checkpoint import Checkpoints

    position = tmp_path / "e0002-s000003" / "position.json"
    position.parent.mkdir()
    position.write_text(text)
    assert Checkpoints(tmp_path, attempt="1")._choose("cell", 1, 0) is None


def test_a_checkpoint_folder_that_is_a_link_has_nothing_deleted_beside_or_in_it(tmp_path):
    """Of somebody else's study: whoever put the link there would choose what goes."""
    from launchers.atomic import ThroughLinkError
    from vit_sweep.job.train.checkpoint import Checkpoints
    from vit_sweep.study.store import Study

    position = Position(
        cell_id="x", code="", world_size=1, zero_stage=0, epoch=2, step=0, epochs=(), attempts=("1",), files={}
    )
    foreign = tmp_path / "foreign"
    for name in (".partial-1", "e0001-s000000", position.name, "thesis"):
        (foreign / name).mkdir(parents=True)
        (foreign / name / "text").write_text("mine")
    before = sorted(foreign.rglob("*"))
    folder = Study(tmp_path / "study").cell_dir("x") / "checkpoint"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(foreign)
    checkpoints = Checkpoints(folder, attempt="1")
    with pytest.raises(ThroughLinkError):
        checkpoints._publish(folder / ".partial-1", position)
    checkpoints.delete()
    assert sorted(foreign.rglob("*")) == before
    assert not folder.exists(), "the link itself is gone"


def test_two_are_kept_and_none_when_the_run_is_done(tmp_path):
    job = Job(tmp_path, small_cell(epochs=5))
    (job.dir / "checkpoint" / ".partial-0").mkdir(parents=True)  # left behind by somebody who was killed
    ranks = job.start(probe=("signal_at", 0, "SIGSTOP", 5, 2))
    with ended(ranks):
        wait_for(lambda: is_stopped(ranks[0].pid))
        assert job.checkpoints() == ["e0004-s000000", "e0005-s000000"]
        os.kill(ranks[0].pid, 18)
        ranks[0].join(300)
    assert ranks[0].exitcode == 0, job.log()
    assert not (job.dir / "checkpoint").exists()


def is_stopped(pid):
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - a path of the kernel's
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


@pytest.mark.parametrize(("interval", "names"), [(2, ["e0003-s000000"]), (0, [])])
def test_periodic_checkpoints_come_as_often_as_was_asked(tmp_path, interval, names):
    job = Job(tmp_path, small_cell(epochs=4), checkpoint_epochs=interval)
    job.run(probe=("signal_at", 0, "SIGKILL", 4, 2))
    assert job.checkpoints() == names


def test_a_rank_killed_while_it_saves_leaves_the_earlier_checkpoint_whole(tmp_path, undisturbed):
    job = Job(tmp_path, small_cell(gpus=1))
    assert job.run(probe=("killed_in_save", 2)) == [-9]
    assert job.checkpoints() == [".partial-1", "e0002-s000000"]
    assert job.run(2, probe=("signal_at", 0, "SIGUSR2", 3, 3)) == [1], job.log(attempt=2)
    assert job.checkpoints() == ["e0003-s000000", f"e0003-s00000{job.end(attempt=2)['step']}"]
    assert job.run(3) == [0], job.log(attempt=3)
    assert learned(job) == undisturbed(gpus=1)


def test_a_study_that_was_moved_goes_on(tmp_path, undisturbed):
    job = Job(tmp_path / "here", small_cell(gpus=2))
    assert job.run(probe=("signal_at", 0, "SIGUSR2", 2, 3)) == [1, 1]
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = Job(tmp_path / "there", small_cell(gpus=2))
    assert moved.run(2) == [0, 0], moved.log(attempt=2)
    assert learned(moved) == undisturbed(gpus=2)


def test_a_start_that_ends_after_another_of_its_attempt_leaves_the_others_record(tmp_path):
    job = Job(tmp_path, small_cell(epochs=1))
    others = to_json(replace(record(job.cell), attempt="1.1"))
    assert job.run(probe=("another_start_ends_first", others)) == [0], job.log()
    assert (job.dir / "record.json").read_text() == others
    assert "another start of this attempt has left its record already" in job.log()
