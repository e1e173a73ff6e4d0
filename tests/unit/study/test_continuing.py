"""`continue_from=STUDY/CELL`: what is there is looked at whole, and nothing else is gone on with."""

import json

import pytest

from launchers.checked import to_json
from launchers.errors import UserError
from tests.unit.builders import entry, planned_study, point, record
from vit_sweep.record.position import Position
from vit_sweep.study.continuing import continued
from vit_sweep.study.journal import Event


@pytest.fixture
def study(tmp_path):
    study, _ = planned_study(tmp_path / "s", point(gpus=2, epochs=3))
    return study


def cell_of(study):
    (file,) = study.cell_files()
    return file.cell


def put_checkpoint(study, name="e0002-s000003", **changes):
    """Two files of states, and the position that names them."""
    built = cell_of(study)
    folder = study.cell_dir(built.cell_id) / "checkpoint" / name
    (folder / "state").mkdir(parents=True)
    files = {"state/a.pt": b"weights", "state/b.pt": b"moments"}
    for path, content in files.items():
        (folder / path).write_bytes(content)
    defaults = {"cell_id": built.cell_id, "code": "x", "world_size": 2, "zero_stage": 0, "epoch": 2, "step": 3}
    defaults |= {"epochs": record(built).epochs[:1], "attempts": ("1",)}
    sizes = {path: len(content) for path, content in files.items()}
    (folder / "position.json").write_text(to_json(Position(**(defaults | {"files": sizes} | changes))))
    return folder


def origin(study, source=None):
    source = source or f"{study.folder}/{cell_of(study).cell_id}"
    (points,) = continued([point(gpus=1, continue_from=source)])
    return points.origin


def test_a_point_gets_the_newest_whole_checkpoint_by_its_content(study):
    put_checkpoint(study, "e0002-s000000", step=0)
    folder = put_checkpoint(study)
    checkpoint_origin = origin(study)
    assert (checkpoint_origin.cell_id, checkpoint_origin.checkpoint, checkpoint_origin.gpus) == (
        cell_of(study).cell_id,
        "e0002-s000003",
        2,
    )
    assert (checkpoint_origin.epoch, checkpoint_origin.step, checkpoint_origin.folder) == (2, 3, str(folder))
    # As a shell completes it.
    assert origin(study, str(study.cell_dir(checkpoint_origin.cell_id))) == checkpoint_origin
    (folder / "state/a.pt").write_bytes(b"Weights")
    assert origin(study).content != checkpoint_origin.content, "of equal size and another content"
    (plain,) = continued([point()])
    assert plain == point()


def refused(study, source=None):
    with pytest.raises(UserError) as error:
        origin(study, source)
    assert str(error.value).startswith("continue_from=")
    return str(error.value)


def test_a_half_written_checkpoint_is_passed_over_for_the_one_before_and_refused_where_there_is_none(study):
    folder = put_checkpoint(study)
    (folder / "state/a.pt").write_bytes(b"w")
    assert "none of its checkpoints is whole: e0002-s000003 (state/a.pt has 1 of 7 bytes)" in refused(study)
    put_checkpoint(study, "e0002-s000000", step=0)
    assert origin(study).checkpoint == "e0002-s000000"


def test_without_a_checkpoint_it_runs_from_the_start(study):
    assert "it left no checkpoint; run it from the start" in refused(study)


@pytest.mark.parametrize("link", ["file", "folder", "above"])
def test_nothing_is_read_through_a_symbolic_link_inside_the_study(study, tmp_path, link):
    folder = put_checkpoint(study)
    moved = {"file": folder / "state/a.pt", "folder": folder, "above": folder.parent}[link]
    elsewhere = tmp_path / "elsewhere"
    moved.rename(elsewhere)
    moved.symlink_to(elsewhere)
    assert f"{moved} is a symbolic link" in refused(study)


def test_the_study_itself_may_be_one(study, tmp_path):
    put_checkpoint(study)
    (tmp_path / "link").symlink_to(study.folder)
    assert origin(study, f"{tmp_path}/link/{cell_of(study).cell_id}").epoch == 2


def test_what_is_done_and_what_still_runs_is_not_gone_on_with(study):
    put_checkpoint(study)
    built = cell_of(study)
    study.journal(entry(Event.SUBMITTING, "b", (built.cell_id, 1)))
    assert "two trainings must not go on from one place" in refused(study)
    (study.folder / "jobs.jsonl").unlink()
    (study.cell_dir(built.cell_id) / "record.json").write_text(to_json(record(built)))
    assert "it is done, all 3 epochs" in refused(study)


def test_a_name_that_is_none_gets_the_menu(study):
    name = cell_of(study).cell_id
    assert "it names no study; give the cell with it" in refused(study, name)
    assert f"study s has no such cell – Known: {name}" in refused(study, f"{study.folder}/n1-g2-other")
    assert "is not a study (no study.json in it)" in refused(study, f"{study.folder}-other/{name}")


def test_a_checkpoint_of_another_cell_and_a_position_that_is_none_are_passed_over(study):
    put_checkpoint(study, cell_id="n1-g4-other")
    assert "it is of cell n1-g4-other, not" in refused(study)
    folder = put_checkpoint(study, "e0003-s000000", epoch=3, step=0)
    (folder / "position.json").write_text(json.dumps({"epoch": "../.."}))
    assert "none of its checkpoints is whole: e0003-s000000 (position.json: " in refused(study)
