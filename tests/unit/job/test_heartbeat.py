"""Ranks that wait for each other while they start: by a clock that the test sets, and files that it plants."""

import os
from dataclasses import replace

import pytest

from launchers.checked import to_json
from tests.unit.builders import rank_identity
from vit_sweep.job.guardian import WAIT_S
from vit_sweep.job.heartbeat import IMPORT_S, IMPORTING, Signs
from vit_sweep.outcome.ending import Cause, RankEnd, RankFile
from vit_sweep.outcome.failure import JobError
from vit_sweep.outcome.starting import of_start
from vit_sweep.outcome.verdict import judge

AT = "2026-01-01T00:00:00+00:00"
FILE = RankFile(rank=0, world_size=3, host="n7", pid=1, job_id="17_0", started_at=AT)
ME = rank_identity(rank=1, world_size=3, node_rank=1, nodes=3, node_name="n8")


class Wait:
    """A rank that waits for rank 0, which does what the test says."""

    def __init__(self, folder):
        self.folder, self.now, self.stamp = folder, 0.0, 0
        self.signs = Signs(folder, ME, clock=lambda: self.now)

    def sign(self, **changes):
        path = self.folder / "rank0.json"
        path.write_text(to_json(replace(FILE, **changes)))
        self.stamp += 1
        os.utime(path, ns=(self.stamp, self.stamp))

    def look(self, at):
        self.now = at
        return self.signs.look([0], "to publish its address")


@pytest.fixture
def wait(tmp_path):
    return Wait(tmp_path)


def test_a_rank_that_gives_no_sign_at_all_is_waited_for_two_minutes_and_named(wait):
    assert wait.look(WAIT_S - 1) == "waiting for rank 0 to publish its address"
    with pytest.raises(JobError, match=r"rank 1 on n8 waited for rank 0 to .* address: no sign of it in 120 s") as end:
        wait.look(WAIT_S)
    assert end.value.cause is Cause.COMMUNICATION


def test_a_rank_that_gives_signs_is_waited_for_as_long_as_it_does(wait):
    for turn in range(100):
        wait.sign(doing="copying photos to this node")
        assert wait.look(turn * (WAIT_S - 1)) == "waiting for rank 0 on n7 to publish its address"
    with pytest.raises(JobError, match="its last sign is 120 s old, when it was copying photos to this node"):
        wait.look(99 * (WAIT_S - 1) + WAIT_S)


def test_a_rank_whose_clock_is_behind_or_jumps_back_gives_signs_all_the_same(wait):
    """Stamps are told apart, never compared with this node's time."""
    for turn, stamp in enumerate((10**18, 4_000, 3_000, 2_000)):
        wait.stamp = stamp
        wait.sign()
        assert "waiting for rank 0 on n7" in wait.look(turn * (WAIT_S - 1))


def test_a_rank_that_imports_may_be_silent_for_longer(wait):
    wait.sign(doing=IMPORTING)
    for at in (0, IMPORT_S - 1):
        wait.look(at)
    with pytest.raises(JobError, match="its last sign is 600 s old, when it was importing"):
        wait.look(IMPORT_S)


def test_a_rank_that_has_ended_is_not_waited_for_unless_that_was_an_earlier_job(wait):
    end = RankEnd(at=AT, cause=Cause.DATA, message="no files")
    wait.sign(job_id="16_0", end=end)
    wait.look(0)
    wait.sign(end=end)
    with pytest.raises(JobError, match="rank 0 on n7 ended before it came to publish"):
        wait.look(1)


def test_a_status_names_who_has_given_no_sign_and_what_the_first_of_the_others_does():
    assert of_start(()) == "starting"
    assert of_start([replace(FILE, rank=1)]) == "starting: no sign yet of 2 ranks of 3: 0, 2"
    files = [replace(FILE, rank=rank, doing=IMPORTING if rank == 2 else "") for rank in range(3)]
    assert of_start(files) == "starting: rank 2 on n7 is importing"
    assert of_start([replace(file, doing="") for file in files]) == "starting"


def test_a_rank_that_did_not_start_and_was_ended_for_it_has_not_died_without_a_word():
    stuck = replace(FILE, doing=IMPORTING)
    patient = RankEnd(at=AT, cause=Cause.COMMUNICATION, message="rank 1 on n8 waited for rank 0")
    verdict = judge([stuck, replace(FILE, rank=1, host="n8", end=patient)], code=137)
    assert (verdict.cause, verdict.rank, verdict.host) == (Cause.COMMUNICATION, 0, "n7")
    assert verdict.message == "rank 0 on n7 did not start, it was importing; rank 1 on n8 waited for rank 0"
    assert judge([replace(stuck, doing=""), replace(FILE, rank=1, end=patient)], code=137).cause is Cause.RANK_DIED
