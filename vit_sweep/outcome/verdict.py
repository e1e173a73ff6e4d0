"""The verdict on each attempt of a cell: what every rank said, then what the scheduler says. Pure.

When a rank dies, the others soon fail too: with a broken connection, or ended by the launcher. Those are echoes, and
the verdict looks past them.
"""

from collections.abc import Sequence
from dataclasses import replace

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.checked import checked, fields_for
from vit_sweep.outcome.ending import Cause, Exit, Progress, RankEnd, RankFile
from vit_sweep.record.attempt import attempt_of, restart_of

NEVER_BEGAN = "no rank began"

_ECHOES = (Cause.TERMINATED, Cause.COMMUNICATION, Cause.HANG)
"""What ranks say that only notice the end of another one. The last one in this tuple says most."""

_OPEN = (Cause.TERMINATED, Cause.RANK_DIED, Cause.LOST, Cause.COMMUNICATION, Cause.HANG)
"""What may hide that the scheduler ended the job."""

_OF_SCHEDULER = {
    Ended.CANCELLED: Cause.CANCELLED,
    Ended.TIME_LIMIT: Cause.TIME_LIMIT,
    Ended.PREEMPTED: Cause.PREEMPTED,
    Ended.REQUEUED: Cause.REQUEUED,
    Ended.NODE_FAILURE: Cause.NODE_FAILURE,
    Ended.OUT_OF_MEMORY: Cause.HOST_OUT_OF_MEMORY,
}
"""What the scheduler knows better than a job that was only told to end."""
_OF_RESTART = {ended: _OF_SCHEDULER[ended] for ended in (Ended.PREEMPTED, Ended.REQUEUED, Ended.NODE_FAILURE)}
"""After what it starts a job again."""


@checked
class Attempt:
    """What one attempt left in its folder."""

    name: str
    """`2`, or `2.1` after the scheduler started the second attempt's job again."""
    exit: Exit | None = None
    progress: Progress | None = None
    ranks: tuple[RankFile, ...] = ()
    """They are what a verdict is made of; where there is an exit they are read only for whoever asks for them."""

    @property
    def number(self) -> int:
        """The attempt without its restart."""
        return attempt_of(self.name)

    @property
    def restart(self) -> int:
        """How often the scheduler had started this attempt's job again."""
        return restart_of(self.name)

    @property
    def exit_is_open(self) -> bool:
        """Whether the scheduler may know more of its end than its own files say."""
        return self.exit is None or self.exit.cause in _OPEN

    @property
    def is_silent(self) -> bool:
        """Whether it left nothing that a verdict could be made of."""
        return self.exit is None and not self.ranks

    @property
    def has_ended(self) -> bool:
        """Whether the job itself has said, of some rank at least, that it ended."""
        return self.exit is not None or any(rank.end is not None for rank in self.ranks)

    @property
    def is_over(self) -> bool:
        """Whether the job has said that it is over: a rank that ended well may have left rank 0 at its record."""
        bad = (rank.end is not None and rank.end.cause is not Cause.DONE for rank in self.ranks)
        return self.exit is not None or any(bad)


def is_unasked_restart(attempt: Attempt, successor: Attempt) -> bool:
    """Whether the scheduler started an attempt's job again although the job had not asked for that."""
    return successor.number == attempt.number and not (attempt.exit is not None and attempt.exit.again)


def verdicts(
    attempts: Sequence[Attempt],
    *,
    status: TaskStatus | None = None,
    cancelled: bool = False,
    at: str = "",
    earlier_starts: Sequence[Ended] = (),
) -> tuple[Exit, ...]:
    """The verdict on each attempt, oldest first; on the last one only once its scheduler says that it has ended.

    `status`: what the scheduler says of the last one. `cancelled`: its user ended it. `earlier_starts`: how the
    scheduler says that the starts of the last one's job before its last ended, as far as it remembers.
    """
    exits = []
    last = attempts[-1].number if attempts else 0
    for number, attempt in enumerate(attempts, start=1):
        successor = attempts[number] if number < len(attempts) else None
        if successor is None:
            if status is not None and status.state is TaskState.ENDED:
                exits.append(_last(attempt, status, cancelled, at))
            continue
        exit = attempt.exit or _of_files(attempt, at)
        was_restarted = attempt.number == last and attempt.restart < len(earlier_starts)
        exits.append(
            refine(
                exit,
                how=earlier_starts[attempt.restart] if was_restarted else None,
                restarted=is_unasked_restart(attempt, successor),
                by_job=attempt.exit is not None,
            )
        )
    return tuple(exits)


def judge(ranks: Sequence[RankFile], *, code: int | None = None, judged_by: str = "job", at: str = "") -> Exit:
    """Judge an attempt by its ranks' files (at least one); `code` is the launcher's exit code, 128 + signal for one.

    Raises `ValueError` without a rank.
    """
    if not ranks:
        raise ValueError("an attempt without a rank's file has no verdict of its own; see `of_scheduler`")
    ends = {rank.rank: rank.end for rank in ranks if rank.end is not None}
    causes = [(r, ends[r.rank]) for r in ranks if r.rank in ends and ends[r.rank].cause not in (*_ECHOES, Cause.DONE)]
    if causes:
        rank, end = min(causes, key=lambda pair: (pair[1].at, pair[0].rank))
        return _of_rank(rank, end, judged_by, at)
    silent = [rank for rank in ranks if rank.rank not in ends]
    echoes = sorted(
        ((r, ends[r.rank]) for r in ranks if r.rank in ends and ends[r.rank].cause in _ECHOES),
        key=lambda pair: (-_ECHOES.index(pair[1].cause), pair[0].rank),
    )
    if silent:
        return _of_silent(silent, [end for _, end in echoes], code, judged_by, at)
    if echoes:
        rank, end = echoes[0]
        return _of_rank(rank, end, judged_by, at)
    return Exit(cause=Cause.DONE, message="", at=at, judged_by=judged_by)


