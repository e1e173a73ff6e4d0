"""How large an image fits, by GPUs and the ranks that share its tokens. Pure, no numpy."""

from collections.abc import Iterable

from vit_sweep.analysis.resolutions import Resolutions, resolutions
from vit_sweep.report.tables.form.columns import COLUMNS, CONFIGURATION, bounded
from vit_sweep.report.tables.form.table import Cells, Table, table
from vit_sweep.report.tables.parts import Times, Variants, pooled
from vit_sweep.runs.run import Run

RESOLUTION_COLUMNS = bounded(
    *CONFIGURATION,
    *("epochs", "work", "gpus", "nodes", "sequence", "micro_batch", "accum", "smallest_px", "largest_px"),
    *("too_large_px", "images_per_s", "n", "memory_mib", "predicted_mib", "flags", "seeds", "cell_id"),
)


def resolution_table(runs: Iterable[Run], times: Times) -> Table | None:
    """The largest image that was trained, and its speed and memory; None without two sizes on equal GPUs."""
    groups = resolutions(runs)
    variants = Variants(group.conditions for group in groups)
    title = "The largest image that fits, by GPUs and the ranks that share its tokens"
    return table("resolutions", title, RESOLUTION_COLUMNS, [_row(g, variants, times) for g in groups], known=COLUMNS)


def _row(group: Resolutions, variants: Variants, times: Times) -> Cells:
    trained = group.trained
    largest = trained[max(trained)]
    return (
        variants.configuration(group.conditions)
        | pooled(largest, times)
        | {
            "work": group.first.work,
            "sequence": group.first.sequence,
            "smallest_px": min(trained),
            "largest_px": max(trained),
            "too_large_px": group.too_large,
            "predicted_mib": largest[0].memory_predicted_mib,
        }
    )
