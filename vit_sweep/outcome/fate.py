"""What became of each attempt of a cell: its files, then the scheduler's word on the last one. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from launchers.backend import Ended, TaskState, TaskStatus
from launchers.checked import checked
from vit_sweep.outcome.ending import Cause, Exit, Progress, RankFile
from vit_sweep.outcome.verdict import judge, of_scheduler, refine

NEVER_BEGAN = "no rank began"


@checked
class Attempt:
    """What one attempt left in its folder."""

    name: str
    """`2`, or `2.1` after the scheduler started the second attempt's job again."""
    exit: Exit | None = None
    progress: Progress | None = None
    ranks: tuple[RankFile, ...] = ()
    """Read only where there is no exit: they are what a verdict is made of."""

    @property
    def number(self) -> int:
        """The attempt without its restart."""
        return int(self.name.split(".", 1)[0])

    @property
    def restart(self) -> int:
        """How often the scheduler had started this attempt's job again."""
        return int(self.name.split(".", 1)[1]) if "." in self.name else 0

    @property
    def has_ended(self) -> bool:
        """Whether the job itself has said, of some rank at least, that it ended."""
        return self.exit is not None or any(rank.end is not None for rank in self.ranks)


def fates(
    attempts: Sequence[Attempt], *, word: TaskStatus | None = None, cancelled: bool = False, at: str = ""
) -> tuple[Exit, ...]:
    """The verdict on each attempt, oldest first; on the last one only if `word` says that it has ended.

    `cancelled`: its user ended the last one.
    """
    found = []
    for place, attempt in enumerate(attempts, start=1):
        successor = attempts[place] if place < len(attempts) else None
        if successor is None:
            if word is not None and word.state is TaskState.ENDED:
                found.append(_last(attempt, word, cancelled, at))
            continue
        exit = attempt.exit or _of_files(attempt, at)
        restarted = successor.number == attempt.number and not exit.again
        # A preempted job's closing line still runs; on a node that is taken away srun ends with 0, so it does not.
        found.append(refine(exit, ended=None, restarted=restarted, judged=attempt.exit is not None))
    return tuple(found)


def _of_nothing(word: TaskStatus, *, cancelled: bool = False, at: str = "") -> Exit:
    """The verdict on an attempt that has ended and left no folder.

    Slurm 22.05 forgets at once a task of an array that is cancelled before it begins: what nobody knows and what never
    began was ended on purpose, as far as anybody can say, and is not started again unasked.
    """
    if cancelled:
        return Exit(cause=Cause.CANCELLED, message="its user ended it before it began", at=at, judged_by="client")
    if word.ended in (None, Ended.UNSAID):
        said = f"it never began, and nobody says why ({word.detail})"
        return Exit(cause=Cause.CANCELLED, message=said, at=at, judged_by="client")
    return of_scheduler(word.ended, word.detail, hosts=word.hosts, at=at)


def _last(attempt: Attempt, word: TaskStatus, cancelled: bool, at: str) -> Exit:
    exit = attempt.exit or (_of_files(attempt, at) if attempt.ranks else _of_nothing(word, cancelled=cancelled, at=at))
    ended = Ended.CANCELLED if cancelled else word.ended
    better = refine(exit, ended=ended, detail="its user ended it" if cancelled else word.detail, hosts=word.hosts)
    # A queue of ours saw how the rank ended, which the rank itself could not tell.
    if better.cause is Cause.RANK_DIED and "signal" in word.detail:
        better = replace(better, message=word.detail)
    return better


def _of_files(attempt: Attempt, at: str) -> Exit:
    if attempt.ranks:
        return judge(attempt.ranks, judged_by="client", at=at)
    return Exit(cause=Cause.LOST, message=NEVER_BEGAN, at=at, judged_by="client")
