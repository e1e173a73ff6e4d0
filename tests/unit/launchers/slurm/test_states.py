"""Slurm's words for a task, in ours: every state, the reasons of those that wait, and what sacct and squeue print."""

import doctest
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.slurm import states as slurm_states
from launchers.slurm.states import (
    STATES,
    WHOLE,
    explained,
    forgotten_status,
    read_sacct,
    read_squeue,
    shared_task_status,
    status_of,
)

BASE = (
    "PENDING RUNNING SUSPENDED COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE OUT_OF_MEMORY"
)
FLAGS = (
    "COMPLETING CONFIGURING EXPEDITING LAUNCH_FAILED POWER_UP_NODE RECONFIG_FAIL REQUEUED REQUEUE_FED REQUEUE_HOLD "
    "RESIZING RESV_DEL_HOLD REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED UPDATE_DB"
)
"""As listed in https://slurm.schedmd.com/job_state_codes.html."""


# --- states -------------------------------------------------------------------------------------------


def test_every_state_and_flag_of_slurm_has_its_place_and_nothing_else_has():
    assert set(STATES) == set(BASE.split()) | set(FLAGS.split())


def test_a_state_says_how_it_ended_exactly_if_it_is_an_end():
    for name, (state, ended) in STATES.items():
        assert (ended is not None) == (state is TaskState.ENDED), name
        assert ended is not Ended.UNREPORTED, name


def test_no_flag_is_an_end_since_a_job_with_a_flag_is_still_in_slurms_hands():
    assert all(STATES[name][0] is not TaskState.ENDED for name in FLAGS.split())


@pytest.mark.parametrize(
    ("name", "ended"),
    [
        ("COMPLETED", Ended.COMPLETED),
        ("FAILED", Ended.FAILED),
        ("CANCELLED", Ended.CANCELLED),
        ("TIMEOUT", Ended.TIME_LIMIT),
        ("PREEMPTED", Ended.PREEMPTED),
        ("NODE_FAIL", Ended.NODE_FAILURE),
        ("BOOT_FAIL", Ended.NODE_FAILURE),
        ("OUT_OF_MEMORY", Ended.OUT_OF_MEMORY),
    ],
)
def test_how_slurm_ended_a_task_is_said_in_its_words_and_in_ours(name, ended):
    assert status_of(name, hosts="n[1-2]") == TaskStatus(
        state=TaskState.ENDED, detail=f"Slurm says {name} on n[1-2]", ended=ended, hosts="n[1-2]"
    )


def test_who_cancelled_is_kept_and_no_host_is_not_a_host():
    status = status_of("CANCELLED by 1000", hosts="None assigned")
    assert (status.ended, status.detail, status.hosts) == (Ended.CANCELLED, "Slurm says CANCELLED by 1000", "")


@pytest.mark.parametrize("state", ["COMPLETING", "CONFIGURING", "STAGE_OUT"])
def test_a_task_that_holds_nodes_is_running_and_says_what_it_does(state):
    status = status_of(state, hosts="n1")
    assert (status.state, status.detail, status.hosts) == (TaskState.RUNNING, f"{state} on n1", "n1")
    assert status_of("RUNNING", hosts="n1").detail == "n1"


@pytest.mark.parametrize("state", ["SUSPENDED", "STOPPED"])
def test_a_task_that_is_stopped_for_a_while_is_suspended_with_the_task_that_its_shared_job_runs(state):
    job = status_of(state, hosts="n[1-2]")
    assert (job.state, job.detail) == (TaskState.SUSPENDED, f"{state} on n[1-2]")
    assert shared_task_status(job, TaskStatus(state=TaskState.RUNNING, hosts="n1"), cancelled=False).state == job.state
    assert shared_task_status(job, None, cancelled=False).state is TaskState.QUEUED


@given(st.text().filter(lambda name: not any(name.strip().startswith(known) for known in STATES)))
def test_a_word_that_nobody_knows_is_never_an_end(name):
    status = status_of(name, hosts="n1", reason="why")
    assert (status.state, status.ended) == (TaskState.UNKNOWN, None)
    assert repr(name) in status.detail


