"""One profile for several partitions of a cluster with equal hardware: a job runs on whichever starts it first. Pure.

Slurm takes a list of partitions and uses "the one offering earliest initiation" (sbatch(1), --partition), whatever
their order. So a cell is submitted once, and what is asked for must fit every one of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from launchers.checked import to_plain
from launchers.errors import UserError
from launchers.profile import PartitionProfile, Scheduler

JOIN = "+"
"""Between the names of profiles: `partition=short+long`."""
_LEAST = ("nodes", "gpus_per_node", "default_minutes", "max_minutes", "max_array_size")
"""Limits: what fits the tightest fits all."""
_OWN = frozenset({"name", "partition", "allowed_gpus", "max_submit", *_LEAST})
_MOST_SHOWN = 4


def either(profiles: Sequence[PartitionProfile]) -> PartitionProfile:
    """The profile of a job that any of these partitions may run; its name is theirs, sorted and joined.

    Raises `UserError` where one script cannot serve them all, or where their runs could not be compared.
    """
    ordered = sorted(profiles, key=lambda profile: profile.name)
    names = [profile.name for profile in ordered]
    typed = f"partition={JOIN.join(profile.name for profile in profiles)}"
    if len(set(names)) < len(names):
        raise UserError(f"{typed}: a profile is named twice; leave one out")
    first = ordered[0]
    for profile in ordered:
        if profile.scheduler is not Scheduler.SLURM:
            raise UserError(
                f"{typed}: only Slurm chooses between partitions, and {profile.name} has scheduler "
                f"{profile.scheduler.value}; give each a command of its own"
            )
        if profile.partition is None:
            raise UserError(
                f"{typed}: the profile {profile.name} does not name its partition, so Slurm cannot be told of it; add "
                "partition: NAME to its file"
            )
    for other in ordered[1:]:
        if differences := _unlike(first, other):
            listed = "; ".join(differences[:_MOST_SHOWN])
            omitted = f"; and {len(differences) - _MOST_SHOWN} more" if len(differences) > _MOST_SHOWN else ""
            raise UserError(
                f"{typed}: a job that either may run has one script and one kind of hardware, but {listed}{omitted} – "
                f"compare them by -m partition={first.name},{other.name}, which runs every cell on each"
            )
    allowed = _allowed(ordered, typed)
    submits = [profile.max_submit for profile in ordered if profile.max_submit is not None]
    return replace(
        first,
        name=JOIN.join(names),
        partition=",".join(dict.fromkeys(name for profile in ordered for name in (profile.partition or "").split(","))),
        allowed_gpus=allowed,
        max_submit=min(submits, default=None),
        **{key: min(getattr(profile, key) for profile in ordered) for key in _LEAST},
    )


def _unlike(first: PartitionProfile, other: PartitionProfile) -> list[str]:
    """The keys in which two profiles differ and may not, each with both values."""
    keys, other_keys = _compared(first), _compared(other)
    return [f"{key} is {_word(keys[key])} and {_word(other_keys[key])}" for key in keys if keys[key] != other_keys[key]]


def _compared(profile: PartitionProfile) -> Mapping[str, Any]:
    return {key: value for key, value in to_plain(profile).items() if key not in _OWN}


def _word(value: object) -> str:
    return "not given" if value in (None, [], {}) else str(value)


def _allowed(profiles: Sequence[PartitionProfile], typed: str) -> tuple[int, ...]:
    """Counts of GPUs that all of them allow; empty: any."""
    menus = [set(profile.allowed_gpus) for profile in profiles if profile.allowed_gpus]
    common = tuple(sorted(set.intersection(*menus))) if menus else ()
    if menus and not common:
        raise UserError(f"{typed}: they have no allowed count of GPUs in common; give each a command of its own")
    return common
