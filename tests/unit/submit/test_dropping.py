"""`drop`: points leave a study and nothing is deleted; the sweep's own command brings them back with what they have."""

import json

import pytest

from launchers.atomic import write
from launchers.checked import to_json
from launchers.errors import UserError
from tests.unit.builders import entry, planned_study, point, record
from vit_sweep.plan.choices import Placement, Scaling
from vit_sweep.study.check import check
from vit_sweep.study.journal import Event
from vit_sweep.study.reading import DROPPED
from vit_sweep.study.store import Study
from vit_sweep.submit.dropping import drop


@pytest.fixture
def study(tmp_path):
    """A study of three GPU counts, strong and weak; at one GPU of the full set they are other cells."""
    points = [point(gpus=gpus, scaling=scaling) for gpus in (1, 2, 8) for scaling in Scaling]
    return planned_study(tmp_path / "s", *points)[0]


def files(study):
    return {file.cell_id: file for file in study.cell_files()}


def test_what_a_condition_holds_for_leaves_plan_and_tables_and_stays_on_the_disk(study):
    before = {path for path in study.folder.rglob("*") if path.is_file()}
    gone = {cell for cell, file in files(study).items() if file.cell.gpus == 8}
    write(study.cell_dir(min(gone)) / "record.json", to_json(record(files(study)[min(gone)].cell)))
    dropped = drop(study, ["gpus==8"])
    assert (dropped.points, dropped.cells, dropped.records) == (2, 2, 1)
    again = Study(study.folder)
    assert {file.cell.gpus for file in again.cell_files()} == {1, 2}
    assert {point.axes["gpus"] for point in again.points()} == {1, 2}
    assert gone.isdisjoint(again.planned())
    assert all(path.exists() for path in before)
    assert check(again).wrong == ()


def test_a_record_comes_back_with_its_point(study):
    (cell,) = {cell for cell, file in files(study).items() if file.cell.gpus == 8 and "weak" in str(file.series)}
    file = files(study)[cell]
    write(study.cell_dir(cell) / "record.json", to_json(record(file.cell)))
    drop(study, ["gpus==8"])
    assert study.records() == []
    planned_study(study.folder, point(gpus=8, scaling=Scaling.WEAK))
    assert [known.cell_id for known in study.records()] == [cell]
    assert not (study.cell_dir(cell) / DROPPED).exists()


def test_a_cell_stays_for_a_point_that_stays_without_the_curve_that_has_gone(tmp_path):
    points = [point(gpus=gpus, placement=placement) for gpus in (1, 2) for placement in Placement]
    study, plan = planned_study(tmp_path / "s", *points)
    (shared,) = (cell for cell, planned in plan.cells.items() if len(planned.series) == 2)
    assert drop(study, ["placement==spread"]).cells == len(plan.cells) - 2
    assert [series.placement for series in files(study)[shared].series] == ["packed"]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("gpus==4", "no point of this study has it – gpus is 1 or 2 or 8"),
        ("gpus>0", "all 6 points of study s would go"),
        ("gpu==8", 'drop "gpu==8": there is no axis gpu – did you mean gpus'),
        ("gpus", "is not a comparison"),
    ],
)
def test_a_condition_that_takes_out_nothing_or_all_is_refused_and_changes_nothing(study, condition, message):
    before = (study.folder / "plan.json").read_bytes()
    with pytest.raises(UserError, match=message):
        drop(study, [condition])
    assert (study.folder / "plan.json").read_bytes() == before
    assert len(files(study)) == 6


def test_what_is_under_way_is_ended_first(study):
    cell = next(cell for cell, file in files(study).items() if file.cell.gpus == 8)
    study.journal(entry(Event.SUBMITTING, "b", (cell, 1)))
    message = r"1 cell is queued or running: n.* – wait, or end it first: .* cancel s --cells n"
    with pytest.raises(UserError, match=message):
        drop(study, ["gpus==8"])
    assert len(files(study)) == 6


def test_the_note_in_a_folder_says_when_and_why(study):
    drop(study, ["gpus==8", "gpus==2"])
    (note, *_) = study.folder.glob(f"cells/*/{DROPPED}")
    assert json.loads(note.read_text())["where"] == ["gpus==8", "gpus==2"]
