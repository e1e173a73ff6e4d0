"""What wakes a queue: ends, signals, wishes and slots that others give back. Each test would hang without its ring."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from launchers.queue.slots import Slots
from launchers.queue.wakeup import Bell
from tests.conftest import ROOT

LONG_S = 120.0
"""Far beyond what a ring takes; whoever waits so long has heard none."""
HOLDER = """
import sys
from pathlib import Path
from launchers.queue.slots import Slots
print(Slots(["core-0"], Path(sys.argv[1])).take(1), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def bell():
    with Bell() as hung:
        yield hung


def test_without_an_event_it_is_the_time_that_ends_a_wait_and_that_is_said(bell):
    assert not bell.wait([], 0)


def test_the_end_of_a_child_rings_although_it_came_before_the_wait(bell):
    subprocess.run(["true"], check=True)
    assert bell.wait([], LONG_S)
    assert not bell.wait([], 0)


def test_a_signal_with_a_handler_rings(bell):
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: heard.append(number))
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert bell.wait([], LONG_S)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [signal.SIGUSR2]


def test_another_thread_rings(bell):
    thread = threading.Thread(target=bell.ring)
    thread.start()
    assert bell.wait([], LONG_S)
    thread.join()


def test_a_bell_that_rings_already_takes_any_number_of_pulls(bell):
    for _ in range(100_000):
        bell.ring()
    assert bell.wait([], 0)
    assert not bell.wait([], 0)


def test_a_file_that_appears_in_a_watched_folder_rings(bell, tmp_path):
    assert bell.watches.folder(tmp_path)
    (tmp_path / "0").touch()
    assert bell.wait([], LONG_S)


def test_what_is_not_there_cannot_be_watched(bell, tmp_path):
    assert not bell.watches.folder(tmp_path / "none")


def test_slots_that_are_given_back_ring_and_slots_that_are_tried_in_vain_do_not(bell, tmp_path):
    """Two queues that wait for the same cores would else wake each other for ever."""
    slots, other = Slots(["core-0"], tmp_path), Slots(["core-0"], tmp_path)
    assert bell.watches.file(slots.returned())
    slots_taken = slots.take(1)
    assert other.take(1) is None
    assert not bell.wait([], 0)
    slots.release(slots_taken)
    assert bell.wait([], LONG_S)


def test_whoever_is_killed_with_slots_rings(bell, tmp_path):
    assert bell.watches.file(Slots([], tmp_path).returned())
    command, environment = [sys.executable, "-c", HOLDER, str(tmp_path)], os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"['core-0']\n"
        assert not bell.wait([], 0)
        holder.kill()
        assert bell.wait([], LONG_S)


def test_afterwards_signals_are_as_they_were():
    before = signal.getsignal(signal.SIGCHLD)
    with Bell():
        assert signal.getsignal(signal.SIGCHLD) is not before
    assert signal.getsignal(signal.SIGCHLD) is before
    assert signal.set_wakeup_fd(-1) == -1
