"""Failures of a job, each with a name. Pure."""

from launchers.errors import UserError
from vit_sweep.record import Cause


class Interrupted(BaseException):
    """Slurm's warning before the time limit, or a termination. Not an `Exception`: nothing may swallow it."""


class JobError(Exception):
    """A failure with a name: data, configuration, mismatch, ..."""

    def __init__(self, cause: Cause, message: str) -> None:
        """Name the cause; the message is for people."""
        super().__init__(message)
        self.cause = cause


def cause_of(error: BaseException) -> Cause:
    """Name a failure by the type of its exception."""
    if isinstance(error, JobError):
        return error.cause
    if isinstance(error, UserError):
        return Cause.CONFIGURATION
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return Cause.INTERRUPTED
    names = {kind.__name__ for kind in type(error).__mro__}
    if "OutOfMemoryError" in names or isinstance(error, MemoryError):
        return Cause.OUT_OF_MEMORY
    return Cause.COMMUNICATION if names & {"DistError", "DistBackendError", "DistNetworkError"} else Cause.BUG
