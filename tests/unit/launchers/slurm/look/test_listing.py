"""A whole queue as squeue and scontrol print it: what is read, and that what is not known stays unknown.

`queues/` is a real cluster's output (Slurm 22.05.8, `tests/slurm/cluster.sh`, ten jobs of all kinds, 2026-11-30).
"""

import doctest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.queue_snapshot import Closure, NodeRoom, QueueState
from launchers.slurm.look import listing
from launchers.slurm.look.listing import hosts_of, read_jobs, read_limits, read_nodes, read_reservations

QUEUES = Path(__file__).parent / "queues"
ROW = (QUEUES / "jobs.txt").read_text().splitlines()[0]


@pytest.fixture(scope="module")
def jobs():
    listed, strange = read_jobs((QUEUES / "jobs.txt").read_text())
    assert strange == ""
    return {job.handle: job for job in listed}


def row(**changes):
    """The first job of the captured queue, changed."""
    fields = dict(zip(listing._FIELDS, ROW.split("|"), strict=False)) | changes
    return "|".join(fields.values()) + "|\n"


def one(**changes):
    (job,), strange = read_jobs(row(**changes))
    assert strange == ""
    return job


def test_examples():
    assert doctest.testmod(listing).failed == 0


def test_a_running_job_holds_its_nodes_from_its_start_to_its_limit(jobs):
    job = jobs["1"]
    assert (job.state, job.hosts, job.nodes, job.gpus_per_node) == (QueueState.RUNNING, ("vector01", "vector02"), 2, 8)
    assert (job.started_s, job.limit_s, job.partitions) == (1796029715.0, 1800.0, ("vector",))


def test_gpus_are_counted_by_whatever_they_were_asked_for(jobs):
    """Per node, per job, per task, or not at all."""
    assert [jobs[handle].gpus_per_node for handle in ("4", "2", "7", "10")] == [8, 3, 4, 0]


@pytest.mark.parametrize(
    ("changes", "gpus"),
    [
        ({"tres-per-node": "gres/gpu:a100:4"}, 4),
        ({"tres-per-node": "gres/gpu=2,gres/shard=1"}, 2),
        ({"tres-per-node": "N/A", "tres-alloc": "cpu=4,node=2,gres/gpu=8,gres/gpu:a100=8"}, 4),
        ({"tres-per-node": "N/A", "tres-per-job": "gres:gpu:3"}, None),
        ({"tres-per-node": "N/A", "tres-per-socket": "gres:gpu:1"}, None),
        ({"tres-per-node": "N/A"}, 0),
    ],
    ids=["typed", "with a type of Slurm 23", "granted", "uneven", "per socket", "none"],
)
def test_gpus_of_two_nodes(changes, gpus):
    assert one(**changes).gpus_per_node == gpus


def test_who_asks_for_whole_nodes_gets_them_whole(jobs):
    assert [handle for handle, job in jobs.items() if job.whole_nodes] == ["3"]


def test_the_tasks_of_an_array_that_wait_are_one_entry_with_its_throttle(jobs):
    assert (jobs["5_[0-9%2]"].tasks, jobs["5_[0-9%2]"].at_once) == (10, 2)
    assert (jobs["4"].tasks, jobs["4"].at_once) == (1, None)


def test_a_job_that_room_does_not_start_says_why(jobs):
    held_reasons = {handle: job.held for handle, job in jobs.items() if job.held}
    assert held_reasons == {"6": "JobHeldUser", "7": "Dependency", "9": "BeginTime"}


@pytest.mark.parametrize(
    ("reason", "held_reason"),
    [
        ("Priority", None),
        ("ReqNodeNotAvail, UnavailableNodes:n1", None),
        ("QOSMaxJobsPerUserLimit", "QOSMaxJobsPerUserLimit"),
    ],
)
def test_only_who_waits_for_room_competes(reason, held_reason):
    assert one(State="PENDING", Reason=reason).held == held_reason


def test_what_slurm_does_not_say_is_unknown():
    job = one(TimeLimit="UNLIMITED", StartTime="N/A", PriorityLong="", NodeList="(null)", NumCPUs="N/A")
    assert (job.limit_s, job.started_s, job.priority, job.hosts, job.cpus_per_node) == (None, None, None, (), None)
    assert one(TimeLimit="Partition_Limit").limit_s is None


def test_what_has_no_nodes_or_has_ended_is_no_part_of_the_queue():
    assert read_jobs(row(NumNodes="0") + row(State="COMPLETED")) == ((), "")


def test_headings_of_clusters_are_passed_over_and_a_wrappers_line_is_named():
    text = f"CLUSTER: west\nWelcome to the west!\n{row()}"
    listed, strange = read_jobs(text)
    assert [job.handle for job in listed] == ["1"]
    assert strange == "Welcome to the west!"


