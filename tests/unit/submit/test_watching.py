"""How often a client that waits looks at its study, and what wakes it. Nothing here waits."""

import select
from types import SimpleNamespace

import pytest

from launchers.backend import TaskState, TaskStatus
from launchers.profile import Scheduler
from launchers.queue.files import write_states
from tests.unit.builders import entry, planned_study, point
from vit_sweep.study import polling
from vit_sweep.study.journal import Event
from vit_sweep.submit import watching
from vit_sweep.submit.tending import Keeper

LOOKS = 40


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """Watch a study whose cells wait for ever, on a clock that is made up, and do what `meanwhile` says in pauses.

    Returns the pauses, and when the scheduler was asked.
    """

    def watch(scheduler, meanwhile=lambda study, wakes: None, cells=1):
        study, plan = planned_study(tmp_path / "s", *(point(seed=seed) for seed in range(cells)))
        study.batch_dir("b").mkdir(parents=True)
        tasks = [(cell, 1) for cell in plan.cells]
        study.journal(entry(Event.SUBMITTED, "b", *tasks, handle="17", scheduler=scheduler))
        states = {("b", index): TaskStatus(state=TaskState.QUEUED) for index in range(cells)}
        clock, pauses = SimpleNamespace(now=0.0, asked=[]), []

        def ask(_submissions, **_how):
            clock.asked.append(clock.now)
            return states

        monkeypatch.setattr(polling, "launcher_of", lambda _: SimpleNamespace(states=ask))
        monkeypatch.setattr(polling, "time", SimpleNamespace(monotonic=lambda: clock.now))

        def pause(seconds, wakes=()):
            pauses.append(seconds)
            clock.now += seconds
            meanwhile(study, wakes)

        monkeypatch.setattr(watching.interrupt, "pause", pause)
        looks = watching.follow(study, Keeper(study, say=lambda _: None))
        for _ in range(LOOKS):
            next(looks)
        looks.close()
        return pauses, clock.asked

    return watch


def test_a_client_on_this_machine_looks_ever_less_often_while_nothing_changes(waiting):
    pauses, _ = waiting(Scheduler.LOCAL)
    assert pauses[0] == 0.5
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5.0


def test_what_its_queue_says_wakes_it_at_once(waiting):
    woken = []

    def meanwhile(study, wakes):
        assert not select.select(wakes, [], [], 0)[0]
        write_states(study.batch_dir("b"), {0: TaskStatus(state=TaskState.RUNNING)})
        woken.append(bool(select.select(wakes, [], [], 60)[0]))

    waiting(Scheduler.LOCAL, meanwhile)
    assert woken == [True] * (LOOKS - 1)


def test_on_slurm_files_are_looked_at_ever_less_often_and_squeue_is_asked_when_that_is_due(waiting):
    pauses, asked_at = waiting(Scheduler.SLURM)
    assert pauses[0] == 0.5
    assert max(pauses) == 25.0
    assert asked_at[:6] == pytest.approx([0, 10, 30, 90, 270, 450], abs=0.01)


@pytest.mark.parametrize(("cells", "first_s"), [(1, 0.5), (20, 1.0), (40, 2.0), (400, 2.0)])
def test_many_cells_on_slurm_are_looked_at_less_often_than_few(waiting, cells, first_s):
    pauses, _ = waiting(Scheduler.SLURM, cells=cells)
    assert pauses[0] == first_s
