"""A submission under way is seen by others for as long as its client or its child lives."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from launchers.submission_lock import begun_at, under_way, wait_until_settled

CLIENT = """
import subprocess, sys
from pathlib import Path
from launchers.submission_lock import under_way
with under_way(Path(sys.argv[1])) as lock:
    child = subprocess.Popen(["sh", "-c", "read line"], stdin=sys.stdin, pass_fds=(lock,))
    print(child.pid, flush=True)
    child.wait()
"""


@pytest.fixture
def client(tmp_path):
    """A client whose child lives until a line comes: (client, child's number, the pipe that the child reads)."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, tmp_path], stdin=read_end, stdout=subprocess.PIPE, text=True
    )
    os.close(read_end)
    with process, os.fdopen(write_end, "w") as pipe:
        yield process, int(process.stdout.readline()), pipe
        process.kill()


def test_a_batch_that_was_never_begun_is_settled_and_leaves_no_file(tmp_path):
    assert wait_until_settled(tmp_path, 0)
    assert begun_at(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_submission_is_under_way_until_its_client_lets_go(tmp_path):
    with under_way(tmp_path) as lock:
        assert os.fstat(lock)
        assert not wait_until_settled(tmp_path, 0)
    assert wait_until_settled(tmp_path, 0)
    assert begun_at(tmp_path) is not None


def test_a_failure_lets_go_too(tmp_path):
    with pytest.raises(ZeroDivisionError), under_way(tmp_path):
        _ = 1 / 0
    assert wait_until_settled(tmp_path, 0)


def test_a_client_that_is_killed_does_not_let_go_while_its_child_lives(tmp_path, client):
    process, child, pipe = client
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=300)
    os.kill(child, 0)
    assert not wait_until_settled(tmp_path, 0.2)
    pipe.write("\n")
    pipe.close()
    assert wait_until_settled(tmp_path, 300)


def test_who_waits_sees_the_end_at_once_and_many_may_wait(tmp_path, client):
    _, _, pipe = client
    answers = []
    waiting = [threading.Thread(target=lambda: answers.append(wait_until_settled(tmp_path, 300))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    assert answers == []
    pipe.write("\n")
    pipe.close()
    for thread in waiting:
        thread.join(timeout=300)
    assert answers == [True] * 3


def test_a_second_client_waits_for_the_first(tmp_path):
    order = []

    def second():
        with under_way(tmp_path):
            order.append("second")

    with under_way(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert not wait_until_settled(tmp_path, 0.2)
        order.append("first")
    thread.join(timeout=300)
    assert order == ["first", "second"]