def test_a_word_that_says_nothing_of_the_task_is_kept():
    assert status_of("REVOKED") == TaskStatus(state=TaskState.UNKNOWN, detail="Slurm says REVOKED")


# --- reasons ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "gloss"),
    [
        ("Priority", "ahead in the queue"),
        ("Resources", "waits for free nodes"),
        ("BeginTime", "may not start yet"),
        ("JobArrayTaskLimit", "tasks of this array"),
        ("DependencyNeverSatisfied", "never start"),
        ("Dependency", "waits for another job"),
        ("QOSMaxJobsPerUserLimit", "you have as many jobs as you may"),
        ("AssocMaxJobsLimit", "you have as many jobs as you may"),
        ("QOSMaxGRESPerUser", "you use as much as you may"),
        ("QOSMaxGRESPerJob", "more than one job may have"),
        ("AssocGrpGRES", "your group uses as much"),
        ("AssocGrpGRESMinutes", "your group has used up its hours"),
        ("AssocGrpWallLimit", "your group has used up its hours"),
        ("QOSGrpCPURunMinutesLimit", "would take more time than it may at once"),
        ("QOSMaxGRESPerNode", "more than one job may have"),
        ("QOSMaxNodePerUserLimit", "you use as much as you may"),
        ("MaxGRESPerAccount", "your account uses as much"),
        ("MaxJobsPerAccount", "your account has as many jobs"),
        ("AssociationResourceLimit", "a limit of your account or QOS"),
        ("QOSUsageThreshold", "more of this QOS than it allows"),
        ("AccountNotAllowed", "does not allow its QOS or account"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", "down, drained or reserved"),
        ("ReqNodeNotAvail, Reserved for maintenance", "often for maintenance"),
        ("PartitionDown", "the partition is down"),
        ("PartitionInactive", "starts no jobs now"),
        ("InvalidQOS", "its QOS is not valid"),
        ("InvalidAccount", "its account is not valid"),
        ("ReservationDeleted", "its reservation was deleted"),
        ("Reservation", "waits for its reservation"),
        ("JobHeldUser", "scontrol release"),
        ("JobHeldAdmin", "by an administrator"),
        ("job requeued in held state", "scontrol release"),
        ("launch failed requeued held", "scontrol release"),
    ],
)
def test_a_reason_begins_with_slurms_own_word_and_says_what_it_means(reason, gloss):
    assert explained(reason).startswith(f"{reason} (")
    assert gloss in explained(reason)


RESOURCES = ("Cpu", "CPU", "Mem", "Memory", "Node", "Energy", "GRES", "License", "BB", "Billing", "Unknown")
LIMITS = [
    *(
        f"{who}Grp{what}{time}"
        for who in ("QOS", "Assoc")
        for what in RESOURCES
        for time in ("", "Minutes", "RunMinutes")
    ),
    *(f"{who}Grp{what}Limit" for who in ("QOS", "Assoc") for what in ("Cpu", "Jobs", "SubmitJobs", "Mem", "Wall")),
    *(f"{who}Max{what}Per{per}" for who in ("QOS", "Assoc") for what in RESOURCES for per in ("Job", "Node", "User")),
    *(f"Max{what}PerAccount" for what in (*RESOURCES, "Jobs", "SubmitJobs")),
    *("QOSMaxJobsPerUserLimit", "AssocMaxJobsLimit", "AssocMaxSubmitJobLimit", "QOSMaxWallDurationPerJobLimit"),
    *("AssociationJobLimit", "AssociationTimeLimit", "QOSJobLimit", "QOSResourceLimit", "AccountingPolicy"),
]
"""What Slurm says of an account's or a QOS's limit: its pattern in job_state_reason.c, 22.05 to 25.11."""


@pytest.mark.parametrize("reason", LIMITS)
def test_a_limit_of_an_account_or_a_qos_is_explained_and_room_does_not_start_the_job(reason):
    waiting = status_of("PENDING", reason=reason)
    assert waiting.held == reason
    assert re.fullmatch(rf"{reason} \(.+\)", waiting.detail)


