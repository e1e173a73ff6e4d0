"""A client may go away, a rank may die, a user may change their mind: each is named, nothing hangs."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import clean_environment
from tests.e2e.conftest import QUICK, records

pytestmark = pytest.mark.train


@pytest.fixture
def client(tmp_path, study):
    """A sweep of one two-rank cell that trains for a long time, seen training."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vit_sweep", *QUICK, "gpus=2", "epochs=100000"],
        cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_until(lambda: any('"training"' in p.read_text() for p in study.glob("cells/*/attempts/*/progress.json")))
    yield process
    subprocess.run([sys.executable, "-m", "vit_sweep", "cancel", str(study)], env=clean_environment())
    process.kill()
    process.wait()


def wait_until(true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


def ranks(study):
    """Processes that write this study's rank logs."""
    found = {}
    for process in psutil.process_iter():
        try:
            for file in process.open_files():
                if file.path.startswith(str(study)) and "rank" in file.path:
                    found[file.path.rsplit("rank", 1)[1]] = process
        except psutil.Error:
            continue
    return found


def test_a_killed_rank_is_named_and_its_siblings_are_ended(client, study):
    members = ranks(study)
    members["1.log"].send_signal(signal.SIGKILL)
    output, _ = client.communicate(timeout=120)
    assert client.returncode == 1
    assert "rank 1 died of signal SIGKILL" in output
    assert "failed" in (study / "tables/runs.csv").read_text()
    psutil.wait_procs(members.values(), timeout=30)
    assert not ranks(study)


def test_ctrl_c_detaches_and_says_how_to_look_again(client, study, sweep):
    client.send_signal(signal.SIGINT)
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 130
    assert "detached" in output
    assert f"status {study} --watch" in output
    assert "Traceback" not in output
    assert len(ranks(study)) == 2
    seen = sweep("status", str(study))
    assert "1 running" in seen.stdout
    assert "training, epoch" in seen.stdout


def test_the_same_command_does_not_start_a_running_cell_twice(client, study, sweep):
    again = sweep(*QUICK, "gpus=2", "epochs=100000", "wait=false")
    assert again.returncode == 0
    assert "1 cells, 0 to run" in again.stdout
    assert len(ranks(study)) == 2


def test_cancel_ends_the_job_and_the_same_command_may_run_it_again(client, study, sweep):
    answer = sweep("cancel", str(study))
    assert answer.returncode == 0
    assert "1 cell(s)" in answer.stdout
    assert client.wait(timeout=60) == 1
    assert not ranks(study)
    again = sweep(*QUICK, "gpus=2", "epochs=100000", "dry_run=true")
    assert "1 cells, 1 to run" in again.stdout


def test_wait_false_returns_at_once_and_the_cell_ends_without_a_client(sweep, study):
    answer = sweep(*QUICK, "wait=false")
    assert answer.returncode == 0
    assert "detached" in answer.stdout
    assert not records(study)
    watched = sweep("status", str(study), "--watch")
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert len(records(study)) == 1
