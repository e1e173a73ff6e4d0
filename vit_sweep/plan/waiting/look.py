"""One look through a queue: who fits now, and who is promised nodes for later. Pure."""

from bisect import insort
from collections.abc import Iterable, Sequence
from heapq import nsmallest
from math import inf

from vit_sweep.plan.waiting.nodes import Need, Nodes, Room, choose


class Look:
    """The promises that are made in one look, by priority: whoever comes later respects them."""

    def __init__(self, nodes: Nodes, needs: Iterable[Need], now: float) -> None:
        """`needs`: of all that waits."""
        self._nodes, self._now = nodes, now
        self._taken = {node: left for node in nodes.closed if (left := nodes.closed_after(node, now))}
        self._changed = list(self._taken)
        self._firsts: dict[Need, list[float]] = {}
        self._heeded: dict[Need, int] = {}
        self._fitting: dict[Need, list[int]] = {}
        """Nodes on which those could start that still can."""
        free: dict[Room, list[int]] = {}
        for need in needs:
            if need.room not in free:
                free[need.room] = _free(need.room, nodes)
            if len(free[need.room]) >= need.nodes:
                self._keep(need, free[need.room])

    @property
    def over(self) -> bool:
        """Whether nothing that waits can start any more."""
        return not self._fitting

    def nodes_for(self, need: Need) -> list[int] | None:
        """The nodes that a job gets if it starts now; None: too few of them are free until its end."""
        fitting = self._fitting.get(need)
        return None if fitting is None else choose(fitting, need.nodes)

    def started(self, chosen: Sequence[int]) -> None:
        """Heed that a job has taken its room."""
        self._heed(chosen)

    def promise(self, need: Need, until: float) -> float:
        """Promise a job the earliest time at which it fits by all limits, its nodes as a whole; return that time.

        Nothing is promised later than `until`: inf.
        """
        start, fitting = self._earliest(need)
        if start > until:
            return inf
        chosen = choose(fitting, need.nodes)
        for node in chosen:
            insort(self._taken.setdefault(node, []), (start, start + need.limit_s))
        self._heed(chosen)
        return start

    def _keep(self, need: Need, free: Sequence[int]) -> None:
        """Note on which of these free nodes a job fits until its end; forget it where they are too few.

        One that would just fit does not: Slurm looks some seconds later than it could.
        """
        end = self._now + need.limit_s
        fitting = [node for node in free if node not in self._taken or self._taken[node][0][0] > end]
        if len(fitting) >= need.nodes:
            self._fitting[need] = fitting
        else:
            self._fitting.pop(need, None)

    def _heed(self, chosen: Sequence[int]) -> None:
        self._changed += chosen
        for need, fitting in list(self._fitting.items()):
            if any(node in fitting for node in chosen):
                since, place = self._nodes.since(need.room), need.room.place
                self._keep(need, [node for node in fitting if since[place[node]] == 0])

    def _earliest(self, need: Need) -> tuple[float, list[int]]:
        """The first moment at which enough nodes fit, and all that do."""
        firsts, candidates = self._first_times(need), need.room.candidates
        if need.nodes == 1:
            first = min(firsts)
            return max(first, self._now), [candidates[at] for at, one in enumerate(firsts) if one <= first]
        times = nsmallest(need.nodes, firsts)
        while times[-1] < inf:
            start = max(times[-1], self._now)
            fitting = [
                node
                for node, first in zip(candidates, firsts, strict=True)
                if first <= start and self._first(node, need.limit_s, start) == start
            ]
            if len(fitting) >= need.nodes:
                return start, fitting
            later = (self._first(node, need.limit_s, start) for node in candidates)
            again = [max(first, one) for first, one in zip(firsts, later, strict=True)]
            times = [min((one for one in again if one > start), default=inf)]
        return inf, []

    def _first_times(self, need: Need) -> list[float]:
        """Of each candidate: the first moment at which a job could start there; one that is past stands for now."""
        since, place = self._nodes.since(need.room), need.room.place
        firsts = self._firsts.get(need)
        if firsts is None:
            firsts = self._firsts[need] = since.copy()
        for node in set(self._changed[self._heeded.get(need, 0) :]):
            if node in place:
                firsts[place[node]] = self._first(node, need.limit_s, since[place[node]])
        self._heeded[need] = len(self._changed)
        return firsts

    def _first(self, node: int, limit_s: float, free: float) -> float:
        """The first moment from `free` on at which nothing promised is in the way."""
        first = free if free > self._now else self._now
        for begin, end in self._taken.get(node, ()):
            if begin - limit_s > first:
                break
            if end > first:  # noqa: PLR1730  # `max` takes three times as long, a million times in a queue
                first = end
        return first


def _free(room: Room, nodes: Nodes) -> list[int]:
    since = nodes.since(room)
    return [node for node, free in zip(room.candidates, since, strict=True) if free == 0] if 0 in since else []
