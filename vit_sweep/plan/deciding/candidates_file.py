"""`deciding.json`: the cells that a sweep that decides may choose from, one of each GPU count. Pure.

They are no part of the plan before they are chosen: what nobody runs is neither missing nor a row of a table.
"""

from collections.abc import Mapping

from launchers.batch import Shape
from launchers.checked import Quantity, Whole, checked
from launchers.profile import Count, PartitionProfile
from vit_sweep.plan.cell import Cell, Series
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.plan.plan_file import Profiles

SCHEMA_VERSION = 1


@checked
class Candidate:
    """A cell that may run."""

    cell: Cell
    series: tuple[Series, ...]
    nodes: Count
    gpus_per_node: Count
    minutes: Count
    """Time limit of its job."""
    profile: Whole
    """Into the file's profiles."""
    gpu_hours: Quantity
    """Of a run, as planned."""


@checked
class CandidatesFile:
    """All of them."""

    schema_version: int = SCHEMA_VERSION
    candidates: tuple[Candidate, ...]
    profiles: tuple[PartitionProfile, ...]

    @property
    def planned(self) -> dict[int, PlannedCell]:
        """By GPU count, what submitting one takes."""
        return {
            item.cell.gpus: PlannedCell(
                cell=item.cell,
                series=item.series,
                profile=self.profiles[item.profile],
                shape=Shape(nodes=item.nodes, gpus_per_node=item.gpus_per_node, minutes=item.minutes),
                memory=None,
                time=None,
            )
            for item in self.candidates
            if item.profile < len(self.profiles)
        }

    @property
    def hours(self) -> dict[int, float]:
        """GPU-hours of a run as planned, by GPU count."""
        return {item.cell.gpus: item.gpu_hours for item in self.candidates}


def candidates_file(planned: Mapping[int, PlannedCell]) -> CandidatesFile:
    """The file of these cells."""
    profiles = Profiles()
    candidates = tuple(
        Candidate(
            cell=cell.cell,
            series=cell.series,
            nodes=cell.shape.nodes,
            gpus_per_node=cell.shape.gpus_per_node,
            minutes=cell.shape.minutes,
            profile=profiles.index_of(cell.profile),
            gpu_hours=cell.gpu_hours,
        )
        for _, cell in sorted(planned.items())
    )
    return CandidatesFile(candidates=candidates, profiles=tuple(profiles.listed))


def alike(cell: Cell, candidates: Mapping[int, PlannedCell]) -> bool:
    """Whether a cell is one of the candidates, or a repeat of one."""
    candidate = candidates.get(cell.gpus)
    return candidate is not None and cell.configuration == candidate.cell.configuration