@pytest.mark.parametrize(
    "reason",
    [
        *("", "None", "Priority", "Resources", "JobArrayTaskLimit", "ReqNodeNotAvail, Reserved for maintenance"),
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
    ],
)
def test_what_waits_for_room_is_held_by_nothing(reason):
    assert status_of("PENDING", reason=reason).held is None
    assert status_of("RUNNING", reason="QOSMaxJobsPerUserLimit").held is None


def test_a_reason_that_we_do_not_know_is_kept_to_the_letter():
    assert explained("SomethingNew") == "SomethingNew"
    assert explained("PriorityOfSomethingNew") == "PriorityOfSomethingNew"


def test_a_waiting_task_that_is_not_simply_pending_says_so():
    assert status_of("REQUEUE_HOLD", reason="launch failed requeued held").detail == (
        "REQUEUE_HOLD: launch failed requeued held (held: Slurm failed to start it; scontrol release)"
    )
    assert status_of("PENDING", reason="").detail == "PENDING"


# --- squeue -------------------------------------------------------------------------------------------

SQUEUE = """\
17|0|RUNNING|node[01-02]|None
17|1|PENDING||Priority
17|2|COMPLETED|node03|None
17|3|FAILED|node03|NonZeroExitCode
18|0|PENDING||Nodes required for job are DOWN, DRAINED or reserved | for jobs in higher priority partitions
20|N/A|RUNNING|node09|None
our site thanks you for using squeue
"""


def test_squeues_lines_become_states_and_other_lines_are_passed_over():
    states = {key: (status.state, status.ended, status.hosts) for key, status in read_squeue(SQUEUE)[0].items()}
    assert states == {
        ("17", 0): (TaskState.RUNNING, None, "node[01-02]"),
        ("17", 1): (TaskState.QUEUED, None, ""),
        ("17", 2): (TaskState.ENDED, Ended.COMPLETED, "node03"),
        ("17", 3): (TaskState.ENDED, Ended.FAILED, "node03"),
        ("18", 0): (TaskState.QUEUED, None, ""),
        ("20", WHOLE): (TaskState.RUNNING, None, "node09"),
    }
    assert "reserved | for jobs" in read_squeue(SQUEUE)[0]["18", 0].detail


def test_the_format_asks_for_what_is_read():
    expected = ["%F", "%K", "%T", "%N", "%r", "starts", "%S", "its job", "%o", "%Z", "%k"]
    assert slurm_states.SQUEUE_FORMAT.split("|") == expected
    assert slurm_states.SACCT_FORMAT.split(",") == ["JobID", "State", "NodeList"]


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(slurm_states).failed == 0
    assert doctest.testmod(slurm_states).attempted == 2


# --- sacct --------------------------------------------------------------------------------------------

SACCT = """\
1_[0-1,4%2]|CANCELLED by 0|None assigned
1_2|COMPLETED|vector01
2_0|FAILED|vector01
4|CANCELLED by 0|None assigned
5_x|COMPLETED|vector01
"""


def test_sacct_speaks_of_many_tasks_that_never_started_in_one_row():
    ends = {key: status.ended for key, status in read_sacct(SACCT).items()}
    assert ends == {
        ("1", 0): Ended.CANCELLED,
        ("1", 1): Ended.CANCELLED,
        ("1", 4): Ended.CANCELLED,
        ("1", 2): Ended.COMPLETED,
        ("2", 0): Ended.FAILED,
        ("4", WHOLE): Ended.CANCELLED,
    }


RUNNING, QUEUED = TaskStatus(state=TaskState.RUNNING, hosts="n1"), TaskStatus(state=TaskState.QUEUED)
DONE = TaskStatus(state=TaskState.ENDED, ended=Ended.COMPLETED, hosts="n1")


