"""The simulation of Slurm's queue against Slurm: the same jobs, which sleep, on the same nodes.

What Slurm plans (`squeue --start`) is compared with what the simulation says that it plans. Real starts are compared
with starts that are simulated with the run times that the jobs had: Slurm looks for room every 2 s here and starts a
job within one, so a start may be seconds off, and what was close may change its order.
"""

import random
import re
from datetime import datetime
from itertools import combinations
from statistics import median
from typing import NamedTuple

import pytest

from launchers.slurm.look.queue_snapshot import look
from tests.conftest import LONG
from tests.slurm.conftest import wait_for
from vit_sweep.plan.waiting.backfill import promised
from vit_sweep.plan.waiting.reading import Reader
from vit_sweep.plan.waiting.simulation import Queue

pytestmark = pytest.mark.slurm

SHAPES = ((1, 1, 30), (1, 2, 20), (1, 4, 15), (1, 8, 15), (2, 8, 12), (4, 4, 8))
"""Nodes of four, GPUs of eight on each, and of 100 jobs how many."""
SBATCH = ("sbatch", "--parsable", "--output=/dev/null", "--partition=vector")
APART_S = 3.0
"""Starts that are simulated closer together may come in any order."""
PLANNED_S = 90.0
"""What a plan may be off: Slurm plans in minutes."""


class Job(NamedTuple):
    """A job of a few seconds, with a limit of minutes."""

    nodes: int
    gpus: int
    minutes: int
    run_s: float


class Compared(NamedTuple):
    """What Slurm did beside what was simulated."""

    planned_off_s: list[float]
    """Of jobs of which Slurm plans the start: how much later the simulation says that it does."""
    starts: list[tuple[float, float]]
    """Simulated and real, from the first start on."""

    @property
    def in_order(self):
        """Of pairs of jobs whose starts are simulated well apart: the share that started in that order."""
        pairs = [sorted(pair) for pair in combinations(self.starts, 2) if abs(pair[0][0] - pair[1][0]) >= APART_S]
        return sum(first[1] <= second[1] for first, second in pairs) / len(pairs)

    @property
    def off_s(self):
        """How far off starts are, in the middle."""
        return median(abs(simulated - real) for simulated, real in self.starts)


def drawn(seed, count):
    """Jobs in the order of their submission."""
    draw = random.Random(f"slurm {seed}")
    shapes = draw.choices(SHAPES, [part for *_, part in SHAPES], k=count)
    return [Job(nodes, gpus, draw.randint(1, 9), draw.uniform(1, 4)) for nodes, gpus, _ in shapes]


def compared(cluster, jobs, go):
    """Send jobs behind one that has all nodes until `go` is there; then see when each starts."""
    wall = f"--wrap=until [ -e {go} ]; do sleep 0.05; done"
    first = cluster.ask(*SBATCH, "--nodes=4", "--gpus-per-node=8", "--time=60", wall).strip()
    wait_for(lambda: cluster.ask("squeue", "-h", "-t", "R").strip())
    shapes = [(f"--nodes={job.nodes}", f"--gpus-per-node={job.gpus}", f"--time={job.minutes}") for job in jobs]
    handles = [
        cluster.ask(*SBATCH, *shape, f"--wrap=exec sleep {job.run_s}").strip()
        for shape, job in zip(shapes, jobs, strict=True)
    ]
    planned = wait_for(lambda: (plan := slurms_plan(cluster)).keys() == set(handles) and plan)
    snapshot = look()
    assert isinstance(snapshot, str) is False, snapshot
    promises = promised(snapshot)
    go.touch()
    wait_for(lambda: not cluster.ask("squeue", "-h").strip())
    ran = {handle: times(cluster, handle) for handle in [first, *handles]}
    simulated = simulate(snapshot, {handle: end - start for handle, (start, end) in ran.items()})
    begun = ran[first][1]
    return Compared(
        [promises[handle] - planned[handle] for handle in handles],
        [(simulated[handle] - snapshot.at_s, ran[handle][0] - begun) for handle in handles],
    )


def simulate(snapshot, runs_s):
    """When each job that waits starts, if the one that runs ends now."""
    reader = Reader(snapshot)
    entries = {job.handle: reader.waiting(job, [runs_s[job.handle] / job.limit_s]) for job in reader.pending}
    for entry in entries.values():
        entry.awaited = True
    running = [reader.running(job, 0.0) for job in reader.running_jobs]
    Queue(reader.nodes, running, entries.values(), now=snapshot.at_s).run()
    return {handle: entry.stays[0].start_s for handle, entry in entries.items()}


def slurms_plan(cluster):
    """When Slurm plans to start each job that waits."""
    rows = [line.split() for line in cluster.ask("squeue", "-h", "--start", "-o", "%i %S").splitlines()]
    return {handle: seconds(start) for handle, start in rows if start != "N/A"}


def times(cluster, handle):
    """Start and end of a job."""
    answer_text = cluster.ask("scontrol", "show", "job", handle)
    return tuple(seconds(re.search(rf"\b{key}=(\S+)", answer_text)[1]) for key in ("StartTime", "EndTime"))


def seconds(printed):
    """A time as Slurm prints it."""
    return datetime.fromisoformat(printed).timestamp()


@pytest.fixture
def cluster_here(own_cluster, monkeypatch):
    """A cluster that we ask as users do."""
    for name, value in own_cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("launchers.slurm.look.queue_snapshot.QUEUE_AGE_S", 0.0)
    return own_cluster


def test_slurm_plans_and_starts_jobs_as_the_simulation_says(cluster_here, tmp_path):
    comparison = compared(cluster_here, drawn(3, 14), tmp_path / "go")
    assert max(map(abs, comparison.planned_off_s)) <= PLANNED_S, comparison
    assert comparison.in_order >= 0.9, comparison
    assert comparison.off_s <= APART_S, comparison


@pytest.mark.skipif(not LONG, reason="ten queues take minutes, the test above has one: VIT_SWEEP_LONG_TESTS=1")
def test_many_queues(cluster_here, tmp_path):
    """Last run on 2026-11-30: docs/study/waiting.md has its figures."""
    comparisons = [compared(cluster_here, drawn(seed, 30), tmp_path / f"go-{seed}") for seed in range(10)]
    for one in comparisons:
        as_planned = sum(abs(off) <= PLANNED_S for off in one.planned_off_s)
        last = max(real for _, real in one.starts)
        print(f"{as_planned} of 30 as planned, {one.in_order:.0%} in order, {one.off_s:.0f} s off, last {last:.0f} s")
    assert sum(abs(off) <= PLANNED_S for one in comparisons for off in one.planned_off_s) >= 0.9 * 300
    assert median(one.in_order for one in comparisons) >= 0.95
    assert median(one.off_s for one in comparisons) <= APART_S
