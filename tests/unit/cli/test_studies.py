"""`list`, `status` and `open`: what a person and a program learn of the studies that lie here."""

import json
import os
from dataclasses import replace

import pytest

from launchers.atomic import write
from launchers.checked import to_json
from tests.unit.builders import entry, planned_study, point, record
from vit_sweep.__main__ import main
from vit_sweep.cli.terminal.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_UNDER_WAY
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.plan.cell import JobOptions
from vit_sweep.plan.deciding.candidates_file import candidates_file
from vit_sweep.plan.deciding.one_curve import candidates_of
from vit_sweep.plan.deciding.question import DecideRule, question_of
from vit_sweep.plan.plan import make_plan
from vit_sweep.study.journal import Event
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study
from vit_sweep.submit.deciding import look


@pytest.fixture
def two_cells(tmp_path):
    """A study of two cells below `outputs`, none of which has run."""
    return planned_study(tmp_path / "outputs" / "mine", point(gpus=1), point(gpus=2))


def finish(study, cell):
    write(study.cell_dir(cell.cell_id) / "record.json", to_json(record(cell)))


def fail(study, cell):
    study.journal(entry(Event.SUBMITTED, "b", (cell.cell_id, 1), handle="17"))
    folder = study.cell_dir(cell.cell_id) / "attempts" / "1"
    folder.mkdir(parents=True)
    write(folder / "exit.json", to_json(Exit(cause=Cause.BUG, message="it broke")))


