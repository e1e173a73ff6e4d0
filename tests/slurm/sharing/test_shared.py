"""One allocation for a whole curve, on a real Slurm: one job, nested nodes, one cell after another.

The ranks are `trivial` (tests/slurm/ranks): everything but torch is real.
"""

import sys
from itertools import pairwise
from pathlib import Path

import pytest

from launchers.backend import Ended
from launchers.batch import Shape, Task
from launchers.profile import GpuDialect
from launchers.slurm.backend import SlurmLauncher
from tests.conftest import ROOT
from tests.slurm.conftest import trivial, wait_for
from tests.slurm.curves import CURVE, Curve, planned_order
from tests.unit.builders import batch, profile

pytestmark = pytest.mark.slurm


@pytest.fixture
def curve(sweep, shared_cluster, tmp_path):
    """The study `s` of this test."""
    lab = Curve(sweep, shared_cluster, tmp_path / "outputs" / "s")
    yield lab
    shared_cluster.ask("scancel", "--name=vit_sweep-s")


def test_a_curve_is_one_job_whose_cells_run_one_by_one_on_nested_nodes(curve, sweep, tmp_path):
    first, *others = planned_order(sweep, tmp_path)
    variables = trivial(**{f"g{first}": "hold"})
    curve.start(*CURVE, variables=variables)
    curve.wait_until_running(first)
    assert curve.order() == [first, *others]
    wait_for(lambda: curve.states(variables) == {first: "running"} | dict.fromkeys(others, "queued"))
    nodes = curve.cluster.ask("squeue", "--noheader", "--array", f"--jobs={curve.job()}", "--format=%D")
    assert nodes.split() == ["2"]
    curve.release()
    watched = curve.verb("status", "--watch", variables=variables)
    assert watched.returncode == 0, watched.stdout + watched.stderr + curve.logs()
    # Ranks that do not train wait for no other: of the last cell some may still be on their way when rank 0 is done.
    wait_for(lambda: curve.cluster.ask("squeue", "--noheader", "--name=vit_sweep-s") == "", what=curve.logs)
    assert curve.attempts(4) == ["1"], curve.logs()
    near, far = curve.hosts(4)[0], curve.hosts(4)[-1]
    assert near != far
    assert [curve.hosts(gpus) for gpus in (1, 2, 4)] == [[near], [near, near], [near, near, far, far]]
    records = {gpus: curve.record(gpus) for gpus in (1, 2, 4)}
    assert {record["allocated_gpus"] for record in records.values()} == {4}
    assert {record["job_id"].split("_")[0] for record in records.values()} == {curve.job()}
    begun = {gpus: curve.read(gpus, "1", "rank0.json")["started_at"] for gpus in records}
    ended = {gpus: curve.read(gpus, "1", "rank0.json")["end"]["at"] for gpus in records}
    assert all(ended[earlier] <= begun[other] for earlier, other in pairwise([first, *others]))


def test_a_cell_is_cancelled_and_a_rank_dies_and_the_others_go_on_in_the_same_job(curve, sweep, tmp_path):
    """What runs is ended by the queue; who died gets a second start in its place."""
    first, second, third = planned_order(sweep, tmp_path)
    variables = trivial(**{f"g{first}": "hold", f"g{second}": "die-once"})
    curve.start(*CURVE, variables=variables)
    curve.wait_until_running(first)
    cancelled = curve.verb("cancel", "--cells", curve.cell(first).name, variables=variables)
    assert cancelled.returncode == 0, cancelled.stderr
    watched = curve.verb("status", "--watch", variables=variables)
    assert watched.returncode == 1, watched.stdout + watched.stderr
    assert curve.by_gpus() == {first: ("cancelled", ""), second: ("done", "rank_died"), third: ("done", "")}
    assert (curve.attempts(first), curve.attempts(second), curve.attempts(third)) == (["1"], ["1", "1.1"], ["1"])
    assert curve.record(second)["job_id"].split("_")[0] == curve.record(third)["job_id"].split("_")[0] == curve.job()
    curve.release()
    again = curve.run(*CURVE, variables=variables)
    assert again.returncode == 0, again.stdout + again.stderr
    assert curve.attempts(first) == ["1", "2"]
    assert curve.record(first)["allocated_gpus"] == first, "what is left of a curve takes no more than it needs"


