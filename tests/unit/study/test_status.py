"""What became of a cell: its own files first, then the scheduler's word; nothing is silently a row."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.checked import to_json
from tests.unit.builders import cell, entry, record, series
from tests.unit.outcome.test_verdict import rank
from vit_sweep.outcome.ending import Cause, DeviceMemory, Exit, Progress
from vit_sweep.plan.cell import CellFile
from vit_sweep.record.record import BatchTriple
from vit_sweep.runs.of_study import runs_of
from vit_sweep.study import polling, status
from vit_sweep.study.journal import Event
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study


@pytest.fixture
def study(tmp_path):
    (tmp_path / "s" / "cells").mkdir(parents=True)
    (tmp_path / "s" / "study.json").write_text("{}")
    return Study(tmp_path / "s")


@pytest.fixture
def slurm_says(monkeypatch):
    """A scheduler that says one thing of every task; the real ones are met in tests/slurm and tests/e2e."""

    def say(state, detail="", ended=None, earlier=()):
        class Launcher:
            def earlier_starts(self, submission, index):
                return earlier

            def states(self, submissions, **_how):
                status = TaskStatus(
                    state=state, detail=detail, ended=ended or (Ended.UNREPORTED if state == "ended" else None)
                )
                return {(s.batch_name, i): status for s in submissions for i in range(s.tasks)}

        for module in (status, polling):
            monkeypatch.setattr(module, "launcher_of", lambda scheduler: Launcher())

    return say


def plan(study, planned):
    folder = study.cell_dir(planned.cell_id)
    (folder / "attempts").mkdir(parents=True)
    file = CellFile(cell_id=planned.cell_id, cell=planned, series=(series(),), data_root="data")
    (folder / "cell.json").write_text(to_json(file))
    (study.folder / "plan.json").write_text("{}")
    return folder


def submit(study, planned, attempt=1, event=Event.SUBMITTED, handle="7", **fields):
    task = (planned.cell_id, attempt)
    study.journal(entry(event, f"b{attempt}", task, handle=handle, **fields))


@pytest.fixture
def sent(study):
    """The folder of a cell that was submitted."""
    folder = plan(study, cell())
    submit(study, cell())
    return folder


def only(study):
    (result,) = settled_results(study)
    return result.status, result.detail


def leave(folder, attempt, name, content):
    (folder / "attempts" / attempt).mkdir(exist_ok=True)
    (folder / "attempts" / attempt / name).write_text(to_json(content))


def test_a_cell_that_nobody_submitted_is_missing(study):
    plan(study, cell())
    assert only(study) == ("missing", "never submitted")


def test_a_record_is_done_whatever_the_scheduler_says(study, sent, slurm_says):
    slurm_says(TaskState.UNKNOWN)
    (sent / "record.json").write_text(to_json(record(cell())))
    assert only(study) == ("done", "")


def test_a_run_that_was_not_what_was_asked_is_an_error_and_no_row(study, sent, slurm_says):
    """The paper's 8 x 6 that was logged as 8 x 16."""
    slurm_says(TaskState.ENDED)
    sound = record(cell())
    resolved = replace(sound.resolved, batch=BatchTriple(micro_batch=6, accum=1, global_batch=6))
    (sent / "record.json").write_text(to_json(replace(sound, resolved=resolved)))
    state, detail = only(study)
    assert state == "failed"
    assert "what ran is not what was asked: micro batch: asked 16, ran 6" in detail
    (run,) = runs_of(settled_results(study))
    assert not run.timed


def test_a_foreign_record_is_named_and_the_cell_stays_missing(study):
    folder = plan(study, cell())
    (folder / "record.json").write_text(to_json(record(cell(seed=5))))
    assert only(study)[0] == "missing"
    assert "belongs to another cell" in only(study)[1]


def test_the_jobs_own_word_names_the_failure(study, sent, slurm_says):
    slurm_says(TaskState.ENDED, "Slurm says FAILED on vector01")
    leave(sent, "1", "exit.json", Exit(cause=Cause.DATA, message="train is damaged", rank=2, host="vector01"))
    assert only(study) == ("failed", "data: train is damaged (rank 2 on vector01)")


