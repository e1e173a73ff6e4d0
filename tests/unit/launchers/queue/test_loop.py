"""How often a queue wakes and what it tries while it waits, on a clock that is made up; no process, no waiting."""

from types import SimpleNamespace

import pytest

from launchers.backend import Ended
from launchers.batch import Shape, Task
from launchers.queue import loop
from launchers.queue.loop import tasks_of, work_off
from tests.unit.builders import batch, profile

HOUR_S = 3600.0


class MadeUp:
    """A clock, and a bell that lets its time pass: each wait is one wake-up, at whose end `events` may happen."""

    def __init__(self):
        self.now, self.wakes, self.events = 0.0, 0, {}
        self.watches = SimpleNamespace(folder=lambda folder: True)

    def wait(self, sentinels, timeout_s):
        self.wakes += 1
        assert self.wakes < 10 * HOUR_S, "it never ends"
        due = [at for at in self.events if at <= self.now + timeout_s]
        if not due:
            self.now += timeout_s
            return False
        self.now = max(self.now, min(due))
        self.events.pop(min(due))()
        return True


class Ranks:
    """Ranks that end when the test says so, or when they are told to."""

    grace_s, hosts = 10.0, "here"

    def __init__(self):
        self.ended = None

    def code(self):
        return self.ended

    def broken(self):
        return False

    def failure(self):
        return ""

    def send(self, number):
        self.ended = 1

    def sentinels(self):
        return []

    def release(self):
        pass


@pytest.fixture
def made_up(monkeypatch):
    """The time of the loop, and its bell."""
    times = MadeUp()
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: times.now))
    return times


@pytest.fixture
def tasks(tmp_path):
    """A hundred tasks of two shapes, and an hour for each."""
    batches = [
        batch(
            study_dir=str(tmp_path),
            shape=Shape(nodes=1, gpus_per_node=gpus, minutes=60),
            tasks=tuple(Task(name=f"g{gpus}-{i}", attempt=1) for i in range(50)),
            closing=None,
        )
        for gpus in (2, 1)
    ]
    for one_batch in batches:
        (tmp_path / "jobs" / one_batch.name).mkdir(parents=True)
    return tasks_of([(tmp_path / "jobs" / made.name, made) for made in batches])


def run(made_up, tasks, start_ranks, until):
    work_off(tasks, start_ranks, lambda task: "j", bell=made_up, terminated=lambda: made_up.now >= until)


def test_a_queue_without_room_wakes_once_a_second_and_tries_one_task_of_a_batch_every_five(made_up, tasks):
    tried = []
    run(made_up, tasks, lambda task, place: tried.append(task.shape.gpus), until=HOUR_S)
    assert made_up.wakes <= HOUR_S + 1
    assert 2 <= len(tried) <= 2 * (HOUR_S / 5 + 1)
    assert set(tried) == {1, 2}
    assert {task.ended for task in tasks} == {Ended.CANCELLED}


def test_an_event_is_answered_with_a_try_at_once(made_up, tasks):
    tried, free = [], []

    def start_ranks(task, place):
        tried.append(made_up.now)
        return free.pop() if free else None

    made_up.events[1001.5] = lambda: free.append(Ranks())
    run(made_up, tasks, start_ranks, until=1004)
    assert 1001.5 in tried


def test_the_end_of_a_task_lets_the_next_one_start_in_the_same_round(made_up, tasks):
    first, starts = Ranks(), []

    def start_ranks(task, place):
        if not starts or first.ended is not None:
            starts.append(made_up.now)
            return first if len(starts) == 1 else None
        return None

    made_up.events[100.25] = lambda: setattr(first, "ended", 0)
    run(made_up, tasks, start_ranks, until=101)
    assert starts[:2] == [0.0, 100.25]


def test_a_running_task_is_warned_and_ended_when_that_is_due_and_not_at_the_next_look(made_up, tasks):
    ranks, sent = Ranks(), []

    def send(number):
        sent.append((number.name, made_up.now))
        ranks.ended = 1 if number.name == "SIGTERM" else None

    ranks.send = send
    free = [ranks]
    tasks[0].limit_s = 200.75
    run(made_up, tasks, lambda task, place: free.pop() if free else None, until=300)
    assert sent == [("SIGUSR2", 110.75), ("SIGTERM", 200.75)]


def test_why_there_is_no_room_is_said_of_every_task_that_waits_for_it(made_up, tasks):
    def start_ranks(task, place):
        task.detail = "waits for the neighbour"

    details = []
    made_up.events[10.0] = lambda: details.extend(task.detail for task in tasks)
    run(made_up, tasks, start_ranks, until=11)
    assert set(details) == {"waits for the neighbour"}


@pytest.mark.parametrize(
    ("changes", "order"),
    [
        ({"exclusive": True, "nodes": 1}, ["g2-0", "g1-0", "g2-1", "g1-1"]),
        ({"exclusive": False, "nodes": 1}, ["g2-0", "g2-1", "g1-0", "g1-1"]),
        ({"exclusive": True, "nodes": 4}, ["g2-0", "g2-1", "g1-0", "g1-1"]),
    ],
)
def test_cells_that_have_the_machine_for_themselves_take_turns_over_their_counts(changes, order, tmp_path):
    batches = [
        batch(
            profile=profile(**changes),
            shape=Shape(nodes=1, gpus_per_node=gpus, minutes=60),
            tasks=tuple(Task(name=f"g{gpus}-{i}", attempt=1) for i in range(2)),
        )
        for gpus in (2, 1)
    ]
    assert [task.batch.tasks[task.index].name for task in tasks_of([(tmp_path, made) for made in batches])] == order
