"""A job that goes on from another cell's checkpoint: its record, its own restart, and what it refuses to read."""

import json
import shutil

import pytest
import torch

from launchers.checked import parse_json
from tests.e2e.train.continuing.test_checkpoint import Planted, learned
from tests.e2e.train.ranks import Job, small_cell
from vit_sweep.plan.continuing.rules import origin_of
from vit_sweep.plan.specs import EngineSpec
from vit_sweep.record.position import Position
from vit_sweep.study.checkpoints import content_of

pytestmark = pytest.mark.train

DDP = EngineSpec(name="ddp", zero_stage=None, kind="ddp")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A job of two ranks, in the middle of its second epoch."""
    job = Job(tmp_path_factory.mktemp("stopped"), small_cell(gpus=2, zero=2))
    assert job.run(probe=("signal_at", 1, "SIGUSR2", 2, 3)) == [1, 1], job.log()
    shutil.copytree(job.dir, tmp_path_factory.getbasetemp() / "kept" / "cells" / "c")
    return job


@pytest.fixture
def checkpoint(stopped, tmp_path_factory):
    """Its checkpoint, which stays when that job is done."""
    kept = tmp_path_factory.getbasetemp() / "kept" / "cells" / "c" / "checkpoint"
    return max(kept.iterdir())


def origin(job, checkpoint):
    """As the plan would find it at that place."""
    position = parse_json(Position, (checkpoint / "position.json").read_text(), source="position")
    content = content_of(checkpoint, position)
    checkpoint_fields = {"checkpoint": checkpoint.name, "content": content, "folder": str(checkpoint)}
    return origin_of(job.cell, **checkpoint_fields, epoch=position.epoch, step=position.step)


def copied(source, folder):
    """The checkpoint in another study, to be changed."""
    return shutil.copytree(source, folder / "cells" / "c" / "checkpoint" / source.name)


def going_on(folder, origin):
    return Job(folder, small_cell(gpus=1, engine=DDP, origin=origin))


def test_it_goes_on_survives_a_stop_of_its_own_and_leaves_the_other_cell_alone(stopped, checkpoint, tmp_path):
    place = checkpoint
    files = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    job = going_on(tmp_path, origin(stopped, place))
    assert job.run(probe=("signal_at", 0, "SIGUSR2", 3, 2)) == [1], job.log()
    assert f"goes on from checkpoint {place.name} of {stopped.cell.cell_id}, written by 2 ranks" in job.log()
    assert job.run(attempt=2) == [0], job.log(attempt=2)
    assert "goes on from checkpoint e0003-s" in job.log(attempt=2), "its own"
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == files
    record = job.json("record.json")
    assert [epoch["epoch"] for epoch in record["earlier"]] == [1]
    assert [(epoch["epoch"], epoch["interrupted"]) for epoch in record["epochs"]] == [(2, True), (3, True)]
    assert (record["restarts"], record["attempts"]) == (1, ["1", "2"]), "of its own attempts"
    # The other cell goes on as well, on its own two ranks: the truth.
    assert stopped.run(attempt=2) == [0, 0], stopped.log(attempt=2)
    learning = learned(stopped)
    assert [epoch["test_loss"] for epoch in record["earlier"]] == [learning[0][2]]
    for own, true in zip(learned(job), learning[1:], strict=True):
        assert own == pytest.approx(true, rel=1e-6)


def test_what_has_changed_or_gone_since_it_was_planned_is_not_gone_on_with(stopped, checkpoint, tmp_path):
    place = copied(checkpoint, tmp_path / "other")
    planned = origin(stopped, place)
    changed = next(place.rglob("*model_states.pt"))
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    job = going_on(tmp_path, planned)
    assert job.run() == [1]
    assert job.end()["cause"] == "configuration"
    assert "its content is another one than was planned with; give the command again" in job.end()["message"]
    shutil.rmtree(place)
    assert job.run(attempt=2) == [1]
    assert f"is not there any more; {stopped.cell.cell_id} has gone on" in job.end(attempt=2)["message"]


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(stopped, checkpoint, tmp_path):
    """Of somebody else's study, whose plan was made with it as it is."""
    place = copied(checkpoint, tmp_path / "other")
    for file in place.rglob("*.pt"):
        torch.save({"module": Planted(tmp_path / "ran")}, file)
    parsed = json.loads((place / "position.json").read_text())
    parsed["files"] = {name: (place / name).stat().st_size for name in parsed["files"]}
    (place / "position.json").write_text(json.dumps(parsed))
    job = going_on(tmp_path, origin(stopped, place))
    assert job.run() == [1]
    assert not (tmp_path / "ran").exists()
    assert job.end()["cause"] == "storage"
    assert "cannot be taken over" in job.end()["message"]
