"""However a rank ends, its file says why, or says by its silence that it could not; and nobody waits for ever."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from launchers.checked import parse_json, to_json
from tests.conftest import ROOT
from tests.e2e.train.ranks import Job, ended, small_cell, wait_for
from tests.warm import clean_environment
from vit_sweep.outcome.ending import Cause, RankFile
from vit_sweep.outcome.policy import Stop
from vit_sweep.outcome.verdict import judge

pytestmark = pytest.mark.train

LONG = 100_000
HANG_MINUTES = 0.1
REST_S = 4


def training(job, attempt=1):
    """Whether the ranks are training."""
    path = job.dir / f"attempts/{attempt}/progress.json"
    return path.exists() and json.loads(path.read_text())["phase"] == "training"


def verdict(job, code=None):
    """What the job's last line would say."""
    paths = sorted((job.dir / "attempts/1").glob("rank*.json"))
    return judge([parse_json(RankFile, path.read_bytes(), source=str(path)) for path in paths], code=code)


def test_a_good_end_is_said_by_every_rank_and_by_the_exit_file(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2))
    assert job.run() == [0, 0], job.log()
    assert [job.end(rank)["cause"] for rank in (0, 1)] == ["done", "done"]
    exit = job.json("attempts/1/exit.json")
    assert (exit["cause"], exit["epoch"], exit["step"], exit["rank"]) == ("done", 3, 6, 0)
    assert exit["peak_host_mib"] > 100
    assert exit["at"]
    assert job.json("record.json")["code"]
    assert not list(job.dir.glob("attempts/1/.*")), "a reserve or a partial file was left behind"


def test_a_stopped_rank_is_found_by_the_watchdog_of_the_others(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2, epochs=LONG), hang_minutes=HANG_MINUTES, checkpoint_epochs=0)
    with ended(job.start()) as ranks:
        wait_for(lambda: training(job))
        os.kill(ranks[1].pid, signal.SIGSTOP)
        ranks[0].join(300)
        assert ranks[0].exitcode == 1
        end = job.end(0)
        assert end["cause"] == "hang"
        assert end["message"].startswith(f"no progress for {HANG_MINUTES:g} min in ")
        assert f"(rank 0 on {job.rank(0)['host']})" in end["message"]
        assert job.end(1) is None
        assert 'File "' in job.log(0), "where it stood is not in the log"
        assert "Thread" in job.log(0)
        end_of_job = verdict(job)
        assert (end_of_job.cause, end_of_job.rank) == (Cause.HANG, 1)
        # When it goes on it finds that the other one is gone; on a busy machine that may take longer than the three
        # seconds of this test's watchdog. (That its own rest is no hang: `unit/job/test_guardian.py`.)
        os.kill(ranks[1].pid, signal.SIGCONT)
        ranks[1].join(300)
        assert job.end(1)["cause"] in ("communication", "hang")


def test_time_in_which_a_job_was_suspended_is_not_taken_for_work(tmp_path):
    """What `scontrol suspend` does to a rank, in the middle of the second of three epochs."""
    job = Job(tmp_path, small_cell())
    with ended(job.start(probe=("signal_at", 0, "SIGSTOP", 2, 3))) as (rank,):
        wait_for(lambda: psutil.Process(rank.pid).status() == psutil.STATUS_STOPPED)
        # The rest itself is what is measured: longer than the guardian's ticks are apart, which is how it sees one.
        enough = time.monotonic() + REST_S
        wait_for(lambda: time.monotonic() >= enough)
        os.kill(rank.pid, signal.SIGCONT)
        rank.join(300)
    assert job.end()["cause"] == "done", job.log()
    epochs = job.json("record.json")["epochs"]
    stopped = [epoch["host_by_rank"][0]["stopped_s"] for epoch in epochs]
    assert (stopped[0], stopped[2]) == (0, 0)
    assert REST_S - 1 <= stopped[1] <= epochs[1]["seconds"] + 1, "known to a tick of the guardian at either end"
    assert [epoch["interrupted"] for epoch in epochs] == [False, True, False]


