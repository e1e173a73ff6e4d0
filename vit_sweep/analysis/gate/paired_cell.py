"""A cell that a study and its baseline have finished, and what differs between its runs beside the code. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vit_sweep.analysis.series.contention import is_contended
from vit_sweep.record.machine import unlike_hardware
from vit_sweep.runs.run import Run

_OWN = ("python", "vit_sweep", "code")
"""Software that changes no count, and what the gate is there to judge."""


class PairedCell(NamedTuple):
    """A cell that both sides have finished."""

    name: str
    before: list[Run]
    after: list[Run]
    timed: tuple[list[Run], list[Run]]
    """Those of both sides whose times count, as `named_by_side` names them."""
    waited: int = 0
    """Runs that are not among these, since others of their side had all the cores that they could use."""

    @property
    def contended(self) -> str:
        """The side whose runs alone waited for cores that others had; where both did, they are alike."""
        before, after = (all(map(is_contended, side)) for side in self.timed)
        return "" if before == after else "baseline" if before else "study"


def unlike_software(before: Sequence[Run], after: Sequence[Run], *, but: Sequence[str] = _OWN) -> str:
    """`torch 2.11 in the baseline, 2.12 here`; empty where nothing that counts differs, or nobody knows."""
    sides = [by_name(run.software for run in side) for side in (before, after)]
    names = [name for name in sides[0] if name in sides[1] and name not in but and sides[0][name] != sides[1][name]]
    old, new = ({name: " and ".join(sorted(side[name])) for name in names} for side in sides)
    return "; ".join(f"{name} {old[name]} in the baseline, {new[name]} here" for name in names)


def by_name(software: Iterable[Iterable[tuple[str, str]]]) -> dict[str, set[str]]:
    """The versions of each package in what runs had installed."""
    versions: dict[str, set[str]] = {}
    for installed in software:
        for name, version in installed:
            versions.setdefault(name, set()).add(version)
    return versions


def unlike_machine(before: Sequence[Run], after: Sequence[Run]) -> str:
    """Why some run of one side was on another kind of machine than some of the other; empty if none was."""
    sides = [list(dict.fromkeys(run.machine for run in side)) for side in (before, after)]
    return next((why for x in sides[0] for y in sides[1] if (why := unlike_hardware(x, y))), "")
