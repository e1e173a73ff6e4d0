"""Nodes that are taken from a job by a more important one or by their own end, on a real Slurm.

The ranks are `trivial` (tests/slurm/ranks): everything but torch is real. tests/slurm/FACTS.md says what Slurm does.
"""

import os
import re
import signal
import subprocess

import pytest

from tests.conftest import LONG
from tests.slurm.conftest import trivial, wait_for
from tests.slurm.curves import CURVE, Curve, planned_order
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm
MINUTES = pytest.mark.skipif(
    not LONG,
    reason="test_shared.py has a curve that is warned or requeued, the tests above a node: VIT_SWEEP_LONG_TESTS=1",
)


@pytest.fixture
def lab(sweep, own_cluster, tmp_path):
    """The study `s` of this test on a cluster of this module's own."""
    lab = Lab(sweep, own_cluster, tmp_path / "outputs" / "s")
    yield lab
    own_cluster.ask("scancel", "--name=vit_sweep-s")


@pytest.mark.parametrize("partition", ["vector-low", "vector-grace"])
def test_a_job_that_gives_way_to_a_more_important_one_runs_again_in_the_end(lab, partition):
    """Without a grace Slurm requeues; within a grace the warned job ends by itself and asks to be requeued."""
    variables = trivial(s1="hold")
    lab.start("seed=1", f"partition.partition={partition}", variables=variables)
    node = lab.wait_until_running(1)["host"]
    urgent = lab.cluster.ask(
        "sbatch",
        "--parsable",
        "--partition=vector",
        f"--nodelist={node}",
        "--exclusive",
        "--output=/dev/null",
        "--wrap=sleep 1",
    )
    lab.wait_until_running(1, attempt="1.1")
    assert f"JobId={urgent.strip()} " in lab.cluster.ask("scontrol", "show", "job", urgent.strip())
    lab.release()
    watched = lab.verb("status", "--watch", variables=variables)
    assert watched.returncode == 0, watched.stdout
    # What the job itself said may be `terminated`: USR2 and TERM come within 20 ms. The restart tells.
    assert lab.table() == {1: ("done", "", "preempted")}


@pytest.mark.parametrize("requeue", [True, False])
def test_a_node_that_goes_down_is_named_and_its_job_runs_elsewhere(lab, requeue):
    """Slurm requeues, or says NODE_FAIL and leaves the rest to the client."""
    variables = trivial(s1="hold")
    lab.start("seed=1", f"++partition.requeue={str(requeue).lower()}", variables=variables)
    node = lab.wait_until_running(1)["host"]
    try:
        lab.take_down(node, 1)
        lab.release()
        watched = lab.verb("status", "--watch", variables=variables)
    finally:
        lab.cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
    assert watched.returncode == 0, watched.stdout
    assert lab.table() == {1: ("done", "", "node_failure")}
    second = "1.1" if requeue else "2"
    assert lab.attempts(1) == ["1", second]
    assert lab.read(1, second, "rank0.json")["host"] != node
    if not requeue:
        report = lab.read(1, "1", "exit.json")
        assert (report["cause"], report["host"]) == ("node_failure", node)
        assert f"--exclude={node}" in lab.scripts()[-1]


@pytest.mark.skipif(not LONG, reason="e2e/train/test_checkpoint.py has the same without Slurm: VIT_SWEEP_LONG_TESTS=1")
def test_of_a_start_that_outlives_its_lost_node_and_the_next_one_the_record_that_came_first_stays(lab):
    """Slurm starts a job again while ranks of its first start run on: their node's slurmd is gone, they are not."""
    variables = trivial(s1="deaf")
    lab.start("seed=1", variables=variables)
    node = lab.wait_until_running(1)["host"]
    lab.cluster.call("node-kill", node)
    try:
        lab.cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        lab.wait_until_running(1, attempt="1.1")
        second = lab.read(1, "1.1", "rank0.json")["pid"]
        os.kill(second, signal.SIGSTOP)
        try:
            lab.release()
            assert wait_for(lambda: lab.record(1), what=lab.logs)["attempt"] == "1"
            first = (lab.cell(1) / "record.json").read_bytes()
        finally:
            os.kill(second, signal.SIGCONT)
        assert wait_for(lambda: end_of(lab, 1), what=lab.logs) == ("COMPLETED", "1"), lab.logs()
    finally:
        lab.cluster.call("node-start", node)
        lab.cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
    assert lab.read(1, "1.1", "rank0.json")["end"]["cause"] == "done"
    assert (lab.cell(1) / "record.json").read_bytes() == first


