"""Queues with a planted truth: who comes when, asks for what, runs how long; what a user sees of it, and what comes.

Drawn by a seed: 8 to 24 nodes of 8 GPUs; jobs of others for five days, of 1 GPU to 4 nodes with limits of 1 to 24 h,
as many as keep 70 to 105 % of the GPUs busy. In half of the queues jobs run for any share of their limit alike, as the
forecast assumes; in the others most end early, and a fifth at the limit. In half of either kind jobs are taken in their
order; in the others by a priority of their user, so who comes later may go first.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from launchers.queue_snapshot import NodeRoom, QueuedJob, QueueSnapshot, QueueState
from vit_sweep.plan.waiting.backfill import PlannedJob
from vit_sweep.plan.waiting.reading import Reader
from vit_sweep.plan.waiting.simulation import Entry, Queue

HOUR = 3600.0
START_S, DAYS = 1.8e9, 5
PARTITION = "p"
GPUS = 8
SIZES = ((1, 1, 40), (1, 2, 20), (1, 4, 15), (1, 8, 15), (2, 8, 7), (4, 8, 3))
"""Nodes, GPUs on each, and of 100 jobs how many."""
LIMITS_H = (1, 2, 4, 8, 12, 24)
EARLY = 1, 2.3
"""Of the beta distribution of shares of limits."""
AT_THE_LIMIT = 0.2


class SubmittedAttempt(NamedTuple):
    """A job, or the tasks of an array."""

    submit_s: float
    wanted: PlannedJob
    """With its priority."""


class World:
    """A cluster and what others do on it."""

    def __init__(self, seed: int) -> None:
        """`seed`: one truth each."""
        self._random = draw = random.Random(f"queue {seed}")
        self.flat_shares, self.in_order = seed % 2 == 0, seed // 2 % 2 == 0
        self.nodes = tuple(
            NodeRoom(name=f"n{index:02}", partitions=(PARTITION,), gpus=GPUS) for index in range(draw.randrange(8, 25))
        )
        self.load = draw.uniform(0.7, 1.05)
        self.ours = self.priority()
        """Of our jobs."""
        self.others = tuple(self._comers())

    def priority(self) -> float:
        """Of a user's jobs."""
        return 0.0 if self.in_order else float(self._random.randrange(20))

    def _comers(self) -> Iterator[SubmittedAttempt]:
        draw, at_s = self._random, START_S
        mean_gpus = sum(nodes * gpus * part for nodes, gpus, part in SIZES) / 100
        mean_share = 0.5 if self.flat_shares else AT_THE_LIMIT + (1 - AT_THE_LIMIT) * EARLY[0] / sum(EARLY)
        mean_s = sum(LIMITS_H) / len(LIMITS_H) * HOUR * mean_share
        rate = self.load * GPUS * len(self.nodes) / (mean_gpus * mean_s)
        while (at_s := at_s + draw.expovariate(rate)) < START_S + DAYS * 24 * HOUR:
            nodes, gpus, _ = draw.choices(SIZES, [part for *_, part in SIZES])[0]
            limit_s = draw.choice(LIMITS_H) * HOUR
            run = self._share() * limit_s
            yield SubmittedAttempt(at_s, jobs(nodes, gpus, limit_s, (run,), priority=self.priority()))

    def _share(self) -> float:
        draw = self._random
        if self.flat_shares:
            return draw.random()
        return 1.0 if draw.random() < AT_THE_LIMIT else draw.betavariate(*EARLY)

    def play(self, new_jobs: Sequence[SubmittedAttempt]) -> "Played":
        """What comes of it if these jobs are sent, with our priority."""
        new_jobs = [one._replace(wanted=replace(one.wanted, priority=self.ours)) for one in new_jobs]
        reader = Reader(QueueSnapshot(at_s=START_S, nodes=self.nodes, jobs=()))
        submitted = [*self.others, *new_jobs]
        entries = [one.wanted.entry(reader) for one in submitted]
        for order, (entry, job) in enumerate(sorted(zip(entries, submitted, strict=True), key=lambda pair: pair[1][0])):
            entry.order, entry.submit_s, entry.awaited = order, job.submit_s, job in new_jobs
        Queue(reader.nodes, (), entries, now=START_S).run()
        pairs = list(zip(submitted, entries, strict=True))
        return Played(self, pairs, pairs[len(self.others) :])


class Played(NamedTuple):
    """A world in which everything has happened until the last of our jobs began."""

    world: World
    everybody: list[tuple[SubmittedAttempt, Entry]]
    ours: list[tuple[SubmittedAttempt, Entry]]

    def look(self, at_s: float, *, with_new: bool = False) -> QueueSnapshot:
        """What a user sees of the queue at a moment; `with_new`: what is sent in that moment waits already."""
        visible: list[tuple[float, int, QueuedJob]] = []
        for submitted, entry in self.everybody:
            if submitted.submit_s < at_s or (with_new and submitted.submit_s == at_s):
                visible += [(-entry.priority, entry.order, job) for job in self._seen(submitted, entry, at_s)]
        visible.sort(key=lambda one: one[:2])
        return QueueSnapshot(at_s=at_s, nodes=self.world.nodes, jobs=tuple(job for *_, job in visible))

    def _seen(self, submitted: SubmittedAttempt, entry: Entry, at_s: float) -> Iterator[QueuedJob]:
        job, new = submitted.wanted, submitted.submit_s == at_s
        waits = QueuedJob(
            handle=handle_of(entry),
            state=QueueState.PENDING,
            partitions=job.partitions,
            nodes=job.nodes,
            gpus_per_node=job.gpus_per_node,
            limit_s=job.limit_s,
            priority=entry.priority,
        )
        begun = [] if new else [stay for stay in entry.stays if stay.start_s <= at_s]
        for task, stay in enumerate(begun):
            if stay.end_s > at_s:
                yield replace(
                    waits,
                    handle=f"{waits.handle}_{task}",
                    state=QueueState.RUNNING,
                    hosts=tuple(self.world.nodes[node].name for node in stay.nodes),
                    started_s=stay.start_s,
                )
        not_started = len(job.runs_s) - len(begun)
        if not_started:
            yield replace(waits, tasks=not_started)


def handle_of(entry: Entry) -> str:
    """What a job is called."""
    return str(entry.order)


def jobs(
    nodes: int, gpus: int, limit_s: float, runs_s: tuple[float, ...], *, priority: float | None = None
) -> PlannedJob:
    """Jobs of one shape."""
    return PlannedJob(
        partitions=(PARTITION,), nodes=nodes, gpus_per_node=gpus, limit_s=limit_s, runs_s=runs_s, priority=priority
    )