def test_an_earlier_attempts_failure_says_nothing_of_the_running_one(study, sent, slurm_says):
    slurm_says(TaskState.RUNNING, "vector02")
    leave(sent, "1", "exit.json", Exit(cause=Cause.BUG, message="boom", rank=0, host="vector01"))
    leave(sent, "2", "progress.json", Progress(phase="training", epoch=2, epochs=3, host="vector02"))
    submit(study, cell(), attempt=2)
    (result,) = settled_results(study)
    assert (result.status, result.detail, result.attempt) == ("running", "training", "2")
    assert (result.progress.epoch, result.progress.host) == (2, "vector02")


def test_a_requeued_attempt_is_read_in_the_order_of_its_restarts(study, sent, slurm_says):
    slurm_says(TaskState.RUNNING)
    for restart in ("1", "1.2", "1.10"):
        if restart != "1.10":
            leave(sent, restart, "exit.json", Exit(cause=Cause.TERMINATED, message="SIGTERM"))
        leave(sent, restart, "progress.json", Progress(phase="training", epoch=1, epochs=3, host=f"host{restart}"))
    (result,) = settled_results(study)
    assert result.progress.host == "host1.10"
    assert result.detail == "training; again after requeued x 2"


@pytest.mark.parametrize("is_done", [True, False])
def test_why_a_job_was_started_again_is_asked_and_kept(study, sent, slurm_says, is_done):
    slurm_says(TaskState.RUNNING, earlier=(Ended.PREEMPTED,))
    leave(sent, "1", "exit.json", Exit(cause=Cause.TERMINATED, message="SIGTERM"))
    leave(sent, "1.1", "progress.json", Progress(phase="training", epoch=1, epochs=3, host="vector01"))
    if is_done:
        (sent / "record.json").write_text(to_json(record(cell(), attempt="1.1")))
    assert settled_results(study)[0].story == "preempted"
    slurm_says(TaskState.RUNNING)  # it has forgotten
    assert settled_results(study)[0].story == "preempted"


def test_a_job_that_waits_to_be_started_again_says_after_what(study, sent, slurm_says):
    slurm_says(TaskState.QUEUED, "BeginTime")
    leave(sent, "1", "exit.json", Exit(cause=Cause.TIME_LIMIT, message="warned", again=True))
    assert only(study) == ("queued", "BeginTime; again after time_limit")


def test_a_suspended_job_is_not_called_running_and_is_waited_for(study, sent, slurm_says):
    slurm_says(TaskState.SUSPENDED, "SUSPENDED on vector01")
    leave(sent, "1", "progress.json", Progress(phase="training", epoch=1, epochs=3, host="vector01"))
    assert only(study) == ("suspended", "SUSPENDED on vector01")
    assert settled_results(study)[0].status.under_way


def test_a_node_that_failed_is_retried_elsewhere(study, sent, slurm_says):
    slurm_says(TaskState.ENDED, "Slurm says NODE_FAIL on vector03", Ended.NODE_FAILURE)
    leave(sent, "1", "rank0.json", rank(0, world=1))
    (result,) = settled_results(study)
    assert (result.status, result.exclude) == ("retry", ("node0",))
    assert "node_failure: Slurm says NODE_FAIL on vector03" in result.detail


def test_a_job_that_died_without_a_word_is_retried_once_and_then_a_failure_with_the_schedulers_reason(
    study, sent, slurm_says
):
    slurm_says(TaskState.ENDED, "Slurm says FAILED", Ended.FAILED)
    assert only(study)[0] == "retry"
    submit(study, cell(), attempt=2, event=Event.SUBMITTING, asked=False)
    submit(study, cell(), attempt=2, asked=False)
    state, detail = only(study)
    assert state == "failed"
    assert detail.startswith("lost: Slurm says FAILED")


