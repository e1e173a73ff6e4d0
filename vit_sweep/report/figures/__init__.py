"""Figures of a study: seaborn, print sizes, PNG, SVG and PDF. An edge; docs/results/figures.md shows them.

The same runs draw the same bytes. Colours are colour-blind safe, and every curve has a marker and a dash, every fill a
hatch, so that the figures read in grey too.
"""

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from launchers.atomic import remove
from vit_sweep.analysis.series.intervals import measured
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.analysis.series.spreads import RatioOf
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figure import FORMATS, Figure, Skipped
from vit_sweep.report.figures.cost import draw_cost
from vit_sweep.report.figures.isoefficiency import draw_isoefficiency
from vit_sweep.report.figures.nodes import draw_nodes
from vit_sweep.report.figures.overlay import Kind, Overlay, Quantity, draw_simulated
from vit_sweep.report.figures.parts import draw_batches, draw_parts
from vit_sweep.report.figures.placement import draw_placement
from vit_sweep.report.figures.runs.accuracy import draw_accuracy_by_batch, draw_accuracy_by_epoch, drawers_of_metrics
from vit_sweep.report.figures.runs.engines import draw_engines
from vit_sweep.report.figures.runs.memory import draw_memory
from vit_sweep.report.figures.runs.optimizers import draw_optimizers
from vit_sweep.report.figures.runs.ranks import draw_ranks
from vit_sweep.report.figures.runs.resolutions import draw_resolutions
from vit_sweep.report.figures.runs.roofline import draw_roofline
from vit_sweep.report.figures.runs.steps import draw_steps
from vit_sweep.report.figures.sheet.processes import side_by_side
from vit_sweep.report.figures.sheet.style import theme
from vit_sweep.report.figures.speedup import draw_against_ideal, ratios_of
from vit_sweep.report.figures.times import draw_time
from vit_sweep.report.tables.form.table import Cells
from vit_sweep.report.tables.parts import by_configuration
from vit_sweep.runs.run import Run

__all__ = ["Figure", "Kind", "Overlay", "Quantity", "Skipped", "draw_all", "draw_simulated", "drawers", "theme"]


Drawer = Callable[[], Figure | Skipped]


def draw_all(
    strong: Sequence[ScalingSeries],
    weak: Sequence[ScalingSeries],
    runs: Sequence[Run],
    folder: Path,
    *,
    ratio: RatioOf | None = None,
    reference: Sequence[ScalingSeries] = (),
    predictions: Sequence[Overlay] = (),
    accuracies: Sequence[Cells] = (),
    alone: bool = True,
) -> list[Figure | Skipped]:
    """Draw every figure that the data carry into `folder`, and give the reason for each that they do not.

    `alone`: in this process and no others. The rest as of `drawers`.
    """
    draw_by_name = drawers(
        strong, weak, runs, folder, ratio=ratio, reference=reference, predictions=predictions, accuracies=accuracies
    )
    with theme(), _released_one_by_one(draw_by_name.values()) as draws:
        results = [draw() for draw in draws] if alone else side_by_side(draws)
    for drawn in results:
        # What an earlier look at the study drew and this one did not: of data that have gone since, or out of date.
        for suffix in set(FORMATS) - set(drawn.paths):
            remove((folder / drawn.name).with_suffix(suffix), pattern=rf"{re.escape(drawn.name)}\.\w+")
    return results


@contextmanager
def _released_one_by_one(drawers_: Iterable[Drawer]) -> Iterator[list[Drawer]]:
    """The drawers, after each of which its figure's memory is free again.

    All of a figure refers to one another, so that only the cycle collector frees it; what was there before, the runs of
    a study above all, need not be walked for that.
    """

    def released(draw: Drawer) -> Figure | Skipped:
        drawn = draw()
        if isinstance(drawn, Figure):
            gc.collect()
        return drawn

    freezes = gc.get_freeze_count() == 0
    if freezes:
        gc.freeze()
    try:
        yield [partial(released, draw) for draw in drawers_]
    finally:
        if freezes:
            gc.unfreeze()


def drawers(
    strong: Sequence[ScalingSeries],
    weak: Sequence[ScalingSeries],
    runs: Sequence[Run],
    folder: Path | None,
    *,
    ratio: RatioOf | None = None,
    reference: Sequence[ScalingSeries] = (),
    predictions: Sequence[Overlay] = (),
    accuracies: Sequence[Cells] = (),
) -> dict[str, Drawer]:
    """What draws each figure, by its name, in the order of a report; to be called inside `theme`.

    `folder`: None: nothing is written. `runs`: all of them, for accuracy, memory, ranks and the roofline. `ratio`: of
    the cells of all series, as the tables have it. `reference`: published series, drawn dashed and grey beside those of
    the same scaling mode. `predictions`: fitted lines are drawn over the measured counts, simulated ones in a figure of
    their own. `accuracies`: rows of the table **accuracy**.
    """
    ordered = sorted(runs, key=lambda run: (by_configuration(run), run.seed or 0, run.run_id))
    # One that goes on from another cell's checkpoint is compared with nobody; what it learnt is shown, and said.
    runs = [run for run in ordered if not run.continued_from]
    ratio = ratio or measured((*strong, *weak)).times.ratio
    known: dict[str, Drawer] = {}
    for mode, series in ((Scaling.STRONG, strong), (Scaling.WEAK, weak)):
        published = [curve for curve in reference if curve.key.scaling is mode]
        known[f"{mode}_time"] = partial(draw_time, mode, series, folder, reference=published, overlays=predictions)
        known[f"{mode}_parts"] = partial(draw_parts, mode, series, folder)
        for quantity in ratios_of(mode):
            known[f"{mode}_{quantity.value}"] = partial(
                draw_against_ideal, quantity, mode, series, folder, reference=published, overlays=predictions
            )
    known |= {
        "batch_time": partial(draw_batches, strong, folder),
        "accuracy_batch": partial(draw_accuracy_by_batch, runs, folder),
        "accuracy_epoch": partial(draw_accuracy_by_epoch, ordered, folder),
        **drawers_of_metrics(ordered, folder),
        "nodes_time": partial(draw_nodes, strong, folder),
        "placement": partial(draw_placement, strong, folder, ratio),
        "cost_time": partial(draw_cost, strong, folder),
        "isoefficiency": partial(draw_isoefficiency, [*strong, *weak], folder, ratio),
        "engines": partial(draw_engines, runs, folder),
        "optimizers": partial(draw_optimizers, accuracies, runs, folder),
        "memory": partial(draw_memory, runs, folder),
        "resolutions": partial(draw_resolutions, runs, folder),
        "ranks": partial(draw_ranks, runs, folder),
        "steps": partial(draw_steps, (*strong, *weak), folder),
        "roofline": partial(draw_roofline, runs, folder),
    }
    simulated = [line for line in predictions if line.kind is Kind.SIMULATED]
    if simulated:
        known["simulated"] = partial(draw_simulated, simulated, folder)
    return known
