"""Whether a study that somebody ran again says what was published: by counts, then by times. Pure.

The statistic is the gate's, asked both ways: a count is *reproduced* within its tolerance, a time
where the whole interval of its ratio lies between 1 / (1 + within) and 1 + within (two one-sided tests, Schuirmann
1987). It *differs* where the whole interval lies beyond one of the two; else nobody can tell.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from statistics import median

from launchers.checked import checked
from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.analysis.gate.checks import Check, Kind, Rules, Standing
from vit_sweep.analysis.gate.judging import judge
from vit_sweep.analysis.gate.paired_cell import by_name
from vit_sweep.analysis.pairing import cells_of, pair, title_of
from vit_sweep.record.machine import unlike_hardware
from vit_sweep.runs.run import Run

_NO_VERSION = ("platform",)


class Outcome(StrEnum):
    """What became of a published figure."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    OPEN = "cannot tell"
    APART = "not compared"


_OUTCOMES = {
    Standing.WORSE: Outcome.DIFFERS,
    Standing.BETTER: Outcome.DIFFERS,
    Standing.FINE: Outcome.REPRODUCED,
    Standing.OPEN: Outcome.OPEN,
    Standing.APART: Outcome.APART,
}
"""Of the gate's words; a time that is fine, and may yet be much shorter, is open."""


@checked
class Figure:
    """One published count or time, and what the other study says of it."""

    cell: str
    name: str
    outcome: Outcome
    sentence: str


@checked
class Reproduction:
    """A study held against what was published."""

    figures: tuple[Figure, ...]
    changed: tuple[str, ...]
    """Seeds, versions, code and machines that are others: a sentence each."""
    left: int
    """Published cells that were not run again."""
    notes: tuple[str, ...] = ()
    """What a reader of the intervals must know."""

    @property
    def outcome(self) -> Outcome:
        """`differs` if anything does; `cannot tell` if that is so of anything or nothing was compared."""
        outcomes = {figure.outcome for figure in self.figures}
        if Outcome.DIFFERS in outcomes:
            return Outcome.DIFFERS
        return Outcome.OPEN if Outcome.OPEN in outcomes or Outcome.REPRODUCED not in outcomes else Outcome.REPRODUCED


def reproduced(
    published: Iterable[Run], rerun: Iterable[Run], *, within: float, across: Sequence[str] = ()
) -> Reproduction:
    """Judge a study against what was published. `within`: by how much, as a part, times may be others.

    Cells that were not run again are counted and judged no further. Raises `UserError` where no cell is in both, or a
    published run is on both sides.
    """
    old, new = list(published), list(rerun)
    shared = {_fingerprint(run) for run in old if run.timed} & {_fingerprint(run) for run in new}
    if shared:
        raise UserError(
            f"{plural(len(shared), 'run of the study is|runs of the study are')} among the published ones (same start, "
            "same times): nothing was run again; name the study that did"
        )
    gate = judge(old, new, Rules(slower=within, across=tuple(across)))
    figures = [_figure(check, within) for check in gate.checks if check.kind is not Kind.CELL or _has_runs(check)]
    pairs = pair(old, new, across=across, untimed=True).pairs
    sides = [[run for cells in pairs for run in cells[side].runs] for side in (0, 1)]
    return Reproduction(
        figures=tuple(figures),
        changed=(
            *(sentence for x, y in pairs if (sentence := _seeds(title_of(x), x.runs, y.runs))),
            *versions(*([run.software for run in side] for side in sides)),
            *_machines(*sides),
        ),
        left=len(cells_of(old, across)) - len(pairs),
        notes=gate.notes,
    )


def _fingerprint(run: Run) -> tuple[object, ...]:
    """What two runs never share: when it began, to the second, and what its typical epoch took, to the microsecond."""
    return run.gpus, run.seed, run.started_at, round(median(run.epoch_s), 6) if run.epoch_s else None


def versions(published: Iterable[Sequence[tuple[str, str]]], other: Iterable[Sequence[tuple[str, str]]]) -> list[str]:
    """Each package, and `code`, whose versions are others; one that a side does not know is not named."""
    old, new = by_name(published), by_name(other)
    return [
        f"{name}: {some(sorted(old[name]), 3)} published, {some(sorted(new[name]), 3)} here"
        for name in sorted(old.keys() & new.keys())
        if old[name] != new[name] and name not in _NO_VERSION
    ]


def _seeds(cell: str, old: Sequence[Run], new: Sequence[Run]) -> str:
    before, after = ({run.seed for run in runs if run.seed is not None} for runs in (old, new))
    if not before or not after or after <= before:
        return ""
    words = [some([str(seed) for seed in sorted(seeds)], 6) for seeds in (before, after)]
    return f"{cell}: seeds {words[0]} published, {words[1]} here"


def _machines(old: Sequence[Run], new: Sequence[Run]) -> list[str]:
    by_gpus = {run.gpus: run for run in old if run.machine}
    words = {unlike_hardware(by_gpus[run.gpus].machine, run.machine) for run in new if run.gpus in by_gpus}
    return [f"another machine: {clause} (published against here)" for clause in sorted(words - {""})]


def _has_runs(check: Check) -> bool:
    """Whether it says what became of a cell that both have: what was not run again is counted."""
    return check.standing in (Standing.WORSE, Standing.BETTER) or check.runs_before + check.runs_after > 0


def _figure(check: Check, within: float) -> Figure:
    outcome, sentence = _OUTCOMES[check.standing], check.sentence
    if check.standing is Standing.FINE and check.low is not None and check.low < 1 / (1 + within):
        outcome = Outcome.OPEN
    elif check.standing is Standing.FINE and check.contended:
        outcome = Outcome.OPEN
        sentence += f"; only the runs of the {check.contended} waited for cores that others had: run it on a quiet host"
    return Figure(cell=check.cell, name=check.name, outcome=outcome, sentence=sentence)