def test_a_verdict_that_a_client_gave_is_kept_after_the_scheduler_has_forgotten(study, sent, slurm_says):
    slurm_says(TaskState.ENDED, "Slurm says TIMEOUT on vector03", Ended.TIME_LIMIT)
    leave(sent, "1", "exit.json", Exit(cause=Cause.TERMINATED, message="SIGTERM", rank=0, host="vector03"))
    only(study)
    slurm_says(TaskState.ENDED, "no longer known to squeue")
    assert only(study)[0] == "retry"
    assert "time_limit" in only(study)[1]


def test_whoever_looks_at_the_study_of_another_user_leaves_no_verdict_in_it(study, sent, slurm_says, monkeypatch):
    slurm_says(TaskState.ENDED, "Slurm says TIMEOUT on vector03", Ended.TIME_LIMIT)
    leave(sent, "1", "exit.json", Exit(cause=Cause.TERMINATED, message="SIGTERM", rank=0, host="vector03"))
    before = (sent / "attempts/1/exit.json").read_bytes()
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert "time_limit" in only(study)[1]
    assert (sent / "attempts/1/exit.json").read_bytes() == before
    with study.changing():  # who resumes it acts by what is found, and keeps it
        only(study)
    assert (sent / "attempts/1/exit.json").read_bytes() != before


def test_out_of_memory_is_a_row_with_its_figures(study, sent, slurm_says):
    slurm_says(TaskState.ENDED)
    memory = DeviceMemory(allocated_mib=14000.0, reserved_mib=14800.0, free_mib=100.0, total_mib=15000.0)
    full = Exit(cause=Cause.OUT_OF_MEMORY, message="tried 56 MiB", rank=1, host="vector01", device_memory=memory)
    leave(sent, "1", "exit.json", full)
    state, detail = only(study)
    assert state == "out_of_memory"
    assert "tried 56 MiB (rank 1 on vector01); 14000 MiB allocated, 14800 reserved, 100 of others, of 15000" in detail


def test_a_finished_cell_that_runs_again_is_active_and_keeps_its_record_if_that_fails(study, sent, slurm_says):
    (sent / "record.json").write_text(to_json(record(cell())))
    submit(study, cell(), attempt=2)
    slurm_says(TaskState.RUNNING)
    assert only(study)[0] == "running"
    slurm_says(TaskState.ENDED)
    leave(sent, "2", "exit.json", Exit(cause=Cause.BUG, message="boom", rank=0, host="vector01"))
    (result,) = settled_results(study)
    assert result.status == "done"
    assert "the later attempt 2 gave nothing: bug: boom" in result.detail


def test_a_job_whose_submission_is_in_doubt_is_not_called_missing(study, slurm_says):
    plan(study, cell())
    submit(study, cell(), event=Event.SUBMITTING)
    assert only(study)[0] == "unknown"


@pytest.mark.parametrize("handle", ["7", "7;west"])
def test_a_job_that_began_and_that_slurm_has_forgotten_is_lost_and_was_not_cancelled(study, slurm_says, handle):
    slurm_says(TaskState.ENDED, "no longer known to squeue", Ended.UNREPORTED)
    plan(study, cell())
    submit(study, cell(), handle=handle)
    (logs := study.batch_dir("b1") / "logs").mkdir(parents=True)
    (logs / "7_1_0_log.err").write_text("of another task")
    assert only(study)[0] == "cancelled"
    (study.cell_dir(cell().cell_id) / "attempts/1/exit.json").unlink()
    (logs / "7_0_0_log.err").write_text("")
    state, detail = only(study)
    assert (state, detail.split(": ")[0]) == ("retry", "lost")
    assert "its job began and left no file (no longer known to squeue)" in detail


@pytest.fixture(params=[{"f_bavail": 0, "f_files": 0}, {"f_bavail": 9, "f_files": 9}], ids=["bytes", "files"])
def full_disk(request, monkeypatch):
    """Full of bytes, on a file system that counts no files, or full of files."""
    monkeypatch.setattr(status.os, "statvfs", lambda folder: SimpleNamespace(f_favail=0, **request.param))


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("ended", [Ended.UNREPORTED, Ended.FAILED])
def test_an_attempt_that_found_a_full_disk_is_no_cancelled_one(study, sent, slurm_says, ended):
    slurm_says(TaskState.ENDED, "the local queue is gone", ended)
    state, detail = only(study)
    assert (state, detail.split(": ")[:2]) == ("failed", ["storage", "it left no file"])
    assert f"the disk of {study.folder} is full (the local queue is gone)" in detail


