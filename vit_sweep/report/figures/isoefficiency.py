"""Isoefficiency: the least images of a step that use so many GPUs well, against GPUs. An edge."""

from collections.abc import Iterable, Sequence
from math import log10
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import plural
from vit_sweep.analysis.isoefficiency import TARGETS, Measured, Needed, Plane, planes
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.analysis.series.spreads import RatioOf
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.curves import draw_estimates
from vit_sweep.report.figures.sheet.axes import sheet_of, width_of
from vit_sweep.report.figures.sheet.panels import arrange, key_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import QUIET, curve_handles, curve_styles, gpu_axis, number, plain_log

NAME = "isoefficiency"
_PERCENT = [f"{100 * target:g}%" for target in TARGETS]
_FACES = ("white", "0.75", "0.2")
"""Of a measured batch that reaches none, one or both of the targets."""


def draw_isoefficiency(series: Sequence[ScalingSeries], folder: Path | None, ratio: RatioOf) -> Figure | Skipped:
    """Draw measured batches, and between them those at which each GPU count reaches the targets.

    `ratio`: see `planes`.
    """
    crossed = [plane for plane in planes(series, ratio) if any(needed.images is not None for needed in plane.needed)]
    if not crossed:
        reason = "no two GPU counts were timed with two batch sizes each, between which an efficiency is reached"
        return Skipped(name=NAME, reason=reason)
    layout = arrange([key_traits(plane.key) for plane in crossed], most=1)
    titled = [(panel.title, crossed[panel.curves[0][0]]) for panel in layout.panels]
    styles = curve_styles(_PERCENT)
    lines = any(len(_known(plane, target)) > 1 for _, plane in titled for target in TARGETS)
    titles, handles = [title for title, _ in titled], _legend(styles, [plane for _, plane in titled])
    sheet, axes = sheet_of(titles, handles, x="GPUs", y="images of a step", left_out=layout.left_out)
    for panel, (_, plane) in zip(axes, titled, strict=True):
        _draw_panel(panel, plane, styles)
    _scales(axes, [plane for _, plane in titled])
    return save(
        sheet,
        folder,
        NAME,
        title="Isoefficiency",
        caption="The least images of an optimizer step at which GPUs reach an efficiency, by interpolation between the "
        "measured batches around it; nothing is extrapolated. Efficiency 1 is the time per image and GPU of the "
        "largest batch on the fewest GPUs. "
        + ("A curve steeper than the dotted line needs a batch that grows faster than the GPUs. " if lines else "")
        + _bars_text(plane for _, plane in titled)
        + (f" {layout.left_out}." if layout.left_out else ""),
        pooled=[run for _, plane in titled for cell in plane.cells for run in cell.runs],
        alt=_alt(titled),
    )


def _bars_text(planes: Iterable[Plane]) -> str:
    needed = [point.images for plane in planes for point in plane.needed if point.images is not None]
    without = sum(not images.known for images in needed)
    lone = f"{plural(without, 'point')} without an interval: of a single run, or it reaches beyond the batches measured"
    words = ["Bars: 95% intervals"] if without < len(needed) else []
    return "; ".join([*words, lone] if without else words) + "."


def _legend(styles: dict[str, Any], planes: Sequence[Plane]) -> list[Line2D]:
    """Of what is drawn: curves, the line of proportion, and the kinds of measured cells."""
    points = {target: max(len(_known(plane, target)) for plane in planes) for target in TARGETS}
    lines = max(points.values()) > 1
    handles = curve_handles({f"efficiency {label}": style for label, style in styles.items()}, line=lines)
    curves = [handle for handle, target in zip(handles, TARGETS, strict=True) if points[target]]
    kinds = {_kind(cell) for plane in planes for cell in plane.cells}
    ideal = [Line2D([], [], color=QUIET, linestyle=":", lw=1.0, label="in proportion to the GPUs")] if lines else []
    low, high = _PERCENT
    words = [f"below {low}", f"{low} to {high}", f"{high} or more"]
    cells = [
        Line2D([], [], linestyle="none", marker=".", ms=7, mfc=face, mec=QUIET, label=f"measured: {text}")
        for kind, (face, text) in enumerate(zip(_FACES, words, strict=True))
        if kind in kinds
    ]
    return [*curves, *ideal, *cells]


def _kind(cell: Measured) -> int:
    """How many of the efficiencies a cell reaches."""
    return sum(cell.efficiency.value >= target for target in TARGETS)


def _draw_panel(axes: Axes, plane: Plane, styles: dict[str, Any]) -> None:
    for kind, face in enumerate(_FACES):
        cells = [cell for cell in plane.cells if _kind(cell) == kind]
        gpus, images_of = [cell.gpus for cell in cells], [cell.images for cell in cells]
        axes.plot(gpus, images_of, ".", ms=7, mfc=face, mec=QUIET, mew=0.6, zorder=2)
    for target, style in zip(TARGETS, styles.values(), strict=True):
        points = _known(plane, target)
        if not points:
            continue
        images = [needed.images for needed in points if needed.images is not None]
        draw_estimates(axes, [needed.gpus for needed in points], images, **style.look, zorder=3)
        if len(points) > 1:
            ends = (points[0].gpus, points[-1].gpus)
            ideal = [images[0].value * gpus / ends[0] for gpus in ends]
            axes.plot(ends, ideal, color=QUIET, linestyle=":", lw=1.0, zorder=1.5)


def _known(plane: Plane, target: float) -> list[Needed]:
    return [needed for needed in plane.needed if needed.target == target and needed.images is not None]


def _scales(axes: Sequence[Axes], planes: Sequence[Plane]) -> None:
    images = [cell.images for plane in planes for cell in plane.cells]
    gpus = [cell.gpus for plane in planes for cell in plane.cells]
    for panel in axes:
        gpu_axis(panel, gpus, label="", width_in=width_of(len(axes)))
        panel.set(yscale="log", ylim=(min(images) / 1.4, max(images) * 1.4))
        plain_log(panel.yaxis, log10(max(images) / min(images)))


def _alt(titled: Sequence[tuple[str, Plane]]) -> str:
    clauses = []
    for title, plane in titled[:4]:
        for target, percent in zip(TARGETS, _PERCENT, strict=True):
            listed = ", ".join(
                f"{number(needed.images.value)} on {plural(needed.gpus, 'GPU')}"
                for needed in _known(plane, target)
                if needed.images is not None
            )
            if listed:
                clauses.append(f"{title + ': ' if title else ''}{percent} needs {listed}.")
    return f"Images of a step that reach an efficiency, against GPUs. {' '.join(clauses)}"