@given(st.text())
def test_no_text_is_too_odd_to_be_passed_over(text):
    read_jobs(text)
    read_nodes(text)
    read_reservations(text)
    hosts_of(text)


@given(st.sampled_from(sorted(listing._FIELDS)), st.text(alphabet="ab01[],-:=/%N \x1b9", max_size=40))
def test_no_value_is_too_odd_either(name, value):
    read_jobs(row(**{name: value}))


@pytest.mark.parametrize("name", ["NumNodes", "StartTime", "PriorityLong", "NumCPUs", "tres-per-node"])
def test_absurd_numbers_are_passed_over(name):
    read_jobs(row(**{name: "9" * 400}))


def test_nodes_have_their_gpus_cores_and_partitions():
    rooms = read_nodes((QUEUES / "nodes.txt").read_text())
    assert [room.name for room in rooms] == ["nebula01", "vector01", "vector02", "vector03", "vector04"]
    assert rooms[1] == NodeRoom(name="vector01", partitions=("vector",), gpus=8, cpus=64)


@pytest.mark.parametrize("state", ["IDLE+DRAIN", "DOWN*", "IDLE*", "MIXED+NOT_RESPONDING"])
def test_a_node_that_takes_no_job_is_not_usable(state):
    (room, *_) = read_nodes(f"NodeName=n1 Gres=gpu:4 Partitions=a,b State={state}")
    assert room.usable is False


def test_a_node_whose_gpus_cannot_be_read_takes_no_job():
    (room,) = read_nodes("NodeName=n1 Gres=gpu:a:b:4 State=IDLE CPUTot=8")
    assert (room.usable, room.gpus, room.cpus, room.partitions) == (False, 0, 8, ())


def test_a_reservation_closes_its_nodes_for_a_time():
    closed = read_reservations((QUEUES / "reservations.txt").read_text())
    assert closed == (Closure(hosts=("vector04",), from_s=1796036914.0, until_s=1796040514.0),)


def test_no_reservations_close_nothing():
    assert read_reservations("No reservations in the system\n") == ()
    assert read_reservations("ReservationName=a Nodes=(null) StartTime=1 EndTime=2") == ()


def test_a_list_of_absurdly_many_hosts_is_none():
    assert hosts_of("a[0-999]b[0-999]c[0-999]") == ()
    assert hosts_of("n[1-99999999999]") == ()


ASSOCIATIONS_SAID = """\
Cluster|Account|Partition|Def QOS|GrpJobs|GrpSubmit|GrpTRES|GrpTRESMins|MaxJobs|MaxSubmit|MaxTRES|MaxWall
lab|physics||two|||gres/gpu=5||3|9|gres/gpu=2|02:00:00
lab|root|vector||||||7|||
lab|free||||||||||
other|physics|||1|||||||
"""
QOS_SAID = """\
Name|GrpJobs|GrpSubmit|GrpTRES|GrpTRESMins|GrpWall|MaxJobsPA|MaxJobsPU|MaxSubmitPU|MaxTRES|MaxTRESPU|MaxWall
normal|||||||||||
two|10||cpu=64,gres/gpu=16||||1|2||gres/gpu=4|01:00:00
pair||||||||2|||
"""
PARTITIONS_SAID = "PartitionName=vector QoS=N/A\nPartitionName=two QoS=pair\n"


def test_limits_are_those_of_this_cluster_in_slurms_words():
    limits = read_limits(ASSOCIATIONS_SAID, QOS_SAID, PARTITIONS_SAID, cluster="lab")
    assert [(limit.account or limit.qos, limit.default, limit.partitions, limit.allows) for limit in limits] == [
        ("physics", False, (), "GrpTRES=gres/gpu=5 MaxJobs=3 MaxSubmit=9 MaxTRES=gres/gpu=2 MaxWall=02:00:00"),
        ("root", False, ("vector",), "MaxJobs=7"),
        (
            *("two", True, ()),
            "GrpJobs=10 GrpTRES=cpu=64,gres/gpu=16 MaxJobsPU=1 MaxSubmitPU=2 MaxTRESPU=gres/gpu=4 MaxWall=01:00:00",
        ),
        ("pair", False, ("two",), "MaxSubmitPU=2"),
    ]


@pytest.mark.parametrize("said", ["", "\n", "nonsense", "Name|MaxJobsPU", "Cluster|Account\nlab", "|||\n|||"])
def test_what_sacctmgr_does_not_say_is_no_limit(said):
    assert read_limits(said, said, said, cluster="lab") == ()