def test_a_killed_rank_is_silent_and_the_other_says_what_it_heard(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2, epochs=LONG), checkpoint_epochs=0)
    with ended(job.start()) as ranks:
        wait_for(lambda: training(job))
        os.kill(ranks[1].pid, signal.SIGKILL)
        ranks[0].join(300)
        assert ranks[0].exitcode == 1
        assert job.end(1) is None
        assert job.end(0)["cause"] == "communication", job.end(0)
        assert job.log(0).count("Traceback (most recent call last)") == 1
        end_of_job = verdict(job, code=137)
        assert (end_of_job.cause, end_of_job.rank) == (Cause.RANK_DIED, 1)
        assert end_of_job.message.startswith("rank 1 on ")
        assert end_of_job.epoch >= 1


def test_term_to_one_rank_stops_all_of_them_with_a_checkpoint(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2, epochs=LONG), checkpoint_epochs=0)
    with ended(job.start()) as ranks:
        wait_for(lambda: training(job))
        os.kill(ranks[1].pid, signal.SIGTERM)
        for rank in ranks:
            rank.join(300)
        assert [rank.exitcode for rank in ranks] == [1, 1]
    assert [(job.end(r)["cause"], job.end(r)["signal"]) for r in (0, 1)] == [("terminated", "SIGTERM")] * 2
    assert len(job.checkpoints()) == 1


def test_term_before_the_training_ends_a_rank_at_once(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2))
    with ended(job.start(ranks=[1])) as ranks:  # it waits for rank 0
        wait_for((job.dir / "attempts/1/rank1.json").exists)
        os.kill(ranks[0].pid, signal.SIGTERM)
        ranks[0].join(300)
        assert ranks[0].exitcode == 1
    assert job.end(1)["cause"] == "terminated"


@pytest.mark.parametrize(
    ("number", "ends_in_s", "cause"),
    [("SIGUSR2", 90, "time_limit"), ("SIGUSR2", 3600, "preempted"), ("SIGTERM", 5, "time_limit")],
)
def test_the_same_signal_means_the_time_limit_only_near_it(tmp_path, number, ends_in_s, cause):
    import time

    job = Job(tmp_path, small_cell())
    ends = f"{time.time() + ends_in_s:.0f}"
    assert job.run(probe=("signal_at", 0, number, 2, 2), VIT_SWEEP_JOB_ENDS=ends) == [1]
    assert job.end()["cause"] == cause


