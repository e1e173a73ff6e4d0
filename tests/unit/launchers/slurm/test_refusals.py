"""What sbatch says when it submits nothing, and what may be done about it; the texts are those of slurm_errno.c."""

import pytest

from launchers.backend import SubmitProblem
from launchers.slurm.refusals import problem_of, remedy_of

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    "named",
    [
        "QOSMaxSubmitJobPerUserLimit",
        "QOSGrpSubmitJobsLimit",
        "AssocMaxSubmitJobLimit",
        "AssocGrpSubmitJobsLimit",
        "MaxSubmitJobsPerAccount",
    ],
)
def test_as_many_jobs_as_one_may_have_is_a_limit(named):
    assert problem_of(f"sbatch: error: {named}\n{POLICY}") is SubmitProblem.LIMIT
    assert problem_of(f"{FAILED}{named}") is SubmitProblem.LIMIT


def test_a_policy_that_names_no_limit_is_taken_for_the_number_of_jobs():
    assert problem_of(POLICY) is SubmitProblem.LIMIT


@pytest.mark.parametrize(
    "named",
    [
        "QOSMaxGRESPerJob",
        "QOSMaxWallDurationPerJobLimit",
        "AssocMaxNodePerJobLimit",
        "QOSMinGRES",
        "QOSMaxCpuPerUserLimit",
        "MaxMemPerLimit",
    ],
)
def test_a_policy_that_names_another_limit_would_refuse_the_same_job_again(named):
    assert problem_of(f"sbatch: error: {named}\n{POLICY}") is SubmitProblem.REFUSED


@pytest.mark.parametrize(
    "words",
    [
        "Socket timed out on send/recv operation",
        "Unable to contact slurm controller (connect failure)",
        "Unable to contact slurm controller (send failure)",
        "Unable to contact slurm controller (receive failure)",
        "Connection refused",
        "Resource temporarily unavailable",
        "Zero Bytes were transmitted or received",
        "Transport endpoint is not connected",
        "Rate limit exceeded, please retry momentarily",
        "Slurm backup controller in standby mode",
        "MaxJobCount limit reached",
        "Message receive failure",
        "Unexpected message received",
        "Protocol authentication error",
        "Connection timed out reading",
    ],
)
def test_a_controller_that_cannot_now_or_whose_answer_was_lost_is_busy(words):
    assert problem_of(f"{FAILED}{words}") is SubmitProblem.BUSY


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: Slurm controller not responding, sleeping and retrying.",
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        "sbatch: error: Slurm job queue full, sleeping and retrying",
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "sbatch: error: If munged is up, restart with --num-threads=10",
        "sbatch did not answer within 60 s",
    ],
)
def test_what_sbatch_says_before_it_is_ended_counts_too(words):
    assert problem_of(words) is SubmitProblem.BUSY


@pytest.mark.parametrize(
    "words",
    [
        "Invalid partition name specified",
        "Invalid account or account/partition combination specified",
        "Invalid qos specification",
        "Requested node configuration is not available",
        "Requested time limit is invalid (missing or exceeds some limit)",
        "Memory required by task is not available",
        "Node count specification invalid",
        "Invalid job array specification",
        "Pathname of a file, directory or other parameter too long",
        "Access/permission denied",
        "Unspecified error",
    ],
)
def test_a_wrong_request_is_refused(words):
    assert problem_of(f"{FAILED}{words}") is SubmitProblem.REFUSED


@pytest.mark.parametrize("words", ["", "sbatch: error: Batch script contains DOS line breaks", "site says no"])
def test_words_that_nobody_knows_are_a_refusal(words):
    assert problem_of(words) is SubmitProblem.REFUSED


def test_the_last_word_decides_where_sbatch_tried_again_by_itself():
    first = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
    assert problem_of(f"{first}{FAILED}Invalid qos specification") is SubmitProblem.REFUSED
    assert problem_of(f"{first}{POLICY}") is SubmitProblem.LIMIT
    assert problem_of(f"{first}{FAILED}Resource temporarily unavailable") is SubmitProblem.BUSY


def test_what_is_too_long_is_named_where_slurm_does_not():
    """As 22.05 answers to a script of 5 MiB, and to a comment of 10,000 characters."""
    assert "max_script_size" in remedy_of(f"{FAILED}Pathname of a file, directory or other parameter too long")
    assert remedy_of(f"{FAILED}Unspecified error") == ""
