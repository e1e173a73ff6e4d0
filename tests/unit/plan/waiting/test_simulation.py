"""The simulation equals a slow one that is written straight from the rules, and keeps what every scheduler must."""

from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.queue_snapshot import QueueSnapshot
from tests.unit.plan.waiting.queues import NOW, nodes
from vit_sweep.plan.waiting.nodes import choose
from vit_sweep.plan.waiting.reading import Reader, Request
from vit_sweep.plan.waiting.simulation import Queue

GPUS = 4
JOB = st.tuples(
    st.integers(1, 3),
    st.sampled_from([1, 2, GPUS]),
    st.sampled_from([2, 5, 9]),
    st.integers(1, 9),
    st.integers(0, 2),
    st.integers(0, 4),
)
"""Nodes, GPUs on each, limit, run time (at most the limit), priority, when it comes."""


def simulated(count, jobs):
    """Start and nodes of each job."""
    reader = Reader(QueueSnapshot(at_s=NOW, nodes=nodes(count, gpus=GPUS), jobs=()))
    entries = []
    for wide, gpus, limit, run, priority, comes in jobs:
        ask = Request(("p",), wide, gpus, 0, False, float(limit), ())
        entry = reader.entry(ask, [float(min(run, limit))], float(priority), None, awaited=True)
        entry.submit_s = NOW + comes
        entries.append(entry)
    Queue(reader.nodes, (), [entry for entry in entries if entry.needs], now=NOW).run()
    return [(entry.stays[0].start_s - NOW, entry.stays[0].nodes) if entry.stays else None for entry in entries]


def slow(count, jobs):
    """The same, by trying every moment of every job at every event."""
    begun, now = {}, 0
    order = sorted(range(len(jobs)), key=lambda job: (-jobs[job][4], job))
    while now < 200:
        promises = []
        for job in order:
            wide, _, limit, _, _, comes = jobs[job]
            if job in begun or comes > now or wide > count:
                continue
            first, fitting = earliest(job, now, (count, jobs, begun), promises)
            if first == now:
                begun[job] = now, tuple(choose(fitting, wide))
            else:
                promises.append((first, first + limit, set(choose(fitting, wide))))
        now += 1
    return [begun.get(job) for job in range(len(jobs))]


def earliest(job, now, begun_jobs, promises):
    """The first moment at which a job fits by all limits and promises, and the nodes that then do."""
    count, jobs, begun = begun_jobs
    wide, gpus, limit, *_ = jobs[job]
    moment = now
    while True:
        fitting = [
            node
            for node in range(count)
            if free(node, moment, now, jobs, begun) >= gpus
            and all(node not in taken or end <= moment or start > moment + limit for start, end, taken in promises)
        ]
        if len(fitting) >= wide:
            return moment, fitting
        moment += 1


def free(node, moment, now, jobs, begun):
    """GPUs of a node that are free at a moment, as one knows it now: jobs that run do so to their limits."""
    used_gpus = 0
    for job, (start, on) in begun.items():
        _, gpus, limit, run, *_ = jobs[job]
        if node in on and start + min(run, limit) > now and start + limit > moment:
            used_gpus += gpus
    return GPUS - used_gpus


@settings(max_examples=300)
@given(st.integers(1, 3), st.lists(JOB, max_size=18))
def test_it_equals_the_slow_simulation(count, jobs):
    assert simulated(count, jobs) == slow(count, jobs)


@settings(max_examples=200)
@given(st.integers(1, 4), st.lists(JOB, max_size=30))
def test_no_node_ever_holds_more_than_it_has_and_no_job_starts_before_it_comes(count, jobs):
    starts = simulated(count, jobs)
    assert [start is None for start in starts] == [job[0] > count for job in jobs]
    begun = {job: start for job, start in enumerate(starts) if start is not None}
    for job, (start, on) in begun.items():
        assert start >= jobs[job][5]
        assert len(set(on)) == jobs[job][0]
        for node in on:
            used = [
                jobs[other][1]
                for other, (since, where) in begun.items()
                if node in where and since <= start < since + min(jobs[other][2], jobs[other][3])
            ]
            assert sum(used) <= GPUS


def test_of_neighbours_the_smallest_group_that_is_large_enough_is_taken():
    assert choose([0, 2, 3, 5, 6, 7], 2) == [2, 3]
    assert choose([0, 2, 3, 5, 6, 7], 1) == [0]
    assert choose([0, 2, 4, 5], 3) == [4, 5, 0]