def of_scheduler(how: Ended, detail: str, *, hosts: str = "", judged_by: str = "client", at: str = "") -> Exit:
    """The verdict on an attempt whose ranks never wrote anything."""
    cause = _OF_SCHEDULER.get(how, Cause.LOST)
    return Exit(
        cause=cause,
        message=detail or "no rank ever started, and the scheduler does not say why",
        host=hosts,
        at=at,
        judged_by=judged_by,
    )


def refine(
    verdict: Exit,
    *,
    how: Ended | None,
    detail: str = "",
    hosts: str = "",
    restarted: bool = False,
    by_job: bool = True,
) -> Exit:
    """Say more of an attempt that was told to end, or whose rank vanished, once the scheduler's word is known.

    `restarted`: the scheduler started the job again although the job had not asked for that: after a preemption, the
    failure of a node, or for a person (`scontrol requeue`). Where it does not remember which (`ended`), a failed node
    is known by what is missing: it takes the job's last line (`by_job`) with it, or sends no signal before.
    """
    if verdict.cause not in _OPEN:
        return verdict
    if restarted:
        was_terminated = verdict.cause is Cause.TERMINATED and by_job
        cause = _OF_RESTART.get(how) if how is not None else None
        return replace(
            verdict,
            cause=cause or (Cause.REQUEUED if was_terminated else Cause.NODE_FAILURE),
            message=f"the scheduler started the job again ({verdict.message})",
        )
    cause = _OF_SCHEDULER.get(how) if how is not None else None
    if cause is None:
        return verdict
    return replace(verdict, cause=cause, message=detail or verdict.message, host=verdict.host or hosts)


def _without_files(status: TaskStatus, *, cancelled: bool = False, at: str = "") -> Exit:
    """The verdict on an attempt that has ended and left no folder.

    Slurm 22.05 forgets at once a task of an array that is cancelled before it begins: what nobody knows and what never
    began was ended on purpose, as far as anybody can say, and is not started again unasked.
    """
    if cancelled:
        return Exit(cause=Cause.CANCELLED, message="its user ended it before it began", at=at, judged_by="client")
    if status.ended in (None, Ended.UNREPORTED):
        why = f"it never began, and no reason is recorded ({status.detail})"
        return Exit(cause=Cause.CANCELLED, message=why, at=at, judged_by="client")
    return of_scheduler(status.ended, status.detail, hosts=status.hosts, at=at)


def _last(attempt: Attempt, status: TaskStatus, cancelled: bool, at: str) -> Exit:
    exit = attempt.exit
    if exit is None:
        exit = _of_files(attempt, at) if attempt.ranks else _without_files(status, cancelled=cancelled, at=at)
    how = Ended.CANCELLED if cancelled else status.ended
    better = refine(exit, how=how, detail="its user ended it" if cancelled else status.detail, hosts=status.hosts)
    # The queue that started the rank saw how it ended, which the rank itself could not tell.
    if better.cause is Cause.RANK_DIED and "signal" in status.detail:
        better = replace(better, message=status.detail)
    return better


def _of_files(attempt: Attempt, at: str) -> Exit:
    if attempt.ranks:
        return judge(attempt.ranks, judged_by="client", at=at)
    return Exit(cause=Cause.LOST, message=NEVER_BEGAN, at=at, judged_by="client")


def _of_rank(rank: RankFile, end: RankEnd, judged_by: str, at: str) -> Exit:
    of_rank = {"at": at or end.at, "rank": rank.rank, "host": rank.host, "judged_by": judged_by}
    return Exit(**fields_for(Exit, end) | of_rank)


def _of_silent(
    silent: Sequence[RankFile], echoes: Sequence[RankEnd], code: int | None, judged_by: str, at: str
) -> Exit:
    """A rank that started and said nothing more: died, was starved of memory, or hangs."""
    full = [rank for rank in silent if rank.near_limit is not None]
    rank = min(full or silent, key=lambda file: file.rank)
    silent_exit = Exit(
        cause=Cause.RANK_DIED,
        message="",
        rank=rank.rank,
        host=rank.host,
        at=at,
        judged_by=judged_by,
        epoch=max((end.epoch for end in echoes), default=0),
        step=max((end.step for end in echoes), default=0),
    )
    count = f" ({len(silent)} of {rank.world_size} ranks are silent)" if len(silent) > 1 else ""
    if rank.near_limit is not None:
        memory = rank.near_limit
        return replace(
            silent_exit,
            cause=Cause.HOST_OUT_OF_MEMORY,
            peak_host_mib=memory.resident_mib,
            message=f"rank {rank.rank} on {rank.host} held {memory.resident_mib:.0f} of its {memory.limit_mib:.0f} MiB "
            f"of host memory when it was ended{count}",
        )
    if any(end.cause is Cause.HANG for end in echoes):
        heard = next(end for end in echoes if end.cause is Cause.HANG)
        return replace(
            silent_exit,
            cause=Cause.HANG,
            message=f"rank {rank.rank} on {rank.host} fell silent{count}; {heard.message}",
        )
    patient = next((end for end in echoes if end.cause is Cause.COMMUNICATION), None)
    if rank.doing and patient is not None:
        return replace(
            silent_exit,
            cause=Cause.COMMUNICATION,
            message=f"rank {rank.rank} on {rank.host} did not start, it was {rank.doing}{count}; {patient.message}",
        )
    manner = f"of signal {code - 128}" if code is not None and code > 128 else "without a word"
    return replace(silent_exit, message=f"rank {rank.rank} on {rank.host} died {manner}{count}")
