"""One's own curves beside published ones, as a table. Pure."""

from collections.abc import Sequence

from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.report.page.laws import name_of
from vit_sweep.report.page.layout import table_of
from vit_sweep.report.tables.form.columns import with_bounds
from vit_sweep.report.tables.form.table import SOURCE_RUNS, Cells, Column, Table
from vit_sweep.report.tables.parts import estimate

MEASURED = (
    Column(name="series"),
    Column(name="gpus", title="GPUs"),
    Column(name="nodes"),
    with_bounds("epoch_s", "epoch time", "s"),
    with_bounds("speedup", "speedup"),
    with_bounds("efficiency", "efficiency", percent=True),
)
"""What `measured` says of each point."""


def comparison_table(own: Sequence[ScalingSeries], published: Sequence[ScalingSeries], source: str) -> Table:
    """Every point of both; only relative numbers can be compared, for the machines are not the same."""
    return table_of(
        "beside",
        "Both in one table: times are of different machines; what may be compared is how they shrink",
        (Column(name="source"), *MEASURED, Column(name="n", meaning="Runs that are pooled.")),
        [
            {"source": name} | row
            for name, series in (("this study", own), (source, published))
            for row in measured(series)
        ],
    )


def measured(series: Sequence[ScalingSeries]) -> list[Cells]:
    """A row for each point with a time, with its number of runs as `n`."""
    return [
        {
            "series": name_of(curve),
            "gpus": point.gpus,
            "nodes": point.nodes,
            "n": len(point.runs),
            SOURCE_RUNS: point.runs,
        }
        | estimate("epoch_s", point.time_s)
        | estimate("speedup", point.speedup)
        | estimate("efficiency", point.efficiency)
        for curve in series
        for point in curve.timed
    ]
