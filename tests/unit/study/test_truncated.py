"""Every JSON of a study cut off in turn: it is named, nothing falls over, and what another cell had finished stays."""

import json
from pathlib import Path

import pytest

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.checked import to_json, to_plain
from tests.unit.builders import cell, entry, planned_study, point, record
from tests.unit.outcome.test_verdict import rank
from vit_sweep.outcome.ending import Cause, Exit, Progress
from vit_sweep.outcome.policy import Stop
from vit_sweep.outcome.selection import select
from vit_sweep.study import polling, status
from vit_sweep.study.journal import Event
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study


def fill(folder, monkeypatch):
    """Two cells: the first done at its second attempt, the second ended by a bug."""
    study, plan = planned_study(folder, point(), point(gpus=2))
    done, failed = plan.cells
    for event, handle in ((Event.SUBMITTING, ""), (Event.SUBMITTED, "17")):
        for attempt in (1, 2):
            tasks = ((done, attempt), (failed, attempt))
            study.journal(entry(event, f"b{attempt}", *tasks, handle=handle))
    for name in plan.cells:
        for attempt in ("1", "2"):
            study.write_exit(name, attempt, Exit(cause=Cause.BUG, message="boom", rank=0, host="n1"))
            own_attempt = study.cell_dir(name) / "attempts" / attempt
            (own_attempt / "rank0.json").write_text(to_json(rank(0, Cause.BUG)))
            (own_attempt / "claim.json").write_text('{"schema_version": 1, "job_id": "17_0"}')
            progress = Progress(phase="training", epoch=1, epochs=3, host="n1", started_at="2025-01-01T00:00:00+00:00")
            (own_attempt / "progress.json").write_text(to_json(progress))
    study.write_exit(done, "2", Exit(cause=Cause.DONE, message=""))
    sound = record(plan.cells[done].cell, attempt="2")
    (study.cell_dir(done) / "record.json").write_text(to_json(sound))
    study.write_stop(Stop(cell_id=failed, cell=plan.cells[failed].cell, cause=Cause.BUG, message="boom", code="abc"))

    class Launcher:
        def states(self, submissions, **_how):
            gone = TaskStatus(state=TaskState.ENDED, ended=Ended.UNREPORTED)
            return {(s.batch_name, i): gone for s in submissions for i in range(s.tasks)}

    for module in (status, polling):
        monkeypatch.setattr(module, "launcher_of", lambda scheduler: Launcher())
    return study, done, failed


def files(tmp_path_factory=None):
    """Names of all JSON files of such a study."""
    cells = {"DONE": cell(), "FAILED": cell(gpus=2)}
    per_attempt = ("exit", "rank0", "claim", "progress")
    return [
        "study.json",
        "plan.json",
        "jobs.jsonl",
        "stops/FAILED.json",
        "cells/DONE/record.json",
        *(f"cells/{c}/{f}.json" for c in cells for f in ("cell", "ds_config")),
        *(f"cells/{c}/attempts/{n}/{f}.json" for c in cells for n in (1, 2) for f in per_attempt),
    ]


UNREAD = ("study.json", "ds_config.json", "claim.json")
"""Not read when a study is looked at."""


def test_the_list_of_files_is_whole(tmp_path, monkeypatch):
    study, done, failed = fill(tmp_path / "s", monkeypatch)
    paths = {str(path.relative_to(study.folder)) for path in study.folder.rglob("*.json*")}
    assert paths == {name.replace("DONE", done).replace("FAILED", failed) for name in files()}


@pytest.mark.parametrize("left", [0.5, 0.0], ids=["half", "empty"])
@pytest.mark.parametrize("name", files())
def test_a_file_cut_off_is_named_and_takes_nothing_else_with_it(tmp_path, monkeypatch, name, left):
    study, done, failed = fill(tmp_path / "s", monkeypatch)
    path = study.folder / name.replace("DONE", done).replace("FAILED", failed)
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    study = Study(study.folder)
    results = {result.file.cell_id: result for result in settled_results(study)}
    study.planned()
    chosen = select(results.values(), code="abc", stops=study.stops())
    if name not in ("cells/DONE/record.json", "cells/DONE/cell.json"):
        assert results[done].status == "done"
        assert done not in chosen.run
    if name == "cells/DONE/record.json":
        # Its series was stopped by the bug, so it would run again once that is mended.
        assert set(chosen.skipped) == {done}
    if name not in ("cells/FAILED/cell.json", "jobs.jsonl"):
        assert results[failed].status in ("failed", "retry")
    if path.suffix == ".json" and path.name not in UNREAD and _is_read(name):
        assert any(str(path) in problem for problem in study.problems)
    # The study can be added to again.
    study.write_command(["x"], ["x"], code="abc")
    assert json.loads((study.folder / "study.json").read_text())["commands"][-1]["overrides"] == ["x"]


def _is_read(name):
    """Ranks are read only where there is no verdict; attempts of before the user's last word are history."""
    return not (Path(name).name == "rank0.json" or ("/attempts/1/" in name and "FAILED" in name))


def test_a_cell_that_is_not_what_its_name_says_is_named_and_not_run(tmp_path):
    study, plan = planned_study(tmp_path / "s", point(), point(gpus=2))
    name, other = plan.cells
    path = study.cell_dir(name) / "cell.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cell": to_plain(cell(seed=77))}))
    assert list(study.planned()) == [other]
    assert f"{path} is that of {cell(seed=77).cell_id}; it is not run" in study.problems
