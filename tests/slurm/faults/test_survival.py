"""What ends jobs from outside, on a real Slurm: each end gets its name, and nothing that was finished is lost.

The ranks are `trivial` (tests/slurm/ranks): everything but torch is real. tests/slurm/FACTS.md says what Slurm does.
"""

import os
import signal

import pytest

from tests.slurm.conftest import trivial, wait_for
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module", autouse=True)
def at_their_limit(own_cluster, tmp_path_factory):
    """Two cells of one minute, begun with the module since Slurm takes its time: one stops when warned, one is deaf."""
    folder = tmp_path_factory.mktemp("limit")
    variables = trivial(s1="hold-once", s2="deaf-once")
    lab = Lab(None, own_cluster, folder / "outputs" / "limit")
    nebula = ("partition.partition=nebula", "partition.gpu_type=rtx3090", "minutes=1", "seed=1,2")
    with (
        (folder / "said").open("w") as screen,
        lab.client(*lab.words(*nebula), variables=variables, cwd=folder, stdout=screen) as waiting_client,
    ):
        yield lab, waiting_client
    own_cluster.ask("scancel", "--name=vit_sweep-limit")


@pytest.fixture
def lab(sweep, own_cluster, tmp_path):
    """The study `s` of this test on a cluster of this module's own."""
    lab = Lab(sweep, own_cluster, tmp_path / "outputs" / "s")
    yield lab
    own_cluster.ask("scancel", "--name=vit_sweep-s")


def test_a_task_that_somebody_cancels_is_named_and_the_same_command_runs_it(lab):
    variables = trivial(s2="hold")
    lab.start("seed=1,2", variables=variables)
    lab.wait_until_running(2)
    lab.cluster.ask("scancel", lab.task(2))
    watched = lab.verb("status", "--watch", variables=variables)
    assert watched.returncode == 1, watched.stdout
    assert lab.table() == {1: ("done", "", ""), 2: ("cancelled", "cancelled", "")}
    lab.release()
    again = lab.run("seed=1,2", variables=variables)
    assert again.returncode == 0, again.stdout + again.stderr
    assert lab.table() == {1: ("done", "", ""), 2: ("done", "", "cancelled")}
    assert (lab.attempts(1), lab.attempts(2)) == (["1"], ["1", "2"])


def test_a_rank_that_is_killed_is_retried_once_and_the_table_says_so(lab):
    variables = trivial(s1="hold", s2="die")
    lab.start("seed=1,2", "gpus=2", variables=variables)
    lab.wait_until_running(1)
    victim = wait_for(lambda: lab.read(1, "1", "rank1.json"))
    os.kill(victim["pid"], signal.SIGKILL)
    wait_for(lambda: lab.read(1, "1", "exit.json"))
    lab.release()
    watched = lab.verb("status", "--watch", variables=variables)
    assert watched.returncode == 1, watched.stdout
    assert lab.table() == {1: ("done", "", "rank_died"), 2: ("failed", "rank_died", "rank_died")}
    assert lab.attempts(1) == lab.attempts(2) == ["1", "1.1"]
    report = lab.read(1, "1", "exit.json")
    assert (report["rank"], report["host"]) == (1, victim["host"])
    assert "rank 1 on vector0" in report["message"]
    assert "signal 9" in report["message"]


def test_a_cell_that_takes_more_memory_than_its_job_has_is_not_tried_again(lab):
    variables = trivial(s2="starve")
    completed = lab.run("seed=1,2", variables=variables)
    assert completed.returncode == 1, completed.stdout
    assert lab.table() == {1: ("done", "", ""), 2: ("failed", "host_out_of_memory", "")}
    assert lab.attempts(2) == ["1"]
    assert "1024 MiB of host memory" in lab.read(2, "1", "exit.json")["message"]


def test_a_time_limit_is_named_and_the_cell_goes_on_in_another_job(at_their_limit):
    """Warned, a rank stops and the same job is requeued; one that does not hear is ended, and a new job is sent."""
    lab, client = at_their_limit
    assert client.wait(timeout=900) == 0
    table = lab.table()
    assert table[1] == ("done", "", "time_limit")
    # The next job may meet a node that still clears up after the deaf one, and is then sent once more.
    assert table[2][:2] == ("done", "")
    assert table[2][2].split(", ")[0] == "time_limit"
    assert (lab.attempts(1), lab.attempts(2)[:2]) == (["1", "1.1"], ["1", "2"])
    assert lab.read(1, "1", "exit.json")["signal"] == "SIGUSR2"


def test_a_controller_that_is_away_for_ten_seconds_costs_no_cell(lab, at_their_limit):
    """Jobs end while it is away; a client that watches all along says nothing wrong."""
    # What ends at its time limit just then is another story: this controller would have forgotten it.
    assert at_their_limit[1].wait(timeout=900) == 0
    variables = trivial(s1="hold", s2="hold", s3="die-once")
    lab.start("seed=1,2", variables=variables)
    lab.wait_until_running(1)
    lab.wait_until_running(2)
    with lab.watching(variables=variables) as watched:
        lab.cluster.call("controller-stop")
        try:
            lab.release()
            wait_for(lambda: lab.record(1) and lab.record(2))
            status = lab.verb("status", variables=variables)
            assert status.returncode == 0, status.stderr
        finally:
            lab.cluster.call("controller-start")
        assert watched.wait(timeout=300) == 0
    assert lab.table() == {1: ("done", "", ""), 2: ("done", "", "")}
    assert lab.attempts(1) == lab.attempts(2) == ["1"]
    completed = lab.run("seed=1,2,3", variables=variables)
    assert completed.returncode == 0, completed.stdout
    assert lab.attempts(1) == ["1"]
    assert lab.table()[3] == ("done", "", "rank_died")
