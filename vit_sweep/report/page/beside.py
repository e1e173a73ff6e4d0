"""One's own curves beside published ones, as a table. Pure."""

from collections.abc import Sequence

from vit_sweep.analysis.series.series import Estimate, ScalingSeries
from vit_sweep.report.page.content import Column, Interval, Table, Value
from vit_sweep.report.page.modelled import name_of


def beside(own: Sequence[ScalingSeries], published: Sequence[ScalingSeries], source: str) -> Table:
    """Every point of both; only relative numbers can be compared, for the machines are not the same."""
    rows = [*_rows(own, "this study"), *_rows(published, source)]
    return Table(
        name="beside", title="Both in one table",
        lead="Times are of different machines; what may be compared is how they shrink.",
        columns=(
            Column(name="source"), Column(name="series"), Column(name="gpus", title="GPUs"), Column(name="nodes"),
            Column(name="epoch_s", title="epoch time", unit="s"), Column(name="speedup"),
            Column(name="efficiency", unit="%"), Column(name="n", help="Runs that are pooled."),
        ),
        rows=tuple(rows),
    )  # fmt: skip


def _rows(series: Sequence[ScalingSeries], source: str) -> list[tuple[Value, ...]]:
    return [
        (
            source, name_of(one), point.gpus, point.nodes, interval(point.time_s), interval(point.speedup),
            interval(point.efficiency), len(point.runs),
        )
        for one in series for point in one.timed
    ]  # fmt: skip


def interval(found: Estimate | None) -> Interval | None:
    """A number of the analysis as one of the page."""
    return None if found is None else Interval(value=found.value, low=found.low, high=found.high)
