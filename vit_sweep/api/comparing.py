"""Two studies, or tables, compared cell by cell. An edge."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

from vit_sweep.api.results import Results, as_html
from vit_sweep.api.study import open
from vit_sweep.study.code.provenance import require_extra

if TYPE_CHECKING:
    from pandas import DataFrame

    from vit_sweep.analysis.compare import Comparison


class Compared(NamedTuple):
    """What a comparison says."""

    comparison: "Comparison"
    """Its `pairs` and `mean` as objects."""
    sentence: str
    """The geometric mean of the ratios of epoch times, b / a, with its 95 % interval and verdict."""
    remarks: tuple[str, ...]
    """What was not paired and why, and what a reader of the intervals must know."""

    def __repr__(self) -> str:
        return f"<{self.sentence}>"

    @property
    def table(self) -> "DataFrame":
        """One row per cell that both have: epoch times (s), `ratio` with its 95 % interval, verdict."""
        from vit_sweep.report.frames import frame
        from vit_sweep.report.tables.comparisons.comparison import compared_table

        return frame(compared_table(self.comparison))

    def _repr_html_(self) -> str:
        from vit_sweep.report.tables.comparisons.comparison import compared_table

        return as_html("b against a", [self.sentence, *self.remarks], [compared_table(self.comparison)])


def compare(
    a: Results | str | PathLike[str], b: Results | str | PathLike[str], *, across: Sequence[str] = ()
) -> Compared:
    """Say cell by cell whether b is faster than a (docs/results/compare.md); a name or a folder is opened.

    `across`: conditions that may differ: "engine", "partition", ... Raises `UserError` for a study that is not there,
    and without the extra `report`.
    """
    require_extra("report")
    from vit_sweep.analysis.compare import compare as compare_runs
    from vit_sweep.report.tables.comparisons.comparison import remarks, summary

    sources = [(side if isinstance(side, Results) else open(side)).source() for side in (a, b)]
    comparison = compare_runs(sources[0].runs, sources[1].runs, across=[across] if isinstance(across, str) else across)
    notes = remarks(comparison, sources[0].name, sources[1].name)
    return Compared(comparison=comparison, sentence=summary(comparison), remarks=tuple(notes))
