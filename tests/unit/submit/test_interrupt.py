"""Ctrl-C: one press is enough whatever Python is doing just then, and it loses no submission."""

import gc
import importlib
import signal
import sys
import threading
import weakref

import pytest

from launchers.backend import TaskState, TaskStatus
from tests.conftest import wait_for
from tests.unit.builders import planned_study, point
from tests.unit.submit.test_submission import Slurm, sent
from vit_sweep.__main__ import _command, main
from vit_sweep.cli import sweep as launch
from vit_sweep.cli.terminal import progress, show
from vit_sweep.study import polling, status
from vit_sweep.study.code.snapshot import take
from vit_sweep.study.journal import in_doubt
from vit_sweep.submit import batches, interrupt, submission, watching

CELLS = [point(gpus=gpus) for gpus in (1, 2, 4)]
"""Three batches: each shape is an array of its own."""


class Lost(BaseException):
    """A client looks again although it was pressed."""


class Waiting(Slurm):
    """Jobs that run for ever; while it is asked for the first time, `happens` is called."""

    happens = staticmethod(lambda: None)
    questions, looks = 0, 1

    def states(self, submissions, **_how):
        self.questions += 1
        if self.questions > self.looks:
            raise Lost
        self.happens()
        return {(s.batch_name, i): TaskStatus(state=TaskState.RUNNING) for s in submissions for i in range(s.tasks)}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Make a planned study of which nothing is submitted."""

    def make(name):
        waiting = Waiting(planned_study(tmp_path / name, *CELLS)[0])
        for module in (status, polling, submission, batches):
            monkeypatch.setattr(module, "launcher_of", lambda scheduler: waiting)
        return waiting

    return make


@pytest.fixture
def slurm(planned):
    return planned("s")


@pytest.fixture
def no_silence(monkeypatch):
    """Slurm is asked at once, not after ten seconds in which a job was silent."""
    monkeypatch.setattr(polling, "SOON_S", 0.0)
    monkeypatch.setattr(polling, "LONGEST_S", 0.0)


def press():
    signal.raise_signal(signal.SIGINT)


class AtCall:
    """Presses at the Nth call of anything since the first of `begins`."""

    def __init__(self, number, begins):
        self.number, self.begins, self.count, self.begun = number, begins.__code__, 0, False

    def __call__(self, frame, event, _argument):
        self.begun |= frame.f_code is self.begins
        if self.begun and event in ("call", "c_call"):
            self.count += 1
            if self.count == self.number:
                press()


def run(verb, slurm, option, *, begins=interrupt.hold, press_at=0):
    """The client's exit code (None: it looked again), and how many calls it has made."""
    slurm.questions, slurm.looks = 0, 2 if press_at else 1
    hook = AtCall(press_at, begins)
    sys.setprofile(hook)
    try:
        return main([verb, str(slurm.study.folder), option]), hook.count
    except Lost:
        return None, hook.count
    finally:
        sys.setprofile(None)


def steps(calls):
    """Some of them, from the first to the last."""
    return range(1, calls, calls // 30)


def plainly(_):
    press()


def in_a_finaliser(_):
    class Thing:
        def __del__(self):
            press()

    Thing()


def in_the_callback_of_a_weak_reference(_):
    thing = {1}
    reference = weakref.ref(thing, lambda _: press())
    del thing
    assert reference() is None


def in_a_generator_that_is_thrown_away(_):
    def some():
        try:
            yield
        finally:
            press()

    next(some())


def in_the_garbage_collector(_):
    hook = lambda phase, info: press() if phase == "stop" else None  # noqa: E731
    gc.callbacks.append(hook)
    gc.collect()
    gc.callbacks.remove(hook)


def at_the_end_of_an_import(folder):
    """Where Python throws away the lock of the module, in the callback of a weak reference."""

    def hook(frame, event, _):
        if event == "call" and frame.f_code.co_name == "cb":
            sys.setprofile(None)
            press()

    (folder / "fresh_module.py").touch()
    sys.path.insert(0, str(folder))
    sys.setprofile(hook)
    importlib.import_module("fresh_module")
    assert sys.getprofile() is None, "the import had no such callback"
    sys.path.remove(str(folder))


def in_another_thread(_):
    thread = threading.Thread(target=press)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    "moment",
    [
        plainly,
        in_a_finaliser,
        in_the_callback_of_a_weak_reference,
        in_a_generator_that_is_thrown_away,
        in_the_garbage_collector,
        at_the_end_of_an_import,
        in_another_thread,
    ],
    ids=lambda moment: moment.__name__,
)
def test_one_press_detaches_whatever_python_is_doing(slurm, no_silence, tmp_path, capsys, moment):
    launch.resume(slurm.study, wait=False)
    slurm.happens = lambda: moment(tmp_path)
    assert main(["status", str(slurm.study.folder), "--watch"]) == launch.EXIT_DETACHED
    assert "detached" in capsys.readouterr().out


