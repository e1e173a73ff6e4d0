"""Signs of life of ranks that start: one that waits for another waits as long as that one gives any. An edge, no torch.

Ranks of one job may start minutes apart (cold file systems, containers). So each writes its file before anything
heavy, and its guardian touches that file while the rank starts: what is waited for is not the rank, but its next sign.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from launchers.atomic import read
from launchers.checked import parse_json
from launchers.errors import UserError
from launchers.process.identity import RankIdentity
from launchers.text import some
from vit_sweep.job.guardian import WAIT_S
from vit_sweep.outcome.ending import Cause, RankFile
from vit_sweep.outcome.failure import JobError
from vit_sweep.outcome.starting import NAMED, rank_label

IMPORT_S = 600.0
"""The same where the other one imports: the loader of libraries on a slow file system lets no thread run."""
IMPORTING = "importing"
"""What a rank's file says of it meanwhile."""


class Signs:
    """What a rank that waits for others has seen of them, by the clock of this process."""

    def __init__(self, attempt: Path, identity: RankIdentity, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to wait; `attempt` is the folder of the ranks' files."""
        self._attempt, self._me, self._clock = attempt, identity, clock
        self._begun = clock()
        self._seen: dict[int, tuple[int, float]] = {}
        """By rank: the time stamp of its file, and when that was first seen."""

    def look(self, ranks: Iterable[int], purpose: str) -> str:
        """Say whom this rank waits for; raises `JobError` once the most silent of `ranks` is so for too long.

        `what` they are waited for to do: "to publish its address".
        """
        awaited = sorted(ranks)
        files = {rank: self._file(rank) for rank in awaited}
        for rank in awaited:
            file = files[rank]
            if file is not None and file.end is not None and file.job_id == self._me.job_id:
                raise JobError(Cause.COMMUNICATION, f"{rank_label(rank, file)} ended before it came {purpose}")
            silent_s = self._silent_s(rank)
            limit_s = IMPORT_S if file is not None and file.doing == IMPORTING else WAIT_S
            if silent_s >= limit_s:
                raise JobError(
                    Cause.COMMUNICATION,
                    f"rank {self._me.rank} on {self._me.node_name} waited for {rank_label(rank, file)} {purpose}: "
                    + (f"no sign of it in {limit_s:g} s" if file is None else f"its last sign is {silent_s:.0f} s old")
                    + (f", when it was {file.doing}" if file is not None and file.doing else ""),
                )
        names = some((rank_label(rank, files[rank]) for rank in awaited), NAMED)
        return f"waiting for {names} {purpose}"

    def _silent_s(self, rank: int) -> float:
        try:
            stamp = (self._attempt / f"rank{rank}.json").stat().st_mtime_ns
        except OSError:
            return self._clock() - self._begun
        if self._seen.get(rank, (0, 0.0))[0] != stamp:
            self._seen[rank] = stamp, self._clock()
        return self._clock() - self._seen[rank][1]

    def _file(self, rank: int) -> RankFile | None:
        path = self._attempt / f"rank{rank}.json"
        try:
            return parse_json(RankFile, read(path), source=str(path))
        except (OSError, UserError):
            return None
