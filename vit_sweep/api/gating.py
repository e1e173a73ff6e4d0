"""A study held against a baseline: another study, or the file that a study left in a repository. An edge."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from launchers.errors import UserError, closest
from launchers.invocation import called
from launchers.text import plural, some
from vit_sweep.api.results import as_html
from vit_sweep.outcome.result import Status
from vit_sweep.runs.baseline import read_baseline, source_of_parsed
from vit_sweep.runs.sources import Source, from_study
from vit_sweep.study.code.provenance import require_extra

if TYPE_CHECKING:
    # It imports numpy, which `--help` does not need.
    from vit_sweep.analysis.gate.checks import Gate


class Gated(NamedTuple):
    """What a gate says."""

    gate: "Gate"
    """Its `checks`, `notes` and `verdict` as objects."""
    study: Source
    against: Source

    def __repr__(self) -> str:
        return f"<{self.sentence}>"

    @property
    def verdict(self) -> str:
        """`worse`, `cannot tell` or `fine`."""
        return self.gate.verdict.value

    @property
    def sentence(self) -> str:
        """What it comes to."""
        from vit_sweep.report.tables.comparisons.gate import verdict

        return verdict(self.gate, self.study.name, self.against.name)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is worse, what nobody can tell, what was not compared, and what a reader must know."""
        from vit_sweep.report.tables.comparisons.gate import lines

        return tuple(lines(self.gate))

    def _repr_html_(self) -> str:
        return as_html(self.verdict, [self.sentence, *self.remarks], [])


def gate(
    study: str | PathLike[str],
    against: str | PathLike[str],
    *,
    slower: float = 0.05,
    tolerance: Mapping[str, float] | None = None,
    across: Sequence[str] = (),
) -> Gated:
    """Say what of a study got worse than its baseline, a study or `baseline.json` (docs/results/gate.md).

    `slower`: from which slow-down on it matters, as a part; `tolerance`: the same of counts by name; `across`: what
    may differ: "software", "machine", "engine", ... Raises `UserError` where one of them is not there or has not ended,
    where no run of either has finished, and without the extra `report`.
    """
    require_extra("report")
    from vit_sweep.analysis.gate.checks import TOLERANCE, Rules
    from vit_sweep.analysis.gate.judging import judge

    if not 0 < slower <= 10:
        raise UserError(f"slower={slower:g}: a slow-down that matters lies above 0, and at 10 at most; 0.05 is 5 %")
    for name, part in (tolerance or {}).items():
        if not 0 <= part <= 1:
            raise UserError(f"tolerance={name}={part:g}: a part of the count, 0 to 1; 0.01 is 1 %")
    sides = finished(study), baseline(against)
    if not any(run.status is Status.DONE for side in sides for run in side.runs):
        raise UserError(
            f"no run of study {sides[0].name} has finished, nor one of its baseline {sides[1].name}, so a gate would "
            f"guard nothing – {called()} status {shlex.quote(fspath(study))} says why"
        )
    counted = {name for side in sides for run in side.runs for name, _ in run.counts}
    for name in tolerance or ():
        if counted and name not in counted:
            raise UserError(f"tolerance={name}: nothing of this name is counted – {closest(name, counted)}")
    rules = Rules(
        slower=float(slower),
        tolerance=TOLERANCE | {name: float(part) for name, part in (tolerance or {}).items()},
        across=(across,) if isinstance(across, str) else tuple(across),
    )
    verdict = judge(sides[1].runs, sides[0].runs, rules)
    return Gated(gate=verdict, study=sides[0], against=sides[1])


def finished(study: str | PathLike[str], *, planned: bool = False) -> Source:
    """The runs of a study of which every cell has ended; raises `UserError` of another.

    `planned`: cells that nobody has run are left out instead.
    """
    source = from_study(fspath(study))
    if planned:
        source = replace(source, runs=tuple(run for run in source.runs if run.status is not Status.MISSING))
    open_cells = [run.run_id for run in source.runs if run.status.under_way or run.status is Status.MISSING]
    if open_cells or not source.runs:
        where = shlex.quote(fspath(study))
        ended = f"{plural(len(open_cells), 'cell has|cells have')} not ended: {some(open_cells, 3)}"
        raise UserError(
            f"study {source.name}: {ended if open_cells else 'no cell of it has run'} – {called()} status {where} says "
            f"more, {called()} resume {where} runs what is missing"
        )
    return source


def baseline(against: str | PathLike[str]) -> Source:
    """The runs of a baseline: a study's, or those of a file."""
    path = Path(against)
    if path.suffix == ".json" or path.is_file():
        return source_of_parsed(read_baseline(path), path)
    return finished(against, planned=True)