def state(study, capsys):
    code = main(["status", str(study.folder), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_exit_code_of_status_says_whether_all_are_done_one_failed_or_some_are_open(two_cells, capsys):
    study, plan = two_cells
    first, second = (planned.cell for planned in plan.cells.values())
    assert state(study, capsys)[0] == EXIT_UNDER_WAY
    finish(study, first)
    code, told = state(study, capsys)
    assert code == EXIT_UNDER_WAY
    assert told["counts"] == {"done": 1, "missing": 1}
    assert {cell["cell"]: cell["state"] for cell in told["cells"]} == {
        first.cell_id: "done",
        second.cell_id: "missing",
    }
    finish(study, second)
    assert state(study, capsys)[0] == EXIT_DONE


def test_a_cell_that_nobody_can_read_is_not_done(two_cells, capsys):
    study, plan = two_cells
    for planned in plan.cells.values():
        finish(study, planned.cell)
    (study.cell_dir(next(iter(plan.cells))) / "cell.json").write_text("{")
    code, told = state(study, capsys)
    assert (code, told["counts"], len(told["problems"])) == (EXIT_FAILED, {"done": 1}, 1)


def test_a_failed_cell_is_one_for_programs_too(two_cells, capsys):
    study, plan = two_cells
    first, second = (planned.cell for planned in plan.cells.values())
    finish(study, first)
    fail(study, second)
    code, told = state(study, capsys)
    assert code == EXIT_FAILED
    assert "it broke" in next(cell["detail"] for cell in told["cells"] if cell["cell"] == second.cell_id)
    assert main(["status", str(study.folder)]) == EXIT_FAILED


def test_a_row_for_each_of_many_cells_is_shown_when_it_is_asked_for(tmp_path, capsys):
    study, plan = planned_study(tmp_path / "outputs" / "many", *(point(seed=seed) for seed in range(50)))
    assert main(["status", str(study.folder)]) == EXIT_UNDER_WAY
    short = capsys.readouterr().out
    assert "50 cells in short" in short
    assert not [cell for cell in plan.cells if cell in short]
    assert main(["status", str(study.folder), "--all"]) == EXIT_UNDER_WAY
    whole = capsys.readouterr().out
    assert [cell for cell in plan.cells if cell not in whole] == []
    assert len(state(study, capsys)[1]["cells"]) == 50


def test_status_tells_the_question_of_a_study_that_decides_and_how_far_its_answer_is(tmp_path, capsys):
    points = [point(gpus=gpus) for gpus in (1, 2)]
    plan, rule = make_plan(points), DecideRule(until="efficiency(2) +- 9 %", budget_gpu_hours=100, most=10)
    offered = candidates_file(candidates_of(points, plan, question_of(rule.until), None))
    study = Study.create_or_resume(tmp_path / "outputs" / "asked")
    study.write_command(["-m", "gpus=1,2"], ["gpus=1,2"], code="abc")
    study.write_candidates(offered)
    study.write_plan(plan, data_root="data", options=JobOptions(), decide=rule)

    def look_at(results):
        return look(
            rule, offered.planned, offered.hours, study.decisions(), results, at="2026-11-30T00:00:00Z", lost=0
        ).entry

    study.journal_decision(replace(look_at([]), cells=((1, 0), (2, 0))))
    for planned in plan.cells.values():
        finish(study, planned.cell)
    _, told = state(study, capsys)
    asked = told["question"]
    assert (asked["until"], asked["look"], asked["runs_since"], asked["answered"]) == (rule.until, 1, 2, False)
    study.journal_decision(look_at(settled_results(study)))
    _, told = state(study, capsys)
    asked, made = told["question"], study.decisions()[-1]
    assert (asked["look"], asked["runs"], asked["budget_gpu_hours"]) == (2, 2, 100)
    assert asked["answer"]["low"] == made.decision.answer.low
    assert asked["spent_gpu_hours"] == pytest.approx(made.spent_gpu_hours)
    assert asked["spent_gpu_hours"] > 0
    main(["status", str(study.folder)])
    text = " ".join(capsys.readouterr().out.split())
    assert f'asked "{rule.until}": not answered yet; {made.decision.answer.sentence}, by look 2, of 2 runs; ' in text
    assert "of 100 GPU-hours spent" in text


def test_a_study_that_was_asked_nothing_has_no_question(two_cells, capsys):
    assert state(two_cells[0], capsys)[1]["question"] is None


def test_one_stays_or_prints_for_a_program(two_cells, capsys):
    assert main(["status", str(two_cells[0].folder), "--json", "--watch"]) == 2
    assert "leave one out" in capsys.readouterr().err


def test_studies_are_listed_with_the_one_that_changed_last_first(tmp_path, monkeypatch, capsys, two_cells):
    other, plan = planned_study(tmp_path / "outputs" / "older", point())
    finish(other, *(planned.cell for planned in plan.cells.values()))
    for path in (other.folder, *other.folder.rglob("*")):
        os.utime(path, (0, 0))
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "mine" in line or "older" in line]
    assert lines[0][:4] == ["mine", "2", "2", "missing"]
    assert lines[1][:4] == ["older", "1", "1", "done"]
    assert lines[1][-2:] == ["days", "ago"]


def test_a_study_with_a_damaged_file_is_listed_and_says_so(tmp_path, monkeypatch, capsys, two_cells):
    study, plan = two_cells
    (study.cell_dir(next(iter(plan.cells))) / "cell.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    assert main(["list"]) == 0
    assert "1 file cannot be read" in " ".join(capsys.readouterr().out.split())


def test_a_folder_without_studies_is_a_sentence(tmp_path, capsys):
    assert main(["list", str(tmp_path)]) == 2
    assert f"there is no study in {tmp_path}" in capsys.readouterr().err


def test_open_writes_the_page_where_it_is_missing_or_old_and_says_what_to_do_without_a_screen(
    two_cells, monkeypatch, capsys
):
    study, plan = two_cells
    page, opened = study.folder / "report.html", []
    for planned in plan.cells.values():
        finish(study, planned.cell)
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    for screen in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(screen, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    written = []
    monkeypatch.setattr(
        "vit_sweep.cli.results.report.report", lambda name: (written.append(name), page.write_text("page"))
    )
    assert main(["open", str(study.folder)]) == 0
    assert "copy the file" in capsys.readouterr().out
    assert (len(written), opened) == (1, [])
    monkeypatch.setenv("DISPLAY", ":0")
    assert main(["open", str(study.folder)]) == 0
    assert str(page) in capsys.readouterr().out.replace("\n", "")
    assert (len(written), opened) == (1, [page.as_uri()])
    os.utime(page, (0, 0))
    assert main(["open", str(study.folder), "--path"]) == 0
    assert (len(written), len(opened)) == (2, 1)


def test_report_opens_its_study_once(two_cells, monkeypatch):
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "off")
    study, plan = two_cells
    for planned in plan.cells.values():
        finish(study, planned.cell)
    opened = []
    monkeypatch.setattr(
        "vit_sweep.cli.results.report.open_study", lambda name: opened.append(name) or Study(study.folder)
    )
    assert main(["report", "mine"]) == 0
    assert opened == ["mine"]
