"""Failures of a job, each with a name. Pure.

A failure is named by the type of its exception and, where libraries give one type to everything, by the exception's
own text. No line of a log is ever read.
"""

import errno
import re
from traceback import walk_tb

from launchers.checked import checked
from launchers.errors import UserError
from vit_sweep.outcome.ending import Cause

_STORAGE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

_TEXTS: tuple[tuple[Cause, str], ...] = (
    # First: NCCL and cuBLAS also say in their own words that the GPU's memory is full.
    (
        Cause.OUT_OF_MEMORY,
        r"CUDA out of memory|CUDA error: out of memory|cudaErrorMemoryAllocation|CU[A-Z]+_STATUS_ALLOC_FAILED"
        r"|Cuda failure (2 )?'out of memory'",
    ),
    (
        Cause.HOST_OUT_OF_MEMORY,
        r"DefaultCPUAllocator: (can't allocate|not enough) memory|Cannot allocate memory|std::bad_alloc"
        r"|DataLoader worker \(pid\D*\d+\) is killed by signal: Killed|a DataLoader worker has gone",
    ),
    # torch writes a checkpoint by a writer of its own, which forgets the system's error number.
    (
        Cause.STORAGE,
        r"PytorchStreamWriter failed|file write failed|No space left on device|Disk quota exceeded"
        r"|Read-only file system",
    ),
    (
        Cause.COMMUNICATION,
        r"NCCL error|NCCL WARN|ncclSystemError|ncclRemoteError|gloo/transport|Connection closed by peer"
        r"|Connection reset by peer|Broken pipe|Timed out waiting \d+ms|Application timeout caused pair closure",
    ),
)
"""What RuntimeErrors of torch, CUDA, NCCL and gloo say; the first that fits names the failure."""
_NO_MORE = "the system allows this user no more {}: raise that limit, or start less at once"
_LIMITS = (
    (r"Too many open files", _NO_MORE.format("open files (ulimit -n)")),
    (
        r"can't start new thread|Resource temporarily unavailable",
        _NO_MORE.format("processes and threads (ulimit -u)"),
    ),
    (
        r"failed to map segment from shared object",
        "it lies on a file system from which nothing may be executed (noexec): set TMPDIR, or what names that folder, "
        "to another place (jobs take it from the profile's environment)",
    ),
)

_EXTRAS = {
    **dict.fromkeys(("deepspeed", "safetensors", "sklearn", "torch", "torchvision"), "train"),
    **dict.fromkeys(("accelerate", "megatron", "transformers"), "engines"),
    "timm": "timm",
}
"""What jobs import of other packages, and the extra that has it."""
_OURS = ("vit_sweep", "launchers")


@checked
class StopRequest:
    """Why a job is told to end before its work is done: what every rank then says of its own end."""

    cause: Cause
    message: str
    signal: str
    """SIGTERM or SIGUSR2."""


class Interrupted(BaseException):
    """The job was told to end, and stopped. Not an `Exception`: nothing may swallow it."""

    def __init__(self, request: StopRequest, message: str = "") -> None:
        """Carry the reason; `message` says more than the request does, for people."""
        super().__init__(message or request.message)
        self.request = request
        self.cause = request.cause


class JobError(Exception):
    """A failure with a name: data, configuration, mismatch, ..."""

    def __init__(self, cause: Cause, message: str) -> None:
        """Name the cause; the message is for people."""
        super().__init__(message)
        self.cause = cause


def one_line(error: BaseException) -> str:
    """An error that costs no run, as the record says it: `OSError: No space left on device`."""
    text = str(error).strip() or "no reason given"
    return f"{type(error).__name__}: {text.splitlines()[0]}"


def cause_of(error: BaseException) -> Cause:
    """Name a failure; one that has no name of its own takes that of the failure it was raised from, if any."""
    cause = _own_cause(error)
    if cause is Cause.BUG and error.__cause__ is not None:
        return cause_of(error.__cause__)
    return cause


def reached_limit(error: BaseException) -> str | None:
    """Say which limit of the system is in the way, and what to do; None for any other failure.

    >>> reached_limit(RuntimeError("can't start new thread"))
    'the system allows this user no more processes and threads (ulimit -u): raise that limit, or start less at once'
    """
    if not isinstance(error, OSError | RuntimeError | ImportError):
        return None
    return next((sentence for pattern, sentence in _LIMITS if re.search(pattern, str(error))), None)


def lacking(error: BaseException) -> str | None:
    """Say which package the jobs cannot import, and what to do; None for any other failure.

    >>> lacking(ModuleNotFoundError("No module named 'deepspeed'", name="deepspeed"))
    "the python that runs the jobs has no deepspeed: pip install 'vit_sweep[train]' for it"
    """
    if not isinstance(error, ImportError):
        return None
    missing = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and missing in _EXTRAS:
        return f"the python that runs the jobs has no {missing}: pip install 'vit_sweep[{_EXTRAS[missing]}]' for it"
    frames = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    broken = next((package for package in (missing, *reversed(frames)) if package in _EXTRAS), None)
    if broken is None or missing in _OURS:
        return None
    return f"{broken} is there and cannot be imported: it must fit the machine and the packages beside it"


def _own_cause(error: BaseException) -> Cause:
    if isinstance(error, JobError | Interrupted):
        return error.cause
    if isinstance(error, UserError):
        return Cause.CONFIGURATION
    if isinstance(error, KeyboardInterrupt):
        return Cause.TERMINATED
    if isinstance(error, OSError) and error.errno in _STORAGE:
        return Cause.STORAGE
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return Cause.HOST_OUT_OF_MEMORY
    # By name: torch is not imported here.
    names = {kind.__name__ for kind in type(error).__mro__}
    if "OutOfMemoryError" in names:
        return Cause.OUT_OF_MEMORY
    if isinstance(error, RuntimeError):
        text = str(error)
        for cause, pattern in _TEXTS:
            if re.search(pattern, text):
                return cause
    if "DistError" in names:
        return Cause.COMMUNICATION
    return Cause.CONFIGURATION if reached_limit(error) or lacking(error) else Cause.BUG
