"""A Slurm queue, moved from event to event: the main scheduler by priority, and backfill. Pure.

Whenever a job ends or comes, the queue is looked through by priority, as sched/backfill does: what fits starts, if it
ends by its limit before anything begins that is promised to a job of higher priority; what does not fit is promised the
earliest time at which it would, were all to run to their limits, on whole nodes (Slurm keeps promises by node, not by
GPU). That the main scheduler starts nothing behind the first job that must wait follows from it.

Left out: host memory, preemption, licences, priorities that grow with age, limits of users, topologies, and that Slurm
looks only every bf_interval seconds.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf
from typing import NamedTuple

from vit_sweep.plan.waiting.backfill_cycle import BackfillCycle
from vit_sweep.plan.waiting.nodes import Need, Nodes

TESTED = 500
"""Jobs that backfill looks at in one go (bf_max_job_test)."""
WINDOW_S = 86400.0
"""How far ahead it promises (bf_window)."""
PROMISED_TASKS = 20
"""Tasks of one array that it promises a time (bf_max_job_array_resv)."""


class Stay(NamedTuple):
    """When a job has its nodes; inf: never."""

    start_s: float
    end_s: float
    nodes: tuple[int, ...] = ()
    """Their indices."""


NEVER = Stay(inf, inf)


class Running(NamedTuple):
    """A job that has its nodes already."""

    need: Need
    nodes: tuple[int, ...]
    until_s: float
    """By its limit."""
    end_s: float
    """In truth; inf: never."""


@dataclass(slots=True)
class Entry:
    """A job in the queue, or the tasks of an array: its needs, and in what time each of them ends."""

    priority: float
    order: int
    """Among jobs of equal priority."""
    needs: tuple[Need, ...]
    """One for each partition that it may start in."""
    runs_s: Sequence[float]
    submit_s: float
    at_once: int | None = None
    awaited: bool = True
    """Whether the simulation goes on until it has started."""
    stays: list[Stay] = field(default_factory=list)
    promised_s: float | None = None
    """The start that it was promised when the queue was last looked through: what `squeue --start` says."""
    running: int = 0
    """Tasks that run, as far as they began in the simulation."""
    left: int = field(init=False)
    """Tasks that have not started."""

    def __post_init__(self) -> None:
        self.left = len(self.runs_s)

    @property
    def may_start(self) -> int:
        """Tasks that may start now, were there room."""
        return self.left if self.at_once is None else min(self.left, self.at_once - self.running)

    def __lt__(self, other: "Entry") -> bool:
        return (-self.priority, self.order) < (-other.priority, other.order)


class Queue:
    """A queue that moves on until all that is awaited has started."""

    def __init__(self, nodes: Nodes, running: Iterable[Running], entries: Iterable[Entry], *, now: float) -> None:
        """`entries`: also those that come later; they are changed in place."""
        self._nodes, self._now, self._jobs = nodes, now, 0
        self.effort = 0
        """What it has cost so far: nodes that were looked at for promises."""
        self._ends: list[tuple[float, int, tuple[int, ...], Entry | None]] = []
        for job in running:
            self._hold(job.need, job.nodes, job.until_s, max(now, job.end_s), None)
        self._ends += [(end, -1, (), None) for times in nodes.closed.values() for _, end in times if end > now]
        heapify(self._ends)
        self._coming = sorted(entries, key=lambda entry: entry.submit_s, reverse=True)
        self._awaited = sum(entry.awaited for entry in self._coming)
        self._waiting: list[Entry] = []
        self._needs: Counter[Need] = Counter()

    def run(self, most_effort: float = inf) -> None:
        """Move on until everything awaited has started, nothing moves any more, or it has cost so much."""
        self._come()
        self._look()
        while self._awaited and (self._ends or self._coming) and self.effort < most_effort:
            self._now = min(self._ends[0][0] if self._ends else inf, self._coming[-1].submit_s if self._coming else inf)
            if self._now == inf:
                return
            while self._ends and self._ends[0][0] <= self._now:
                _, job, nodes, entry = heappop(self._ends)
                self._nodes.release(job, nodes)
                if entry is not None:
                    entry.running -= 1
            self._come()
            self._look()

    def promise_all(self) -> None:
        """BackfillCycle through the queue once without starting anything: each entry's `promised_s`, as of now."""
        self._come()
        cycle = BackfillCycle(self._nodes, (), self._now)
        for entry in self._waiting[:TESTED]:
            entry.promised_s = min(cycle.promise(need, self._now + WINDOW_S) for need in entry.needs)

    def _come(self) -> None:
        while self._coming and self._coming[-1].submit_s <= self._now:
            entry = self._coming.pop()
            insort(self._waiting, entry)
            self._needs.update(entry.needs)

    def _look(self) -> None:
        """BackfillCycle through the queue by priority, for as long as anything in it could start."""
        cycle, beyond = BackfillCycle(self._nodes, self._needs, self._now), set[Need]()
        any_started = False
        for entry in self._waiting[:TESTED]:
            if cycle.is_over:
                break
            may_start = entry.may_start
            if may_start <= 0:
                continue
            for need in entry.needs:
                while may_start > 0 and (nodes := cycle.nodes_for(need)) is not None:
                    self._start(entry, need, nodes)
                    cycle.started(nodes)
                    may_start -= 1
            if may_start:
                self._promise(entry, min(may_start, PROMISED_TASKS), cycle, beyond)
            any_started = any_started or entry.left == 0
        if any_started:
            self._remove_started()

    def _promise(self, entry: Entry, tasks: int, cycle: BackfillCycle, beyond: set[Need]) -> None:
        """Promise tasks their nodes; `beyond`: needs that find none as far ahead as anything is promised."""
        for need in entry.needs:
            for _ in range(tasks):
                if need in beyond or cycle.is_over:
                    break
                self.effort += len(need.room.candidates)
                if cycle.promise(need, self._now + WINDOW_S) == inf:
                    beyond.add(need)

    def _start(self, entry: Entry, need: Need, nodes: Sequence[int]) -> None:
        end = self._now + entry.runs_s[len(entry.stays)]
        entry.stays.append(Stay(self._now, end, tuple(nodes)))
        entry.left -= 1
        entry.running += 1
        self._hold(need, tuple(nodes), self._now + need.limit_s, end, entry)
        if entry.awaited and entry.left == 0:
            self._awaited -= 1

    def _hold(self, need: Need, nodes: tuple[int, ...], until_s: float, end_s: float, entry: Entry | None) -> None:
        self._jobs += 1
        self._nodes.allocate(self._jobs, nodes, need.room, until_s)
        if end_s < inf:
            heappush(self._ends, (end_s, self._jobs, nodes, entry))

    def _remove_started(self) -> None:
        for entry in self._waiting:
            if entry.left == 0:
                self._needs.subtract(entry.needs)
        self._needs = +self._needs
        self._waiting = [entry for entry in self._waiting if entry.left]
