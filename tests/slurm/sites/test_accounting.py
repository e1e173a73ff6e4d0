"""What the scheduler remembers of jobs that could not say how they ended: with slurmdbd much, without it nothing."""

import os
import signal
from pathlib import Path

import pytest

from tests.slurm.conftest import trivial, wait_for
from tests.slurm.studies import Lab, program

pytestmark = pytest.mark.slurm

STUBBORN = trivial(s1="stubborn-once", s2="stubborn-once", s3="stubborn-once")


def end_without_a_verdict(lab):
    """One job is cancelled, one loses its node, of one the script is killed and then its rank; then Slurm forgets all.

    The ranks do not stop when told to, so Slurm kills them together with the script that would have judged them.
    """
    lab.start("seed=1,2,3", "++partition.requeue=false", variables=STUBBORN)
    node = [lab.wait_until_running(seed)["host"] for seed in (1, 2, 3)][1]
    ranks = [lab.read(seed, "1", "rank0.json") for seed in (1, 2, 3)]
    script = script_of(lab.cluster, ranks[2]["job_id"])
    os.kill(script, signal.SIGKILL)
    os.kill(ranks[2]["pid"], signal.SIGKILL)
    lab.cluster.ask("scancel", lab.task(1))
    wait_for(lambda: ended(lab, 1) and ended(lab, 3))
    lab.cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        wait_for(lambda: all(forgotten(lab, seed) for seed in (1, 2, 3)))
    finally:
        lab.cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
    return node


def script_of(cluster, task):
    """Process of the batch script of a task."""
    number = next(line for line in cluster.ask("scontrol", "show", "job", task).split() if line.startswith("JobId="))
    folder = f"job{int(number.removeprefix('JobId=')):05d}/slurm_script"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_bytes().decode(errors="replace") if path.exists() else ""
        if str(cluster.folder) in words and words.endswith(f"{folder}\0"):
            return int(path.parent.name)
    raise AssertionError(f"no script of {task}")


def ended(lab, seed):
    """Whether squeue no longer says that a job runs or is being ended."""
    states = lab.cluster.ask("squeue", "--noheader", "--format=%T", f"--jobs={lab.task(seed)},999999")
    return "RUNNING" not in states and "COMPLETING" not in states


def forgotten(lab, seed):
    """Whether squeue no longer knows a job: MinJobAge is 2 s here (the last task of an array waits for the others)."""
    return lab.cluster.ask("squeue", "--noheader", "--states=all", f"--jobs={lab.task(seed)},999999") == ""


def causes(lab):
    return [lab.read(seed, "1", "exit.json")["cause"] for seed in (1, 2, 3)]


def test_one_question_to_slurmdbd_tells_how_forgotten_jobs_ended(sweep, cluster_with_database, tmp_path):
    lab = Lab(sweep, cluster_with_database, tmp_path / "outputs" / "s")
    node = end_without_a_verdict(lab)
    calls = tmp_path / "asked"
    counting = program(tmp_path / "bin", "sacct", before=f"echo asked >> {calls}")
    status = lab.verb("status", variables=STUBBORN | {"PATH": f"{counting}:{STUBBORN['PATH']}"})
    assert status.returncode == 1, status.stderr
    # For all cells at once; a look that finds an end without a word looks a second time before it says so.
    assert len(calls.read_text().splitlines()) <= 2
    assert causes(lab) == ["cancelled", "node_failure", "rank_died"]
    assert lab.read(2, "1", "exit.json")["host"] == node
    resumed = lab.verb("resume", variables=STUBBORN)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert {seed: before for seed, (_, _, before) in lab.table().items()} == {
        1: "cancelled",
        2: "node_failure",
        3: "rank_died",
    }


def test_without_slurmdbd_the_files_of_forgotten_jobs_speak_and_none_is_waited_for(sweep, forgetful_cluster, tmp_path):
    lab = Lab(sweep, forgetful_cluster, tmp_path / "outputs" / "s")
    end_without_a_verdict(lab)
    watched = lab.verb("status", "--watch", variables=STUBBORN)
    assert watched.returncode == 1, watched.stdout
    assert causes(lab) == ["terminated", "terminated", "rank_died"]
    assert lab.table() == {
        1: ("failed", "terminated", ""),
        2: ("failed", "terminated", ""),
        3: ("done", "", "rank_died"),
    }
    resumed = lab.verb("resume", variables=STUBBORN)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert {status for status, _, _ in lab.table().values()} == {"done"}


def test_why_slurm_started_a_job_again_is_what_slurmdbd_says(sweep, cluster_with_database, tmp_path):
    """One is requeued by hand, one loses its node; the ranks of both are told to end."""
    lab = Lab(sweep, cluster_with_database, tmp_path / "outputs" / "s")
    variables = trivial(s1="hold", s2="hold")
    lab.start("seed=1,2", variables=variables)
    other, node = [lab.wait_until_running(seed)["host"] for seed in (1, 2)]
    lab.cluster.ask("scontrol", "requeue", lab.task(1))
    lab.wait_until_gone(1, other)
    try:
        lab.take_down(node, 2)
    finally:
        lab.cluster.ask("scontrol", "update", f"nodename={node}", "state=resume")
    lab.release()
    watched = lab.verb("status", "--watch", variables=variables)
    assert watched.returncode == 0, watched.stdout + lab.logs()
    # These virtual nodes may fail to start a step again, which is another end and not our subject.
    assert [lab.table()[seed][2].split(", ")[0] for seed in (1, 2)] == ["requeued", "node_failure"]
    assert [lab.read(seed, "1", "exit.json")["cause"] for seed in (1, 2)] == ["requeued", "node_failure"]