def test_a_finished_cells_task_that_slurm_put_back_and_could_not_launch_is_taken_out_of_the_queue(lab):
    """Slurm holds it, for ever."""
    variables = trivial()
    lab.start("seed=1", "partition.partition=nebula", "partition.gpu_type=rtx3090", variables=variables)
    wait_for(lambda: "COMPLETED" in lab.cluster.ask("squeue", "--states=all", f"--jobs={lab.task(1)}", "--format=%T"))
    spool = lab.cluster.folder / "spool" / "nebula01"
    spool.rename(spool.with_name("aside"))
    try:
        lab.cluster.ask("scontrol", "requeue", lab.task(1))
        wait_for(lambda: "held" in lab.cluster.ask("squeue", "--noheader", "--name=vit_sweep-s", "--format=%r"))
    finally:
        spool.with_name("aside").rename(spool)
    assert "1 job of finished cells still waited in the queue (launch failed" in " ".join(
        lab.verb("status", "--watch", variables=variables).stdout.split()
    )
    assert lab.cluster.ask("squeue", "--noheader", "--name=vit_sweep-s") == ""
    assert lab.attempts(1) == ["1"]


def test_a_job_whose_cells_folder_lets_nobody_write_any_more_is_not_started_again(lab):
    """Its verdict cannot be kept, and starts that nobody can count would never end."""
    variables = trivial(s1="hold")
    lab.start("seed=1", variables=variables)
    node = lab.wait_until_running(1)["host"]
    slurmd = (lab.cluster.folder / "run" / f"slurmd-{node}.pid").read_text().strip()
    on_node = ["nsenter", f"--mount=/proc/{slurmd}/ns/mnt"]
    cell = lab.cell(1)
    subprocess.run([*on_node, "mount", "--bind", cell, cell], check=True)
    try:
        subprocess.run([*on_node, "mount", "-o", "remount,bind,ro", cell], check=True)
        os.kill(lab.read(1, "1", "rank0.json")["pid"], signal.SIGKILL)
        assert wait_for(lambda: end_of(lab, 1), what=lab.logs) == ("FAILED", "0"), lab.logs()
    finally:
        subprocess.run([*on_node, "umount", "--lazy", cell], check=True)
    assert "this verdict is not kept" in lab.logs()


def end_of(lab, seed):
    """State and restarts of a job that no longer runs, as Slurm has them; None before."""
    job = lab.cluster.ask("scontrol", "show", "job", lab.task(seed))
    state, restarts = re.search(r"JobState=(\S+)", job)[1], re.search(r"Restarts=(\d+)", job)[1]
    return None if state in ("RUNNING", "COMPLETING") else (state, restarts)


# --- one job for a whole curve -------------------------------------------------------------------------------


@pytest.fixture
def fragile(sweep, own_cluster, tmp_path):
    """The study `s` of this test on a cluster that can preempt, and whose nodes may be taken away."""
    lab = Curve(sweep, own_cluster, tmp_path / "outputs" / "s")
    yield lab
    own_cluster.ask("scancel", "--name=vit_sweep-s")


@MINUTES
def test_a_curve_that_gives_way_to_a_more_important_job_goes_on_in_the_end(fragile, sweep, tmp_path):
    """Slurm warns the batch shell; the cell that runs stops in good order and the job asks to be requeued."""
    first, second, third = planned_order(sweep, tmp_path)
    variables = trivial(**{f"g{second}": "hold"})
    fragile.start(*CURVE, "partition.partition=vector-grace", variables=variables)
    node = fragile.wait_until_running(second)["host"]
    fragile.cluster.ask(
        "sbatch", "--partition=vector", f"--nodelist={node}", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"
    )
    fragile.wait_until_running(second, attempt="1.1")
    fragile.release()
    watched = fragile.verb("status", "--watch", variables=variables)
    assert watched.returncode == 0, watched.stdout + watched.stderr + fragile.logs()
    assert (fragile.attempts(first), fragile.attempts(second), fragile.attempts(third)) == (["1"], ["1", "1.1"], ["1"])
    assert fragile.by_gpus()[second] == ("done", "preempted")


@pytest.mark.parametrize("requeue", [pytest.param(True, marks=MINUTES), False])
def test_a_node_that_goes_down_takes_one_cell_with_it_and_the_rest_runs_elsewhere(fragile, sweep, tmp_path, requeue):
    """Slurm starts the job again, or the client sends what is left: never what is done."""
    first, second, third = planned_order(sweep, tmp_path)
    variables = trivial(**{f"g{second}": "hold"})
    fragile.start(*CURVE, f"++partition.requeue={str(requeue).lower()}", variables=variables)
    node = fragile.wait_until_running(second)["host"]
    before = fragile.record(first)
    try:
        fragile.take_down(node, second)
        fragile.release()
        watched = fragile.verb("status", "--watch", variables=variables)
    finally:
        fragile.cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
    assert watched.returncode == 0, watched.stdout + watched.stderr + fragile.logs()
    assert fragile.record(first) == before
    assert fragile.by_gpus()[second] == ("done", "node_failure")
    again = "1.1" if requeue else "2"
    assert fragile.attempts(second) == ["1", again]
    assert node not in fragile.hosts(second, again)
    assert fragile.record(third) is not None