def test_a_press_ends_a_wait_at_once(slurm, no_silence, monkeypatch):
    launch.resume(slurm.study, wait=False)
    monkeypatch.setattr(watching, "_SLURM_PERIOD_S", 600.0)
    waits = threading.get_ident()

    def press_it_while_it_waits():
        wait_for(lambda: sys._current_frames()[waits].f_code is interrupt.pause.__code__, interval_s=0.001)
        press()

    thread = threading.Thread(target=press_it_while_it_waits)

    def begins_to_wait():
        monkeypatch.setattr(polling, "SOON_S", 600.0)
        thread.start()

    slurm.happens = begins_to_wait
    assert main(["status", str(slurm.study.folder), "--watch"]) == launch.EXIT_DETACHED
    thread.join()


def test_one_press_ends_a_watching_client_at_any_step(slurm, no_silence, monkeypatch):
    """Its looks follow each other at once, and each asks: how many there are hangs on no clock."""
    monkeypatch.setattr(watching, "_SLURM_PERIOD_S", 0.0)
    monkeypatch.setattr(watching, "_LOCAL_PERIOD_S", 0.0)
    launch.resume(slurm.study, wait=False)
    _, calls = run("status", slurm, "--watch", begins=_command)
    for step in steps(calls):
        assert run("status", slurm, "--watch", begins=_command, press_at=step)[0] == launch.EXIT_DETACHED, step


def test_one_press_at_any_step_of_a_submission_loses_nothing_and_submits_nothing_twice(planned, tmp_path, monkeypatch):
    code = take(tmp_path)
    monkeypatch.setattr(launch, "take", lambda folder: code)  # made once, since it takes longest
    _, calls = run("resume", planned("whole"), "--no-wait")
    ends = set()
    for step in steps(calls):
        slurm = planned(f"s{step}")
        end, _ = run("resume", slurm, "--no-wait", press_at=step)
        assert not in_doubt(slurm.study.jobs()), step
        assert end == launch.EXIT_DETACHED or len(sent(slurm)) == len(CELLS), step
        ends.add((end, len(sent(slurm))))
        assert run("resume", slurm, "--no-wait")[0] == launch.EXIT_DONE
        assert len(sent(slurm)) == len(CELLS), step
    assert {(launch.EXIT_DETACHED, count) for count in (1, 2, 3)} <= ends


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_press_before_anything_is_submitted_is_heeded_even_if_python_has_lost_it(slurm, monkeypatch):
    monkeypatch.setattr(launch, "resolve", in_a_finaliser)
    with interrupt.handled(), pytest.raises(KeyboardInterrupt):
        launch.resume(slurm.study)
    assert slurm.study.jobs() == []


def test_a_second_press_leaves_a_scheduler_that_does_not_answer(slurm, capsys):
    def never_answers(rendered):
        press()
        press()
        raise Lost

    slurm.submit = never_answers
    with interrupt.handled():
        assert launch.resume(slurm.study) == launch.EXIT_DETACHED
    assert "3 cells are not submitted yet" in capsys.readouterr().out
    assert len(in_doubt(slurm.study.jobs())) == 1


def test_a_press_while_the_tables_are_made_ends_it_at_once(slurm, monkeypatch, capsys):
    def collect(study, console, **_):
        press()
        raise Lost

    monkeypatch.setattr("vit_sweep.cli.terminal.collected.collect_study", collect)
    monkeypatch.setattr(progress, "watch", lambda *_, **__: [])
    with interrupt.handled():
        assert launch.watch_and_collect(slurm.study, show.console()) == launch.EXIT_DETACHED
    assert f"collect {slurm.study.folder}" in capsys.readouterr().out


def test_where_a_shell_has_sigint_ignored_it_stays_so(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt.handled():
            press()
            interrupt.hold()
            interrupt.pause(0)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
