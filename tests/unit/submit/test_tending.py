"""Who watches tends: retries are sent once, elsewhere than where it failed, by one client at a time."""

from dataclasses import replace

import pytest
from filelock import FileLock

from launchers.backend import Ended, SubmitProblem, TaskState, TaskStatus
from launchers.checked import to_json
from tests.unit.builders import entry, planned_study, point, record
from tests.unit.submit.test_submission import Slurm
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.outcome.result import Status
from vit_sweep.plan.cell import JobOptions
from vit_sweep.plan.deciding.candidates_file import candidates_file
from vit_sweep.plan.deciding.one_curve import candidates_of
from vit_sweep.plan.deciding.question import DecideRule, question_of
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.repeats import RepeatRule
from vit_sweep.study import polling, status
from vit_sweep.study.journal import Event, latest_attempts
from vit_sweep.study.status import settled_results
from vit_sweep.submit import batches, submission, tending, watching
from vit_sweep.submit.tending import Keeper

QUESTION = "efficiency(2) +- 3 %"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Two cells, sent as attempt 1; the job of both has ended, and the first lost its node."""
    study, plan = planned_study(tmp_path / "s", point(), point(seed=1))
    tasks = tuple((cell, 1) for cell in plan.cells)
    for event, handle in ((Event.SUBMITTING, ""), (Event.SUBMITTED, "17")):
        study.journal(entry(event, "b", *tasks, handle=handle))
    fake = Slurm(study)
    fake.first, fake.second = plan.cells
    study.write_exit(fake.first, "1", Exit(cause=Cause.NODE_FAILURE, message="down", host="vector03"))
    study.write_exit(fake.second, "1", Exit(cause=Cause.BUG, message="boom"))
    fake.states = lambda submissions, **_how: {
        (s.batch_name, i): TaskStatus(state=TaskState.ENDED, ended=Ended.FAILED)
        if s.handle == "17"
        else TaskStatus(state=TaskState.RUNNING)
        for s in submissions
        for i in range(s.tasks)
    }
    for module in (status, polling, submission, batches, tending):
        monkeypatch.setattr(module, "launcher_of", lambda scheduler: fake)
    return fake


def keeper(slurm):
    return Keeper(slurm.study, say=lambda text: None)


def test_a_lost_node_is_retried_once_and_elsewhere_and_a_bug_is_not(slurm):
    results = settled_results(slurm.study)
    keeper(slurm).tend(results)
    sent = latest_attempts(slurm.study.jobs())
    assert (sent[slurm.first].attempt, sent[slurm.first].since, sent[slurm.second].attempt) == (2, 1, 1)
    (name,) = slurm.jobs
    assert [batch.exclude for batch in slurm.rendered if batch.name == name] == [("vector03",)]


def limit(slurm, cells):
    """Let as many GPUs be in flight as so many cells hold; all of them have lost their node."""
    planned = slurm.study.planned()
    for cell in (slurm.first, slurm.second):
        slurm.study.write_exit(cell, "1", Exit(cause=Cause.NODE_FAILURE, message="down", host="vector03"))
    most = cells * planned[slurm.first].held_gpus
    slurm.study.rewrite_plan(replace(slurm.study.plan_file(), max_gpus_in_flight=most))


def attempts(slurm):
    """Number of the last attempt of each cell."""
    sent = latest_attempts(slurm.study.jobs())
    return [sent[cell].attempt for cell in (slurm.first, slurm.second)]


def test_retries_keep_to_the_gpus_that_may_be_in_flight_beside_what_runs(slurm):
    limit(slurm, cells=1)
    study = slurm.study
    keeper(slurm).tend(settled_results(study))
    assert sorted(attempts(slurm)) == [1, 2]
    keeper(slurm).tend(settled_results(study))
    assert sorted(attempts(slurm)) == [1, 2], "one of them runs"
    (sent,) = [cell for cell, attempt in latest_attempts(study.jobs()).items() if attempt.attempt == 2]
    done = record(study.planned()[sent].cell, attempt="2")
    (study.cell_dir(sent) / "record.json").write_text(to_json(done))
    keeper(slurm).tend(settled_results(study))
    assert attempts(slurm) == [2, 2]


def test_retries_that_fit_together_are_sent_together(slurm):
    limit(slurm, cells=2)
    keeper(slurm).tend(settled_results(slurm.study))
    assert attempts(slurm) == [2, 2]


def test_a_retry_above_the_budget_is_not_sent_and_says_so(slurm):
    slurm.study.rewrite_plan(replace(slurm.study.plan_file(), budget_gpu_hours=0.001))
    tended = keeper(slurm)
    tended.tend(settled_results(slurm.study))
    assert slurm.jobs == {}
    assert tended.given_up[slurm.first].startswith("budget_gpu_hours=0.001: 1 cell needs about ")


def test_a_second_client_with_an_older_look_sends_nothing_more(slurm):
    results = settled_results(slurm.study)
    keeper(slurm).tend(results)
    keeper(slurm).tend(results)
    assert len(slurm.jobs) == 1


def test_a_client_that_finds_the_study_held_only_looks(slurm):
    results = settled_results(slurm.study)
    with FileLock(slurm.study.folder / ".lock"):
        keeper(slurm).tend(results)
    assert slurm.jobs == {}


def test_a_cell_that_its_user_cancelled_meanwhile_stays_so(slurm):
    results = settled_results(slurm.study)
    assert results[0].status == "retry" or results[1].status == "retry"
    entry = next(e for e in slurm.study.jobs() if e.event is Event.SUBMITTED)
    slurm.study.journal(replace(entry, event=Event.CANCELLED))
    keeper(slurm).tend(results)
    assert slurm.jobs == {}


def test_a_retry_that_the_scheduler_refuses_is_given_up_with_its_reason(slurm):
    slurm.mute = [(False, SubmitProblem.REFUSED)]
    tended = keeper(slurm)
    tended.tend(settled_results(slurm.study))
    assert "no answer" in tended.given_up[slurm.first]
    tended.tend(settled_results(slurm.study))
    assert slurm.jobs == {}


def test_a_retry_waits_for_a_controller_that_is_away_and_is_not_given_up(slurm, monkeypatch):
    slurm.mute, slurm.finds, waited_s = [(False, SubmitProblem.BUSY)], False, []

    def pause(seconds):
        waited_s.append(seconds)
        slurm.finds = sum(waited_s) > 3600

    monkeypatch.setattr(submission.interrupt, "pause", pause)
    tended = keeper(slurm)
    tended.tend(settled_results(slurm.study))
    tended.tend(settled_results(slurm.study))
    assert tended.given_up == {}
    assert [task.name for tasks in slurm.jobs.values() for task in tasks] == [slurm.first]
    assert sum(waited_s) > 3600


@pytest.fixture
def repeated(slurm):
    """The first cell is done with three repeats of unlike times; its study wants +- 2 %, six runs at most."""
    for seed, seconds in ((0, 1.0), (1, 1.4), (2, 0.7)):
        plan = make_plan([point(seed=seed)])
        slurm.study.write_plan(plan, data_root="data", options=JobOptions(), repeat=RepeatRule(half_width=0.02, most=6))
        (cells,) = plan.cells.values()
        finished = record(cells.cell, epoch_seconds=(2.0, seconds, seconds))
        (slurm.study.cell_dir(cells.cell.cell_id) / "record.json").write_text(to_json(finished))
    return slurm


def test_repeats_are_added_to_the_study_and_sent_until_the_rule_is_met(repeated):
    tended = keeper(repeated)
    tended.tend(settled_results(repeated.study))
    assert len(tended.added) == 3
    planned = repeated.study.planned()
    assert sorted(planned[cell].cell.seed for cell in tended.added) == [3, 4, 5]
    assert {task.name for tasks in repeated.jobs.values() for task in tasks} == tended.added
    assert repeated.study.repeat_rule() == RepeatRule(half_width=0.02, most=6)
    # They run now: nothing more is added, by this client or another.
    keeper(repeated).tend(settled_results(repeated.study))
    assert len(repeated.study.planned()) == len(planned)


def while_others_run(slurm):
    """A look at the study, while all cells run that have no record."""
    looked = settled_results(slurm.study)
    return [replace(r, status=Status.RUNNING) if r.record is None else r for r in looked]


def sent_cells(slurm):
    """Cells of all jobs, one by one."""
    return sorted(task.name for tasks in slurm.jobs.values() for task in tasks)


def test_repeats_wait_for_no_cell_of_another_sweep(repeated):
    repeated.study.write_plan(
        make_plan([point(accum=4)]), data_root="data", options=JobOptions(), repeat=repeated.study.repeat_rule()
    )
    results, tended = while_others_run(repeated), keeper(repeated)
    tended.tend(results)
    assert not tended.added
    tended.tend(results, {result.file.cell_id for result in results if result.record is not None})
    assert len(tended.added) == 3


@pytest.fixture
def asked(slurm):
    """A question was asked, and nothing of its curve has run; the two cells that run by now are of another curve."""
    points = [point(gpus=gpus, accum=2) for gpus in (1, 2)]
    offered = candidates_of(points, make_plan(points), question_of(QUESTION), None)
    slurm.study.write_candidates(candidates_file(offered))
    rule = DecideRule(until=QUESTION, budget_gpu_hours=100, most=10)
    slurm.study.rewrite_plan(replace(slurm.study.plan_file(), decide=rule))
    (base,) = [planned for gpus, planned in offered.items() if gpus == 1]
    slurm.study.add_cells({base.cell.cell_id: base}, like=next(iter(slurm.study.cell_files())))
    (slurm.study.cell_dir(base.cell.cell_id) / "record.json").write_text(to_json(record(base.cell)))
    slurm.base = base.cell.cell_id
    return slurm


def test_a_question_waits_for_no_cell_of_another_sweep(asked):
    tended = keeper(asked)
    tended.tend(while_others_run(asked), {asked.base})
    assert [entry.until for entry in asked.study.decisions()] == [QUESTION]
    assert tended.added
    assert sent_cells(asked) == sorted(tended.added)


def test_of_two_clients_with_one_look_one_decides_and_the_other_follows_what_it_sent(asked):
    results = while_others_run(asked)
    first, second = keeper(asked), keeper(asked)
    first.tend(results, {asked.base})
    second.tend(results, {asked.base})
    assert second.added == first.added != set()
    third = keeper(asked)
    third.tend(while_others_run(asked), {asked.base})
    assert third.added == first.added, "which looked later, while they ran"
    assert sent_cells(asked) == sorted(first.added)
    assert len(asked.study.decisions()) == 1


def test_a_client_that_found_the_study_held_looks_again_though_nothing_that_it_follows_runs(asked, monkeypatch):
    monkeypatch.setattr(watching.interrupt, "pause", lambda *_: lock.release())
    tended, lock = keeper(asked), FileLock(asked.study.folder / ".lock")
    lock.acquire()
    looks = watching.follow(asked.study, tended, only={asked.base})
    next(looks)
    assert tended.postponed
    next(looks)
    looks.close()
    assert tended.added


def test_what_slurm_holds_for_a_cell_that_is_done_is_cancelled_and_said(slurm):
    """It put the job back after the record was written, and could not start it again."""
    done = slurm.study.planned()[slurm.first].cell
    (slurm.study.cell_dir(slurm.first) / "record.json").write_text(to_json(record(done)))
    results, lines, cancelled = settled_results(slurm.study), [], []
    status = TaskStatus(state=TaskState.QUEUED, detail="launch failed requeued held")
    slurm.states = lambda submissions: {(s.batch_name, i): status for s in submissions for i in range(s.tasks)}
    slurm.cancel = cancelled.extend
    Keeper(slurm.study, say=lines.append).end_needless(results)
    assert [(submission.handle, indices) for submission, indices in cancelled] == [("17", [0])]
    assert lines == ["1 job of finished cells still waited in the queue (launch failed requeued held): now cancelled"]
