"""How far a job is whose ranks still start, by their files. Pure."""

from collections.abc import Iterable

from launchers.text import plural, some
from vit_sweep.outcome.ending import RankFile

NAMED = 3
"""How many of many ranks are named in a sentence."""


def rank_label(rank: int, file: RankFile | None) -> str:
    """A rank and, where it has given a sign, its host."""
    return f"rank {rank} on {file.host}" if file is not None else f"rank {rank}"


def of_start(files: Iterable[RankFile]) -> str:
    """How far a job is that has written no progress: which of its ranks have given a sign, and what they do."""
    by_rank = sorted(files, key=lambda file: file.rank)
    if not by_rank:
        return "starting"
    world_size = by_rank[0].world_size
    absent = [str(rank) for rank in range(world_size) if rank not in {file.rank for file in by_rank}]
    if absent:
        return f"starting: no sign yet of {plural(len(absent), 'rank')} of {world_size}: {some(absent, NAMED)}"
    doing = next((file for file in by_rank if file.doing), None)
    return f"starting: {rank_label(doing.rank, doing)} is {doing.doing}" if doing is not None else "starting"
