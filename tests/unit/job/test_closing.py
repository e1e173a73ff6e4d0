"""The job's last line: it judges, keeps the verdict, warns whom it concerns, and asks for another start in bounds."""

import json

import pytest

from launchers.batch import RUN_AGAIN, SETUP_FAILED, Task
from launchers.checked import to_json
from tests.unit.builders import batch, cell, series
from tests.unit.outcome.test_verdict import rank
from vit_sweep.job import closing
from vit_sweep.outcome.ending import Cause
from vit_sweep.plan.cell import CellFile
from vit_sweep.study.store import Study


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A batch of one cell; `end(restart, *ranks)` lets an attempt end and returns what the last line says."""
    trained, study = cell(), Study(tmp_path / "s")
    folder = study.cell_dir(trained.cell_id)
    folder.mkdir(parents=True)
    (folder / "cell.json").write_text(
        to_json(CellFile(cell_id=trained.cell_id, cell=trained, series=(series(),), data_root="data"))
    )
    this_batch = batch(
        tasks=(Task(name="other", attempt=1), Task(name=trained.cell_id, attempt=2, since=2)),
        study_dir=str(study.folder),
    )
    (study.batch_dir(this_batch.name)).mkdir(parents=True)
    (study.batch_dir(this_batch.name) / "batch.json").write_text(to_json(this_batch))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")

    class Job:
        cell_id, attempts = trained.cell_id, folder / "attempts"

        def end(self, restart, *ranks, code=1):
            monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
            own_attempt = self.attempts / (f"2.{restart}" if restart else "2")
            for rank_file in ranks:
                own_attempt.mkdir(parents=True, exist_ok=True)
                (own_attempt / f"rank{rank_file.rank}.json").write_text(to_json(rank_file))
            return closing.main([str(study.batch_dir(this_batch.name)), str(code)])

        def exit(self, name):
            return json.loads((self.attempts / name / "exit.json").read_text())

        study = Study(tmp_path / "s")

    return Job()


def test_a_setup_line_that_failed_is_named_with_its_own_words_and_not_tried_again(job):
    logs = job.study.folder / "jobs"
    (logs := next(logs.iterdir()) / "logs").mkdir()
    words = "job.sh: line 9: module: command not found\nvit_sweep: setup line ended with code 127: module load cuda\n"
    (logs / "17_1_0_log.err").write_text(words)
    assert job.end(0, code=SETUP_FAILED) == 0
    exit = job.exit("2")
    assert (exit["cause"], exit["again"]) == ("configuration", False)
    assert "module: command not found / vit_sweep: setup line ended with code 127: module load cuda" in exit["message"]


def test_a_rank_that_died_is_named_with_its_last_lines_and_started_again_once(job):
    (job.attempts / "2").mkdir(parents=True)
    (job.attempts / "2" / "rank1.log").write_text("".join(f"line {n}\n" for n in range(100)))
    assert job.end(0, rank(0, Cause.COMMUNICATION), rank(1), code=137) == RUN_AGAIN
    exit = job.exit("2")
    assert (exit["cause"], exit["rank"], exit["again"]) == ("rank_died", 1, True)
    assert exit["last_lines"][-1] == "line 99"
    assert job.end(1, rank(0, Cause.COMMUNICATION), rank(1), code=137) == 0
    assert job.exit("2.1")["again"] is False


@pytest.mark.parametrize("code", [1, 143])
def test_a_job_whose_study_cannot_be_written_to_is_not_started_again_and_says_so(job, capsys, code):
    """Nothing counts its starts: Slurm's count went to 11 in 150 s, where one more is allowed."""
    job.attempts.write_text("in place of a folder, since root may write into any")
    assert [job.end(restart, code=code) for restart in range(3)] == [0, 0, 0]
    assert "this verdict is not kept and the job is not started again" in capsys.readouterr().err


def test_a_time_limit_is_resumed_as_long_as_it_gets_further(job):
    assert job.end(0, rank(0, Cause.TIME_LIMIT, epoch=1, step=3)) == RUN_AGAIN
    assert job.end(1, rank(0, Cause.TIME_LIMIT, epoch=2, step=3)) == RUN_AGAIN
    assert job.end(2, rank(0, Cause.TIME_LIMIT, epoch=2, step=3)) == 0


@pytest.mark.parametrize("cause", [Cause.BUG, Cause.OUT_OF_MEMORY])
def test_a_bug_and_a_full_gpu_are_said_to_the_cells_that_have_not_begun(job, cause):
    assert job.end(0, rank(0, cause, message="boom")) == 0
    (stop,) = job.study.stops()
    assert (stop.cell_id, stop.cause, stop.message) == (job.cell_id, cause, "boom")
    assert len(stop.code) == 12


def test_where_a_warning_to_others_finds_no_room_the_verdict_is_kept(job, capsys):
    (job.study.folder / "stops").write_text("in place of a folder")
    assert job.end(0, rank(0, Cause.BUG)) == 0
    assert job.exit("2")["cause"] == "bug"
    assert "cells that have not begun are not warned" in capsys.readouterr().err


@pytest.mark.parametrize("cause", [Cause.TERMINATED, Cause.DATA, Cause.STORAGE, Cause.SKIPPED])
def test_what_needs_a_person_is_neither_repeated_nor_said_to_others(job, cause):
    assert job.end(0, rank(0, cause)) == 0
    assert job.study.stops() == ()
    assert job.exit("2")["cause"] == cause


def test_ranks_that_never_began_leave_a_verdict_too(job):
    assert job.end(0, code=2) == RUN_AGAIN
    assert job.exit("2")["cause"] == "lost"
    assert "ended with code 2" in job.exit("2")["message"]


def test_a_second_job_on_the_same_attempt_touches_nothing(job):
    own_attempt = job.attempts / "2"
    own_attempt.mkdir(parents=True)
    (own_attempt / "claim.json").write_text('{"schema_version": 1, "job_id": "16_1"}')
    assert job.end(0, rank(0)) == 0
    assert not (own_attempt / "exit.json").exists()


def test_a_preemption_before_does_not_count_against_a_rank_that_dies_after(job):
    """Slurm started it again on its own: the first attempt has ranks that were told to end, and no verdict."""
    first = job.attempts / "2"
    first.mkdir(parents=True)
    (first / "rank0.json").write_text(to_json(rank(0, Cause.TERMINATED)))
    assert job.end(1, rank(0), code=137) == RUN_AGAIN
    assert job.end(2, rank(0), code=137) == 0