def test_what_has_ended_for_good_is_read_once(study, sent, slurm_says, monkeypatch):
    slurm_says(TaskState.ENDED)
    leave(sent, "1", "exit.json", Exit(cause=Cause.BUG, message="boom", rank=0, host="vector01"))
    watcher = status.Watcher(study)
    first = watcher.results()
    monkeypatch.setattr(study, "attempts", None)
    assert watcher.results() == first


def test_an_ending_is_believed_at_the_second_look_only(study, sent, slurm_says):
    """The scheduler may know of the end before a shared file system shows the record."""
    slurm_says(TaskState.ENDED)
    watcher = status.Watcher(study)
    assert watcher.results()[0].status == "running"
    (sent / "record.json").write_text(to_json(record(cell())))
    assert watcher.results()[0].status == "done"


@pytest.mark.parametrize("state", [TaskState.ENDED, TaskState.UNKNOWN])
def test_a_job_that_ends_while_the_scheduler_is_asked_has_all_that_it_left(study, sent, monkeypatch, state):
    """A squeue that takes its time: the record is there when it answers, and was not when it was asked."""

    class Slow:
        def states(self, submissions, **_how):
            (sent / "record.json").write_text(to_json(record(cell())))
            leave(sent, "1", "exit.json", Exit(cause=Cause.DONE, message=""))
            ended = Ended.UNREPORTED if state is TaskState.ENDED else None
            return {(s.batch_name, 0): TaskStatus(state=state, ended=ended) for s in submissions}

    for module in (status, polling):
        monkeypatch.setattr(module, "launcher_of", lambda scheduler: Slow())
    (result,) = status.Watcher(study).results()
    assert result.status == "done"


def test_a_record_that_a_file_system_shows_late_is_not_missed_at_the_first_look(study, sent, slurm_says):
    slurm_says(TaskState.ENDED)
    leave(sent, "1", "exit.json", Exit(cause=Cause.DONE, message=""))
    watcher = status.Watcher(study)
    (first,) = watcher.results()
    assert (first.status, first.detail) == ("running", status.ENDING)
    (sent / "record.json").write_text(to_json(record(cell())))
    (second,) = watcher.results()
    assert second.status == "done"


def test_a_cancelled_cell_is_said_to_be_cancelled(study, sent, slurm_says):
    slurm_says(TaskState.ENDED, "cancelled")
    submit(study, cell(), event=Event.CANCELLED)
    assert only(study)[0] == "cancelled"


def test_a_scheduler_that_does_not_answer_leaves_the_state_unknown(study, sent, slurm_says):
    slurm_says(TaskState.UNKNOWN, "no squeue on this machine")
    assert only(study) == ("unknown", "no squeue on this machine")


def test_a_journal_line_cut_off_by_a_crash_is_named_and_the_others_count(study, sent, slurm_says):
    slurm_says(TaskState.QUEUED, "Priority")
    with (study.folder / "jobs.jsonl").open("a") as journal:
        journal.write('{"at": "now", "event": "subm')
    assert only(study) == ("queued", "Priority")
    assert "jobs.jsonl line 2" in study.problems[0]


def test_a_cell_added_by_another_sweep_is_seen_by_a_client_that_watches(study):
    plan(study, cell())
    watcher = status.Watcher(study)
    assert len(watcher.results()) == 1
    plan(study, cell(seed=9))
    assert len(watcher.results()) == 2


def test_a_job_that_still_starts_says_which_ranks_have_given_no_sign(study, sent, slurm_says):
    slurm_says(TaskState.RUNNING)
    assert only(study) == (status.Status.RUNNING, "starting")
    for number in (0, 2):
        leave(sent, "1", f"rank{number}.json", rank(number))
    assert only(study) == (status.Status.RUNNING, "starting: no sign yet of 2 ranks of 4: 1, 3")