def test_a_job_that_slurm_starts_again_goes_on_where_it_stopped(curve, sweep, tmp_path):
    first, second, third = planned_order(sweep, tmp_path)
    variables = trivial(**{f"g{second}": "hold"})
    curve.start(*CURVE, variables=variables)
    curve.wait_until_running(second)
    before = curve.record(first)
    curve.cluster.ask("scontrol", "requeue", curve.job())
    # scontrol returns before the ranks are told to end: released any earlier, the first attempt would finish.
    curve.wait_until_running(second, attempt="1.1")
    curve.release()
    watched = curve.verb("status", "--watch", variables=variables)
    assert watched.returncode == 0, watched.stdout + watched.stderr + curve.logs()
    assert curve.record(first) == before
    assert (curve.attempts(first), curve.attempts(second), curve.attempts(third)) == (["1"], ["1", "1.1"], ["1"])
    assert curve.by_gpus()[second] == ("done", "requeued")


def test_a_job_that_is_warned_of_its_end_lets_its_cell_stop_and_asks_to_be_started_again(curve, sweep, tmp_path):
    first, second, third = planned_order(sweep, tmp_path)
    variables = trivial(**{f"g{first}": "hold-once"})
    curve.start(*CURVE, variables=variables)
    curve.wait_until_running(first)
    curve.cluster.ask("scancel", "--batch", "--signal=USR2", curve.job())
    watched = curve.verb("status", "--watch", variables=variables)
    assert watched.returncode == 0, watched.stdout + watched.stderr + curve.logs()
    assert (curve.attempts(first), curve.attempts(second), curve.attempts(third)) == (["1", "1.1"], ["1"], ["1"])
    assert curve.read(first, "1", "exit.json")["signal"] == "SIGUSR2"
    assert len([entry for entry in curve.journal() if entry["event"] == "submitted"]) == 1


# --- what ends the whole job ---------------------------------------------------------------------------------


# --- the job's own script, with ranks that are shell scripts ------------------------------------------------

PYTHON = """\
#!/bin/bash
# Stands for python, but runs the queue with the real one.
case $2 in
  launchers.slurm.shared_queue) exec {python} "$@" ;;
  ranks)
    me="$SLURMD_NODENAME rank $SLURM_PROCID of $SLURM_NTASKS, $SLURM_GPUS_ON_NODE"
    echo "$me" >> {folder}/$VIT_SWEEP_TASK_INDEX ;;
esac
"""


@pytest.mark.parametrize("dialect", sorted(set(GpuDialect) - {GpuDialect.GPUS, GpuDialect.NONE}))
def test_a_step_gets_its_part_of_the_job_in_every_dialect(shared_cluster, tmp_path, monkeypatch, dialect):
    """`--gpus=N` leaves to Slurm how many each node gives (here 3 and 1), and without a flag there is no part."""
    monkeypatch.setenv("SLURM_CONF", shared_cluster.environment["SLURM_CONF"])
    python = tmp_path / "python"
    python.write_text(PYTHON.format(python=sys.executable, folder=tmp_path))
    python.chmod(0o755)
    shapes = [Shape(nodes=n, gpus_per_node=g, minutes=5) for n, g in ((1, 2), (2, 2), (1, 1), (2, 1))]
    this_batch = batch(
        study_dir=str(tmp_path / "s"),
        module="ranks",
        shared=True,
        shape=Shape(nodes=2, gpus_per_node=2, minutes=25),
        profile=profile(
            partition="vector",
            python=str(python),
            gpu_dialect=dialect,
            gpu_type="t4",
            mem_per_cpu_gib=1,
            environment={"PYTHONPATH": str(ROOT)},
        ),
        tasks=tuple(Task(name=f"c{i}", attempt=1, shape=shape) for i, shape in enumerate(shapes)),
    )
    rendered = SlurmLauncher().render(this_batch)
    Path(this_batch.folder).mkdir(parents=True)
    for name, text in rendered.files.items():
        (Path(this_batch.folder) / name).write_text(text)
    (submission,) = SlurmLauncher().submit([rendered])
    try:
        wait_for(lambda: all(s.ended for s in SlurmLauncher().states([submission]).values()))
        ended = SlurmLauncher().states([submission])
    finally:
        shared_cluster.ask("scancel", submission.handle)
    assert {task.ended for task in ended.values()} == {Ended.COMPLETED}, ended
    near = ended[this_batch.name, 0].hosts
    for index, shape in enumerate(shapes):
        hosts = ended[this_batch.name, index].hosts.split()
        assert (hosts[0], len(hosts)) == (near, shape.nodes)
        assert sorted((tmp_path / str(index)).read_text().splitlines()) == sorted(
            f"{hosts[rank // shape.gpus_per_node]} rank {rank} of {shape.gpus}, {shape.gpus_per_node}"
            for rank in range(shape.gpus)
        )
