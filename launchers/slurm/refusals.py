"""What may be done about a submission that sbatch refused, by sbatch's own words (Slurm's slurm_errno.c). Pure."""

import re

from launchers.backend import SubmitProblem

_LAST_WORD = re.compile(r"submission failed:(.*)")
_POLICY = "job violates accounting/qos policy"
"""Said of every limit of an association or QOS; a line before it names the limit, but not at every site."""
_NAMED_LIMIT = re.compile(r"\b(?:QOS|Assoc|Max)[A-Z][A-Za-z]+\b")
_SUBMIT_LIMIT = re.compile(r"SubmitJob|MaxSubmit")

_BUSY = (
    # The controller is away, overloaded, or just being replaced.
    "unable to contact slurm controller",
    "slurm controller not responding",
    "backup controller in standby mode",
    "connection refused",
    "connection reset",
    "connection timed out",
    "communication connection failure",
    "transport endpoint",
    "no route to host",
    "network is unreachable",
    "temporary failure in name resolution",
    "rate limit exceeded",
    "slurm temporarily unable to accept job",
    "resource temporarily unavailable",
    "slurm job queue full",
    "job creation temporarily disabled",
    "maxjobcount limit reached",
    "unable to create job record, try again",
    "i/o error writing script/environment to file",
    "unable to connect to database",
    # The request was sent and its answer lost: the job may well exist.
    "socket timed out",
    "zero bytes were transmitted",
    "message receive failure",
    "message send failure",
    "unexpected message received",
    "insane message length",
    "header lengths are longer than data received",
    "broken pipe",
    "interrupted system call",
    "process is shutting down",
    # munged is busy or was started again.
    "munge",
    "protocol authentication error",
    "invalid authentication credential",
    # Ours: see `launchers.slurm.programs`.
    "did not answer within",
)


def problem_of(stderr: str) -> SubmitProblem:
    """Name the problem that sbatch's words describe; words that nobody knows are a refusal.

    sbatch tries some things again by itself, so its last `submission failed:` decides. A policy that names a limit
    other than that of submitted jobs refuses for ever; one that names none is taken for the limit of submitted jobs.
    """
    final = (_LAST_WORD.findall(stderr) or [stderr])[-1]
    if _POLICY in final.lower() or _SUBMIT_LIMIT.search(final):
        limits = _NAMED_LIMIT.findall(stderr)
        may_wait = not limits or any(_SUBMIT_LIMIT.search(name) for name in limits)
        return SubmitProblem.LIMIT if may_wait else SubmitProblem.REFUSED
    if any(words in final.lower() for words in _BUSY):
        return SubmitProblem.BUSY
    return SubmitProblem.REFUSED


_REMEDIES = {
    "other parameter too long": "that is a script above max_script_size (4 MiB, unless SchedulerParameters in "
    "`scontrol show config` says otherwise) or a comment above 1 KiB: shorten setup or sbatch.comment of the profile",
    "invalid account": "name one: account=NAME, or SBATCH_ACCOUNT for all your jobs",
    "invalid job array specification": "`scontrol show config` says MaxArraySize: ++partition.max_array_size=N",
}


def remedy_of(stderr: str) -> str:
    """What to do about sbatch's words where we know it, as the end of a sentence.

    >>> remedy_of("sbatch: error: Batch job submission failed: Invalid job array specification")
    ' – `scontrol show config` says MaxArraySize: ++partition.max_array_size=N'
    """
    return next((f" – {remedy}" for words, remedy in _REMEDIES.items() if words in stderr.lower()), "")
