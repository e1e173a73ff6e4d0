"""How an attempt ended, in words with one meaning each: what ranks write, and the verdict on all of them. Pure.

No line of a log decides anything here: ranks write these files themselves, and what a rank could not write is seen
by its absence.
"""

from enum import StrEnum

from launchers.checked import Instant, Line, Quantity, Whole, checked

SCHEMA_VERSION = 1


class Cause(StrEnum):
    """Why an attempt ended. `done` is the only one with a record."""

    DONE = "done"
    """A record was written."""
    OUT_OF_MEMORY = "out_of_memory"
    """The GPU's memory is full: a result, not an accident (torch's error, or CUBLAS, cuDNN, NCCL saying so)."""
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    """The host's memory is full: MemoryError, or ended near its limit."""
    TIME_LIMIT = "time_limit"
    """The job's time limit."""
    PREEMPTED = "preempted"
    """A job of higher priority took its place."""
    REQUEUED = "requeued"
    """The scheduler started its job again, because of a person or for a reason that it does not remember."""
    NODE_FAILURE = "node_failure"
    """A node went down."""
    CANCELLED = "cancelled"
    """Its user ended it."""
    TERMINATED = "terminated"
    """A signal from outside whose sender nobody knows (yet): the scheduler's word makes it one of the above."""
    COMMUNICATION = "communication"
    """NCCL or gloo said that a collective failed."""
    HANG = "hang"
    """No rank made progress for `hang_minutes`."""
    RANK_DIED = "rank_died"
    """A rank ended without a word while others lived: which, where, and its last lines are kept."""
    DATA = "data"
    """Files are missing or damaged; the message has the command that helps."""
    CONFIGURATION = "configuration"
    """No device, a wrong cell, or a limit of the system on processes or open files (`ulimit`)."""
    MISMATCH = "mismatch"
    """What would have run is not what was asked."""
    WRONG_GRADIENTS = "wrong_gradients"
    """The engine does not compute the gradients of a single process; nothing was trained."""
    DIVERGED = "diverged"
    """The loss is infinite or not a number; the last good checkpoint stays."""
    STORAGE = "storage"
    """A full disk or quota, or a file system that refuses."""
    BUG = "bug"
    """Anything else; the traceback is kept."""
    SKIPPED = "skipped"
    """Not run, because of how another cell ended."""
    LOST = "lost"
    """Nobody knows: neither a rank nor the scheduler said a word."""


@checked
class DeviceMemory:
    """GPU memory of one rank when it ran out, MiB."""

    allocated_mib: Quantity
    """Most that this process ever had allocated at once."""
    reserved_mib: Quantity
    free_mib: Quantity
    total_mib: Quantity

    @property
    def others_mib(self) -> float:
        """What other processes held on the same GPU."""
        return max(0.0, self.total_mib - self.free_mib - self.reserved_mib)


@checked
class HostMemory:
    """A rank that came near its share of the host's memory limit, MiB; noted while it still could."""

    resident_mib: Quantity
    limit_mib: Quantity


@checked
class Claim:
    """`attempts/<n>/claim.json`: which job runs the attempt; its rank 0 writes it first."""

    schema_version: int = SCHEMA_VERSION
    job_id: Line


@checked
class RankEnd:
    """How one rank ended, in its own words."""

    at: Instant
    """UTC, ISO 8601."""
    cause: Cause
    message: str
    signal: str | None = None
    """SIGTERM, SIGUSR2: where one was the reason."""
    epoch: Whole = 0
    """Epoch that it was in; 0 before the first."""
    step: Whole = 0
    """Optimizer steps of that epoch that were finished."""
    peak_host_mib: Quantity | None = None
    device_memory: DeviceMemory | None = None
    traceback: str | None = None


@checked
class RankFile:
    """`attempts/<n>/rank<r>.json`: written when a rank starts and again when it ends.

    A rank that died without a word has a file without `end`: that is how it is found.
    """

    schema_version: int = SCHEMA_VERSION
    rank: Whole
    world_size: Whole
    host: str
    pid: Whole
    job_id: str
    started_at: Instant
    near_limit: HostMemory | None = None
    doing: str = ""
    """While it starts: what it does or waits for; empty from the first step on."""
    end: RankEnd | None = None


@checked
class Exit:
    """`attempts/<n>/exit.json`: the verdict on an attempt, over all of its ranks and the scheduler's word.

    Written by the job itself (rank 0 when all went well, else the job's last line), or by the first client that
    looks at a job which could not.
    """

    schema_version: int = SCHEMA_VERSION
    at: Instant = ""
    cause: Cause
    message: str
    rank: Whole | None = None
    """The rank to blame; None where none is."""
    host: str = ""
    """Where that rank ran; for a node failure the node."""
    signal: str | None = None
    epoch: Whole = 0
    step: Whole = 0
    peak_host_mib: Quantity | None = None
    device_memory: DeviceMemory | None = None
    traceback: str | None = None
    last_lines: tuple[str, ...] = ()
    """The end of the blamed rank's log, for people only."""
    again: bool = False
    """Whether the job itself asked to be started again."""
    judged_by: str = "job"
    """job or client."""


@checked
class Progress:
    """`progress.json`: where a running attempt is, for people who wait. No number of it enters a table."""

    schema_version: int = SCHEMA_VERSION
    phase: str
    epoch: Whole
    epochs: Whole
    host: str
    started_at: Instant = ""
    """When the attempt began (UTC, ISO 8601)."""
    at: Instant = ""
    """When the attempt was last seen to train; the three below are of that moment. Empty in old files."""
    steps: Whole = 0
    """Optimizer steps of the whole run that were done."""
    trained_steps: Whole = 0
    """Of these, steps of this attempt."""
    trained_s: Quantity = 0.0
    """Since the attempt's first step; tests and checkpoints are in it."""
