"""What figures of curves against GPUs have in common: panels, each with its curves and what stands beside. An edge."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figures.curves import Curves, draw_failures, draw_reference, legend
from vit_sweep.report.figures.overlay import Overlay, Quantity, draw_overlay, fitted, overlay_handles
from vit_sweep.report.figures.sheet.axes import Sheet, sheet_of, width_of
from vit_sweep.report.figures.sheet.style import CurveStyle, gpu_axis

PanelCurves = Sequence[tuple[ScalingSeries, CurveStyle]]


def draw_panels(
    curves: Curves,
    quantity: Quantity,
    scaling: Scaling,
    overlays: Sequence[Overlay],
    *,
    ideal: Sequence[Line2D],
    label: str,
    draw: Callable[[Axes, PanelCurves], None],
) -> tuple[Sheet, list[Axes]]:
    """Let `draw` put the curves into each panel; add failures, published curves and fitted lines, titles and labels.

    `ideal`: the legend's handles for the ideal lines that `draw` makes; `label`: of the values' axis.
    """
    panels, name = curves.layout.panels, quantity.value
    fits = fitted(overlays, scaling, quantity, max(curves.gpus))
    handles = legend(curves, name, *ideal, *overlay_handles(fits))
    titles, left = [panel.title for panel in panels], curves.layout.left_out
    sheet, axes = sheet_of(titles, handles, x="GPUs", y=label, left_out=left)
    width = width_of(len(panels))
    for panel_axes, panel in zip(axes, panels, strict=True):
        draw(panel_axes, curves.on(panel))
        draw_failures(panel_axes, curves.on(panel))
        for order, published in enumerate(curves.reference):
            draw_reference(panel_axes, published, order, name)
        for order, line in enumerate(fits):
            draw_overlay(panel_axes, line, order)
    for panel_axes in axes:
        gpu_axis(panel_axes, curves.gpus, width_in=width, label="")
    return sheet, axes
