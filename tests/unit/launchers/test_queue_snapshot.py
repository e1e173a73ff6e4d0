"""A look at a queue is checked like all that comes from outside."""

import pytest

from launchers.checked import parse_json, to_json
from launchers.errors import UserError
from launchers.queue_snapshot import Closure, NodeRoom, QueuedJob, QueueSnapshot, QueueState

NODE = NodeRoom(name="n1", partitions=("vector", "low"), gpus=8)
JOB = QueuedJob(
    handle="17_[4-99]",
    state=QueueState.PENDING,
    partitions=("vector",),
    nodes=2,
    gpus_per_node=None,
    limit_s=None,
    tasks=96,
    at_once=10,
)


def test_a_queue_snapshot_is_read_back_as_it_was_written():
    closed = Closure(hosts=("n1",), from_s=2e9, until_s=2e9 + 60)
    snapshot = QueueSnapshot(at_s=1.8e9, nodes=(NODE,), jobs=(JOB,), closed=(closed,), hidden="PrivateData=jobs")
    assert parse_json(QueueSnapshot, to_json(snapshot), source="snapshot") == snapshot


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("nodes", "0", "nodes"), ("limit_s", "-1", "limit_s"), ("priority", "-2", "priority"), ("state", '"x"', "state")],
)
def test_what_no_queue_holds_is_refused(field, value, words):
    text = to_json(JOB).replace("}", f', "{field}": {value}}}')
    with pytest.raises(UserError, match=words):
        parse_json(QueuedJob, text, source="job")
