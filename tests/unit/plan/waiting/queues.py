"""Small queues for tests, and a slow and simple simulation that the fast one must equal."""

from math import inf

from launchers.queue_snapshot import NodeRoom, QueuedJob, QueueSnapshot, QueueState
from vit_sweep.plan.waiting.backfill import PlannedJob

NOW = 1.8e9
HOUR = 3600.0


def nodes(count, *, gpus=8, **more):
    """Equal nodes of one partition."""
    return tuple(
        NodeRoom(**({"name": f"n{index}", "partitions": ("p",), "gpus": gpus} | more)) for index in range(count)
    )


def _shape(gpus, hours):
    return {"partitions": ("p",), "nodes": 1, "gpus_per_node": gpus, "limit_s": hours * HOUR}


def runs(handle, host, gpus, hours, *, ran=0.0, **more):
    """A job that runs on one node, with a limit of so many hours."""
    fields = _shape(gpus, hours) | {"hosts": (host,), "started_s": NOW - ran * HOUR}
    return QueuedJob(handle=handle, state=QueueState.RUNNING, **(fields | more))


def waits(handle, gpus, hours, *, priority=1.0, **more):
    """A job that waits."""
    fields = _shape(gpus, hours) | {"priority": float(priority)}
    return QueuedJob(handle=handle, state=QueueState.PENDING, **(fields | more))


def wants(gpus, hours, *, tasks=1, **more):
    """What we would send: it runs to its limit."""
    return PlannedJob(**(_shape(gpus, hours) | {"runs_s": (hours * HOUR,) * tasks} | more))


def look(*jobs, on=None, **more):
    """An snapshot, of one node where nothing else is said."""
    return QueueSnapshot(at_s=NOW, nodes=nodes(1) if on is None else on, jobs=jobs, **more)


def to_the_limit(_random, _least):
    """Every job runs to its limit."""
    return 1.0


def hours(stays):
    """Starts as hours from now."""
    return [None if stay.start_s == inf else round((stay.start_s - NOW) / HOUR, 3) for stay in stays]
