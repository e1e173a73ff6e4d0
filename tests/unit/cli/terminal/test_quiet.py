"""`--quiet`: a sweep prints where its tables are and what went wrong, and nothing else."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from launchers.atomic import write
from launchers.checked import to_json
from tests.unit.builders import entry, record
from vit_sweep.cli.terminal.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_UNDER_WAY
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.report.figure import SWITCH
from vit_sweep.study.journal import Event
from vit_sweep.study.store import Study

pytest.importorskip("pyarrow")
if find_spec("torch") is None:  # which the sweep asks for; these tests need not import it
    pytest.skip("torch is not installed", allow_module_level=True)

GRID = ["-m", "gpus=1,2", "batch=16", "data=synthetic", "study=s"]


@pytest.fixture
def planned(sweep, tmp_path):
    """A study of two cells, planned by the command itself, none of which has run."""
    assert sweep(*GRID, "dry_run=true").returncode == 0
    study = Study(tmp_path / "outputs" / "s")
    return study, study.cell_files()


def finish(study, file):
    write(study.cell_dir(file.cell_id) / "record.json", to_json(record(file.cell)))


def test_a_quiet_sweep_prints_the_paths_of_its_tables_alone(sweep, planned):
    study, files = planned
    for file in files:
        finish(study, file)
    answer = sweep(*GRID, "--quiet")
    assert (answer.returncode, answer.stderr) == (EXIT_DONE, "")
    assert {Path(line) for line in answer.stdout.splitlines()} == {*(study.folder / "tables").glob("*.csv")}
    assert sweep(*GRID, "quiet=true").stdout == answer.stdout


def test_a_quiet_sweep_says_on_stderr_what_failed(sweep, planned):
    study, (first, second) = planned
    finish(study, first)
    study.journal(entry(Event.SUBMITTED, "b", (second.cell_id, 1), handle="17"))
    folder = study.cell_dir(second.cell_id) / "attempts" / "1"
    folder.mkdir(parents=True)
    write(folder / "exit.json", to_json(Exit(cause=Cause.BUG, message="it broke")))
    answer = sweep(*GRID, "--quiet")
    assert answer.returncode == EXIT_FAILED
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"error: {second.cell_id}: failed: ")
    assert "it broke" in line
    assert all(line.endswith(".csv") for line in answer.stdout.splitlines())


def test_a_quiet_resume_of_what_is_done_prints_the_paths_of_its_tables_alone(sweep, planned):
    study, files = planned
    for file in files:
        finish(study, file)
    answer = sweep("resume", "s", "--quiet")
    assert (answer.returncode, answer.stderr) == (EXIT_DONE, "")
    assert {Path(line) for line in answer.stdout.splitlines()} == {*(study.folder / "tables").glob("*.csv")}
    watched = sweep("status", "s", "--watch", "--quiet")
    assert (watched.returncode, watched.stdout, watched.stderr) == (EXIT_DONE, answer.stdout, "")


def test_a_quiet_status_says_by_its_code_what_became_of_the_cells_and_on_stderr_what_failed(sweep, planned):
    study, (first, second) = planned
    finish(study, first)
    fine = sweep("status", "s", "--quiet")
    assert (fine.returncode, fine.stdout, fine.stderr) == (EXIT_UNDER_WAY, "", "")
    study.journal(entry(Event.SUBMITTED, "b", (second.cell_id, 1), handle="17"))
    folder = study.cell_dir(second.cell_id) / "attempts" / "1"
    folder.mkdir(parents=True)
    write(folder / "exit.json", to_json(Exit(cause=Cause.BUG, message="it broke")))
    answer = sweep("status", "s", "--quiet")
    assert (answer.returncode, answer.stdout) == (EXIT_FAILED, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"error: {second.cell_id}: failed: ")
    assert "leave one out" in sweep("status", "s", "--quiet", "--json").stderr


def test_a_quiet_report_prints_the_path_of_its_page_alone(sweep, planned):
    study, files = planned
    nothing = sweep("report", "s", "--quiet")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "nothing to report" in nothing.stderr
    for file in files:
        finish(study, file)
    answer = sweep("report", "s", "--quiet", env={SWITCH: "svg"})
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"{study.folder / 'report.html'}\n", "")


def test_a_quiet_dry_run_prints_nothing_unless_it_is_for_programs(sweep):
    answer = sweep(*GRID, "dry_run=true", "--quiet")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert sweep(*GRID, "dry_run=json", "--quiet").stdout.startswith("{")
    both = sweep(*GRID, "dry_run=stdout", "--quiet")
    assert both.returncode == 2
    assert "leave one out" in both.stderr


def test_a_mistake_is_told_however_quiet(sweep):
    answer = sweep("-m", "gpus=16", "batch=16", "--quiet")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "no cell can run" in answer.stderr


def test_a_command_that_does_not_wait_speaks_of_jobs_only_where_there_are_some(sweep, planned):
    study, files = planned
    for file in files:
        finish(study, file)
    for words in ([*GRID, "wait=false"], ["resume", study.folder, "--no-wait", "--trust"]):
        answer = sweep(*words)
        assert answer.returncode == EXIT_DONE
        assert answer.stdout.endswith("nothing to run, and no job of study s is under way\n")
        assert "detached" not in answer.stdout