def test_a_rank_that_cannot_stop_leaves_after_a_stated_time(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2, epochs=LONG), checkpoint_epochs=0)
    with ended(job.start(probe=("short_grace", 1.0))) as ranks:
        wait_for(lambda: training(job))
        os.kill(ranks[1].pid, signal.SIGSTOP)
        os.kill(ranks[0].pid, signal.SIGTERM)
        ranks[0].join(300)
        assert ranks[0].exitcode == 1
    assert job.end(0)["cause"] == "terminated"
    assert job.end(0)["message"].endswith("it could not stop in good order in time")


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        ("MemoryError()", "host_out_of_memory", ""),
        ("OSError(28, 'No space left on device')", "storage", "[Errno 28] No space left on device"),
        ("ZeroDivisionError('a / b')", "bug", "ZeroDivisionError: a / b"),
    ],
)
def test_a_failure_in_a_step_has_its_name_place_and_traceback(tmp_path, error, cause, message):
    job = Job(tmp_path, small_cell())
    assert job.run(probe=("fail_at", 2, 3, error)) == [1]
    end = job.end()
    assert (end["cause"], end["epoch"], end["step"]) == (cause, 2, 3)
    assert message in end["message"]
    assert "in _micro_step" in end["traceback"]
    assert job.log().count("Traceback (most recent call last)") == 1
    assert not (job.dir / "attempts/1/exit.json").exists(), "the job's last line judges, not a rank"


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of two MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    completed = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, text=True
    )
    if completed.returncode:
        pytest.skip(f"cannot mount a small file system here: {completed.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("when", [("training", 1, 2), ("evaluating", 3, 6)], ids=["checkpoint", "record"])
def test_a_full_disk_is_named_on_that_very_disk_and_costs_nothing_finished(tiny_disk, when):
    """The disk is filled to its last byte before the first checkpoint, or before the record, is written."""
    job = Job(tiny_disk, small_cell(gpus=2))
    assert job.run(probe=("fill_disk_at", str(tiny_disk), when)) == [1, 1], job.log()
    ends = [job.end(rank) for rank in (0, 1)]
    assert None not in ends, "the reserve did not suffice for the last word"
    assert "storage" in {end["cause"] for end in ends}
    assert {end["cause"] for end in ends} <= {"storage", "communication"}
    assert verdict(job).cause is Cause.STORAGE
    assert not (job.dir / "record.json").exists()
    (tiny_disk / "ballast").unlink()
    assert job.run(2) == [0, 0], job.log(attempt=2)
    assert job.json("record.json")["attempts"] == (["1", "2"] if when[1] > 1 else ["2"])


def test_a_second_job_on_the_same_attempt_ends_at_once_and_touches_nothing(tmp_path):
    job = Job(tmp_path, small_cell(epochs=LONG), checkpoint_epochs=0)
    with ended(job.start()) as ranks:
        wait_for(lambda: training(job))
        before = job.rank()
        assert job.run(job_id="local-1-1") == [1]
        assert job.rank() == before
        assert before["job_id"] == f"local-{os.getpid()}-1"
        assert ranks[0].exitcode is None
    owner = job.json("attempts/1/claim.json")["job_id"]
    assert owner == before["job_id"]


def task_alone(job):
    """Run one rank from its very first import; its log ends with whether torch was imported."""
    probe = (
        "import sys\nfrom vit_sweep.job.task import main\ncode = main(sys.argv[1:])\n"
        "print('TORCH', 'torch' in sys.modules, flush=True)\nsys.exit(code)"
    )
    place = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "VIT_SWEEP_TASK_INDEX": "0",
        "VIT_SWEEP_JOB_ID": "local-1-0",
    }
    completed = subprocess.run(
        [sys.executable, "-c", probe, str(job.batch(1))], env=clean_environment() | place, timeout=300, cwd=ROOT
    )
    return completed.returncode, job.log().splitlines()[-1]


def test_a_cell_that_need_not_be_run_is_skipped_before_torch_is_imported(tmp_path):
    job = Job(tmp_path, small_cell(micro_batch=16))
    smaller = small_cell(micro_batch=8)
    stop = Stop(cell_id=smaller.cell_id, cell=smaller, cause=Cause.OUT_OF_MEMORY, message="8 GiB", code="other")
    (tmp_path / "stops").mkdir()
    (tmp_path / "stops" / "damaged.json").write_text("{")
    (tmp_path / "stops" / f"{smaller.cell_id}.json").write_text(to_json(stop))
    assert task_alone(job) == (1, "TORCH False")
    assert job.end()["cause"] == "skipped"
    assert smaller.cell_id in job.end()["message"]


def test_the_probe_for_torch_sees_it_when_it_is_there(tmp_path):
    job = Job(tmp_path, small_cell(gpus=2))  # a world of one rank: refused, but only after the imports
    assert task_alone(job) == (1, "TORCH True")
    assert job.end()["cause"] == "mismatch"


def test_a_damaged_cell_file_is_a_named_end(tmp_path):
    job = Job(tmp_path, small_cell())
    (job.dir / "cell.json").write_text('{"schema_version": 1,')
    assert job.run() == [1]
    assert job.end()["cause"] == "configuration"
    assert "cell.json: not valid JSON" in job.end()["message"]
