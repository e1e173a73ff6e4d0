"""A client may go away, a rank may die, a user may change their mind: each is named, nothing hangs."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests import conftest
from tests.conftest import ROOT
from tests.e2e.conftest import QUICK, records
from tests.warm import clean_environment

pytestmark = pytest.mark.train


HOLD = (f"++partition.environment.PYTHONPATH={ROOT}/tests/chaos/site",)
"""Ranks on two GPUs go on until somebody ends them, without torch; all else is the real thing."""


@pytest.fixture
def client(request, tmp_path, study):
    """A sweep of one two-rank cell that goes on for a long time, seen training; for real where a test says so."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vit_sweep", *QUICK, "gpus=2", "epochs=100000", *getattr(request, "param", HOLD)],
        cwd=tmp_path,
        env=clean_environment() | {"CHAOS_CELL_S": "0", "TRIVIAL_ACTS": "g2=hold"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: any('"training"' in p.read_text() for p in study.glob("cells/*/attempts/*/progress.json")))
    yield process
    subprocess.run([sys.executable, "-m", "vit_sweep", "cancel", str(study)], env=clean_environment())
    process.kill()
    process.wait()


# For as long as imports may take on a busy machine.
wait_until = partial(conftest.wait_for, interval_s=0.1)


def ranks(study):
    """Processes that write this study's rank logs."""
    by_rank = {}
    for process in psutil.process_iter():
        try:
            for file in process.open_files():
                name = Path(file.path).name
                if file.path.startswith(str(study)) and re.fullmatch(r"rank\d+\.log", name):
                    by_rank[name.removeprefix("rank")] = process
        except psutil.Error:
            continue
    return by_rank


@pytest.mark.parametrize("client", [()], indirect=True, ids=["torch"])
def test_a_killed_rank_is_named_its_siblings_are_ended_and_it_runs_once_more(client, study):
    first = ranks(study)
    first["1.log"].send_signal(signal.SIGKILL)
    # Before it trains, a rank's end may be known from the other's.
    wait_until(lambda: any('"training"' in p.read_text() for p in study.glob("cells/*/attempts/1.1/progress.json")))
    psutil.wait_procs(first.values(), timeout=300)
    wait_until(lambda: len(ranks(study)) == 2)
    second = ranks(study)
    second["1.log"].send_signal(signal.SIGKILL)
    output, _ = client.communicate(timeout=300)
    assert client.returncode == 1
    assert "rank_died: rank 1 died of signal SIGKILL (rank 1 on " in output
    (row,) = csv.DictReader((study / "tables/runs.csv").open())
    assert (row["status"], row["cause"], row["attempt"]) == ("failed", "rank_died", "1.1")
    exit = json.loads(next(study.glob("cells/*/attempts/1/exit.json")).read_text())
    assert (exit["cause"], exit["rank"], exit["again"]) == ("rank_died", 1, True)
    psutil.wait_procs(second.values(), timeout=300)
    assert not ranks(study)


def test_ctrl_c_detaches_and_says_how_to_look_again(client, study, sweep):
    os.killpg(client.pid, signal.SIGINT)  # as a terminal does
    output, _ = client.communicate(timeout=300)
    assert client.returncode == 130
    assert "detached" in output
    assert f"status {study.relative_to(study.parent.parent)} --watch" in output  # as it is typed where the client ran
    assert "Traceback" not in output
    assert len(ranks(study)) == 2
    result = sweep("status", str(study))
    assert "1 running" in result.stdout
    assert "/100000" in result.stdout


def test_the_same_command_does_not_start_a_running_cell_twice(client, study, sweep):
    again = sweep(*QUICK, "gpus=2", "epochs=100000", "wait=false")
    assert again.returncode == 0
    assert "1 cell, 0 to run" in again.stdout
    assert len(ranks(study)) == 2


def test_cancel_ends_the_job_and_the_same_command_may_run_it_again(client, study, sweep):
    completed = sweep("cancel", str(study))
    assert completed.returncode == 0
    assert "1 cell" in completed.stdout
    assert client.wait(timeout=300) == 1
    assert not ranks(study)
    again = sweep(*QUICK, "gpus=2", "epochs=100000", "dry_run=true")
    assert "1 cell, 1 to run" in again.stdout


def test_wait_false_returns_at_once_and_the_cell_ends_without_a_client(sweep, study):
    completed = sweep(*QUICK, "wait=false")
    assert completed.returncode == 0
    assert "detached" in completed.stdout
    assert not records(study)
    watched = sweep("status", str(study), "--watch")
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert len(records(study)) == 1


def test_a_cancelled_cell_goes_on_from_its_checkpoint_when_the_study_is_resumed(sweep, study):
    """Ended on purpose in the middle, resumed by its study's files alone; test_checkpoint.py compares the losses."""
    hold_setting = f"++partition.environment.PYTHONPATH={ROOT}/tests/hold"
    started = sweep(*QUICK, "gpus=2", "epochs=3", hold_setting, "wait=false", env={"HOLD_EPOCH": "2"})
    assert started.returncode == 0, started.stdout + started.stderr
    wait_until(lambda: list(study.glob("cells/*/checkpoint/e*")))
    assert sweep("cancel", str(study)).returncode == 0
    assert not ranks(study)
    assert not records(study)
    result = sweep("status", str(study))
    assert "1 cancelled" in result.stdout
    resumed = sweep("resume", str(study))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    (record,) = records(study).values()
    assert record["attempts"] == ["1", "2"]
    assert record["restarts"] == 1
    assert len(record["epochs"]) == 3
    assert "ended before by cancelled" in (study / "tables/strong.md").read_text()
