"""When wanted jobs would start behind a queue, by a simulation of it. Pure.

How long the jobs of others run nobody knows but up to their limits, so the queue is simulated several times, each time
with other run times: a share of the limit that is drawn at random. The shares are the same for whatever is wanted, so
two ways to send the same cells can be compared.

Of jobs whose GPUs per node are not known, the whole nodes are counted. Held jobs, and those that wait for others, are
left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from random import Random

from launchers.queue_snapshot import QueueSnapshot
from vit_sweep.plan.waiting.reading import Reader, Request
from vit_sweep.plan.waiting.simulation import NEVER, Entry, Queue, Stay

__all__ = ["DRAWS", "NEVER", "PlannedJob", "Shares", "Stay", "any_share", "makespan_s", "promised", "starts"]

DRAWS = 20
"""Simulations of a queue, each with other run times."""

EFFORT, EFFORT_OF_ALL, LEAST_DRAWS = 3_000_000, 6_000_000, 3
"""Nodes looked at for promises, 3 million of them in about a second: before one simulation is given up; before no
further draw is begun, beyond the least."""
BEHIND_ALL = -1.0
"""A priority below all of Slurm's."""

Shares = Callable[[Random, float], float]
"""Draws the share of its limit that a job runs for: at least what it has run for already."""


def any_share(random: Random, least: float) -> float:
    """Any share alike: what the logs of many machines look like, few users knowing what they ask for.

    Mu'alem and Feitelson, IEEE TPDS 12(6), 2001: the histogram of run time over requested time is about flat.
    """
    return least + (1 - least) * random.random()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedJob:
    """Jobs of one shape that are not in the queue yet: one, or the tasks of an array."""

    partitions: tuple[str, ...]
    """Slurm's names; of several, a job takes the first that can start it; none: the default one."""
    nodes: int
    gpus_per_node: int
    cpus_per_node: int = 0
    whole_nodes: bool = False
    limit_s: float
    runs_s: tuple[float, ...]
    """How long each task runs, in the order in which they start; one that would run longer ends at the limit."""
    at_once: int | None = None
    """Tasks that may run at the same time; None: all."""
    priority: float | None = None
    """None: behind all that waits."""
    hosts: tuple[str, ...] = ()
    """Nodes that it must get."""
    exclude: tuple[str, ...] = ()
    """Nodes that it must not get."""

    def entry(self, reader: Reader) -> Entry:
        """As an entry of the queue."""
        request = Request(
            partitions=self.partitions,
            nodes=self.nodes,
            gpus=self.gpus_per_node,
            cpus=self.cpus_per_node,
            whole_nodes=self.whole_nodes,
            limit_s=self.limit_s,
            hosts=self.hosts,
            exclude=self.exclude,
        )
        runs = [min(run, self.limit_s) for run in self.runs_s]
        priority = BEHIND_ALL if self.priority is None else self.priority
        return reader.entry(request, runs, priority, self.at_once, awaited=True)


def starts(
    snapshot: QueueSnapshot,
    jobs: Sequence[PlannedJob],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    shares: Shares = any_share,
) -> tuple[tuple[tuple[Stay, ...], ...], ...]:
    """When each task of each wanted job has its nodes: of each draw, of each wanted, of each task.

    The jobs come into the queue at once, in their order. `NEVER` where nothing that is known lets one start, or where
    the queue is so long that it is not followed to the end. A long queue is drawn less often.
    """
    simulated, effort = list[tuple[tuple[Stay, ...], ...]](), 0
    for draw in range(draws):
        stays, cost = _once(snapshot, jobs, Random(f"{seed} {draw}"), shares)
        simulated.append(stays)
        effort += cost
        if cost >= EFFORT or (effort >= EFFORT_OF_ALL and len(simulated) >= LEAST_DRAWS):
            break
    return tuple(simulated)


def makespan_s(snapshot: QueueSnapshot, stays_by_job: Sequence[Sequence[Stay]]) -> float:
    """From now to the end of the last task, in one draw."""
    return max((stay.end_s for stays in stays_by_job for stay in stays), default=snapshot.at_s) - snapshot.at_s


def promised(snapshot: QueueSnapshot) -> dict[str, float | None]:
    """The start of each job that waits, as Slurm would forecast it: all run to their limits, promises on whole nodes.

    By handle; None: beyond what backfill looks at.
    """
    reader = Reader(snapshot)
    entries = {job.handle: reader.waiting(job, (1.0,)) for job in reader.pending}
    running = [reader.running(job, 1.0) for job in reader.running_jobs]
    waiting = [entry for entry in entries.values() if entry.needs]
    Queue(reader.nodes, running, waiting, now=snapshot.at_s).promise_all()
    return {handle: entry.promised_s if entry.promised_s != inf else None for handle, entry in entries.items()}


def _once(
    snapshot: QueueSnapshot, jobs: Sequence[PlannedJob], random: Random, shares: Shares
) -> tuple[tuple[tuple[Stay, ...], ...], int]:
    """One draw, and what it cost."""
    reader = Reader(snapshot)
    running = [reader.running(job, shares(random, reader.least_share(job))) for job in reader.running_jobs]
    queued = [reader.waiting(job, [shares(random, 0.0) for _ in range(job.tasks)]) for job in reader.pending]
    prospective = [one.entry(reader) for one in jobs]
    entries = [entry for entry in (*queued, *prospective) if entry.needs]
    queue = Queue(reader.nodes, running, entries, now=snapshot.at_s)
    queue.run(EFFORT)
    return tuple((*entry.stays, *[NEVER] * entry.left) for entry in prospective), queue.effort