@pytest.mark.parametrize(
    ("job", "own", "state", "ended"),
    [
        ("PENDING", None, TaskState.QUEUED, None),
        ("PENDING", RUNNING, TaskState.QUEUED, None),  # Slurm has put the job back
        ("PENDING", DONE, TaskState.ENDED, Ended.COMPLETED),
        ("RUNNING", None, TaskState.QUEUED, None),
        ("RUNNING", QUEUED, TaskState.QUEUED, None),
        ("RUNNING", RUNNING, TaskState.RUNNING, None),
        ("RUNNING", DONE, TaskState.ENDED, Ended.COMPLETED),
        ("TIMEOUT", RUNNING, TaskState.ENDED, Ended.TIME_LIMIT),
        ("CANCELLED by 0", QUEUED, TaskState.ENDED, Ended.CANCELLED),
        ("NODE_FAIL", None, TaskState.ENDED, Ended.NODE_FAILURE),
        ("COMPLETED", DONE, TaskState.ENDED, Ended.COMPLETED),
        ("REVOKED", RUNNING, TaskState.UNKNOWN, None),
    ],
)
def test_a_task_of_a_shared_job_ended_as_its_queue_says_and_else_does_what_its_job_does(job, own, state, ended):
    status = shared_task_status(status_of(job), own, cancelled=False)
    assert (status.state, status.ended) == (state, ended)


def test_a_task_of_a_shared_job_that_was_cancelled_while_the_job_waits_will_never_begin():
    assert shared_task_status(status_of("PENDING"), None, cancelled=True).ended is Ended.CANCELLED
    assert shared_task_status(status_of("RUNNING"), RUNNING, cancelled=True).state is TaskState.RUNNING, (
        "its queue says when"
    )


def test_what_squeue_forgot_ended_as_sacct_says():
    assert forgotten_status(status_of("TIMEOUT", hosts="n1"), sacct_error=None).ended is Ended.TIME_LIMIT


def test_a_task_that_was_taken_out_of_its_array_before_it_started_leaves_no_row_and_was_cancelled():
    assert forgotten_status(None, sacct_error=None, siblings=True).ended is Ended.CANCELLED
    assert forgotten_status(None, sacct_error="Connection refused", siblings=True).ended is Ended.UNREPORTED
    assert forgotten_status(status_of("PENDING"), sacct_error=None, siblings=True).ended is Ended.UNREPORTED


@pytest.mark.parametrize(
    ("last", "silence", "words"),
    [
        (None, "", "no longer known to squeue"),
        (None, None, "no longer known to squeue, and sacct has no row of it"),
        (None, "Connection refused", "no longer known to squeue, and sacct did not answer: Connection refused"),
        (status_of("RUNNING", hosts="n1"), None, "no longer known to squeue, though sacct still says: n1"),
        (status_of("PENDING"), None, "no longer known to squeue, though sacct still says: PENDING"),
    ],
)
def test_what_squeue_forgot_has_ended_even_where_nobody_says_how(last, silence, words):
    status = forgotten_status(last, sacct_error=silence)
    assert (status.state, status.ended, status.detail) == (TaskState.ENDED, Ended.UNREPORTED, words)


# --- expected starts ----------------------------------------------------------------------------------


def test_when_slurm_expects_to_start_a_job_that_waits_is_read_in_seconds():
    text = "5|0|PENDING||Resources|starts|1796032415|its job|/s/job.sbatch|/s|s/b\n"
    statuses, jobs = read_squeue(text)
    assert statuses["5", 0].expected_s == 1796032415
    assert statuses["5", 0].detail == "Resources (next in the queue, waits for free nodes)"
    assert jobs == {"5": "/s/job.sbatch|/s|s/b"}


@pytest.mark.parametrize(
    "line",
    [
        "5|0|PENDING||Priority|starts|N/A",
        "5|0|PENDING||Priority|starts|2026-11-30T10:00:00",
        "5|0|PENDING||Priority",
        "5|0|RUNNING|n1|None|starts|1796032415",
    ],
    ids=["Slurm expects nothing", "another form", "a wrapper's own format", "it runs"],
)
def test_without_such_a_word_or_in_other_forms_nothing_is_expected(line):
    assert read_squeue(line)[0]["5", 0].expected_s is None
