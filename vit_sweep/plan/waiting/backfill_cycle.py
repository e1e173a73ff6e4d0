"""One look through a queue: who fits now, and who is promised nodes for later. Pure."""

from bisect import insort
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from math import inf

from vit_sweep.plan.waiting.nodes import Need, Nodes, Room, choose


class BackfillCycle:
    """The promises that are made in one look, by priority: whoever comes later respects them."""

    def __init__(self, nodes: Nodes, needs: Iterable[Need], now: float) -> None:
        """`needs`: of all that waits."""
        self._nodes, self._now = nodes, now
        self._promised = {node: left for node in nodes.closed if (left := nodes.closed_after(node, now))}
        self._changed = list(self._promised)
        self._earliest_by_need: dict[Need, list[float]] = {}
        self._applied: dict[Need, int] = {}
        self._fitting: dict[Need, list[int]] = {}
        """Nodes on which those could start that still can."""
        free: dict[Room, list[int]] = {}
        for need in needs:
            if need.room not in free:
                free[need.room] = _free(need.room, nodes)
            if len(free[need.room]) >= need.nodes:
                self._keep(need, free[need.room])

    @property
    def is_over(self) -> bool:
        """Whether nothing that waits can start any more."""
        return not self._fitting

    def nodes_for(self, need: Need) -> list[int] | None:
        """The nodes that a job gets if it starts now; None: too few of them are free until its end."""
        fitting = self._fitting.get(need)
        return None if fitting is None else choose(fitting, need.nodes)

    def started(self, nodes: Sequence[int]) -> None:
        """Note that a job has taken its nodes."""
        self._update_fitting(nodes)

    def promise(self, need: Need, latest_s: float) -> float:
        """Promise a job the earliest time at which it fits by all limits, its nodes as a whole; return that time.

        Nothing is promised later than `until`: inf.
        """
        start, fitting = self._earliest(need)
        if start > latest_s:
            return inf
        nodes = choose(fitting, need.nodes)
        for node in nodes:
            insort(self._promised.setdefault(node, []), (start, start + need.limit_s))
        self._update_fitting(nodes)
        return start

    def _keep(self, need: Need, free: Sequence[int]) -> None:
        """Note on which of these free nodes a job fits until its end; forget it where they are too few.

        One that would just fit does not: Slurm looks some seconds later than it could.
        """
        end = self._now + need.limit_s
        fitting = [node for node in free if node not in self._promised or self._promised[node][0][0] > end]
        if len(fitting) >= need.nodes:
            self._fitting[need] = fitting
        else:
            self._fitting.pop(need, None)

    def _update_fitting(self, nodes: Sequence[int]) -> None:
        self._changed += nodes
        for need, fitting in list(self._fitting.items()):
            if any(node in fitting for node in nodes):
                free_from, position = self._nodes.free_from(need.room), need.room.position
                self._keep(need, [node for node in fitting if free_from[position[node]] == 0])

    def _earliest(self, need: Need) -> tuple[float, list[int]]:
        """The first moment at which enough nodes fit, and all that do."""
        firsts, candidates = self._earliest_starts(need), need.room.candidates
        if need.nodes == 1:
            earliest = min(firsts)
            return max(earliest, self._now), [candidates[at] for at, one in enumerate(firsts) if one <= earliest]
        times = nsmallest(need.nodes, firsts)
        while times[-1] < inf:
            start = max(times[-1], self._now)
            fitting = [
                node
                for node, first in zip(candidates, firsts, strict=True)
                if first <= start and self._earliest_on(node, need.limit_s, start) == start
            ]
            if len(fitting) >= need.nodes:
                return start, fitting
            later = (self._earliest_on(node, need.limit_s, start) for node in candidates)
            not_before = [max(first, one) for first, one in zip(firsts, later, strict=True)]
            times = [min((one for one in not_before if one > start), default=inf)]
        return inf, []

    def _earliest_starts(self, need: Need) -> list[float]:
        """Of each candidate: the first moment at which a job could start there; one that is past stands for now."""
        free_from, position = self._nodes.free_from(need.room), need.room.position
        firsts = self._earliest_by_need.get(need)
        if firsts is None:
            firsts = self._earliest_by_need[need] = free_from.copy()
        for node in set(self._changed[self._applied.get(need, 0) :]):
            if node in position:
                firsts[position[node]] = self._earliest_on(node, need.limit_s, free_from[position[node]])
        self._applied[need] = len(self._changed)
        return firsts

    def _earliest_on(self, node: int, limit_s: float, free: float) -> float:
        """The first moment from `free` on at which nothing promised is in the way."""
        first = free if free > self._now else self._now
        for begin, end in self._promised.get(node, ()):
            if begin - limit_s > first:
                break
            if end > first:  # noqa: PLR1730  # `max` takes three times as long, a million times in a queue
                first = end
        return first


def _free(room: Room, nodes: Nodes) -> list[int]:
    free_from = nodes.free_from(room)
    return [node for node, free in zip(room.candidates, free_from, strict=True) if free == 0] if 0 in free_from else []
