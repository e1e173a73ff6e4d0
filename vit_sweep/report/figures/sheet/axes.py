"""Axes of panels in print sizes, and one legend below them."""

import io
import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit_sweep.report.figures.sheet.style import ONE_COLUMN, SMALL, TWO_COLUMNS, wrap

_LINE_IN = 0.145
"""Height of a line of the legend."""
_APART_IN = 0.15
"""Between what is written below panels side by side."""
_SHOWN_PER_IN = 130
"""Pixels of a notebook in which an inch of print is shown."""


class Sheet(Figure):
    """A figure that a notebook shows; matplotlib's own is shown only where pyplot has been told to."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Without a canvas that keeps its pixels, whoever asks how large a text is makes new ones, 15 MiB each time.
        self.pixels = FigureCanvasAgg(self)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        page, (width, height) = io.BytesIO(), self.get_size_inches()
        self.pixels.print_png(page)  # type: ignore[no-untyped-call]
        return page.getvalue(), {"width": round(width * _SHOWN_PER_IN), "height": round(height * _SHOWN_PER_IN)}


def columns_of(panels: int) -> int:
    """Panels side by side."""
    return {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3}.get(panels, 4)


def width_of(panels: int) -> float:
    """Width of a panel's axes in inches, about."""
    columns = columns_of(panels)
    return (ONE_COLUMN if columns == 1 else TWO_COLUMNS) / columns - 0.5


def sheet_of(
    titles: Sequence[str],
    handles: Sequence[Any],
    *,
    x: str = "",
    y: str = "",
    height_in: float = 0.0,
    share_x: bool = True,
    share_y: Literal["all", "row", "none"] = "all",
    rows_each: int = 1,
    columns: int = 0,
    wide: bool = False,
    left_out: str = "",
) -> tuple[Sheet, list[Axes]]:
    """Make a sheet with a panel for each title (`rows_each` axes, one below the other) and a legend of `handles` below.

    `x`, `y`: labels of the axes, where a row or a column of panels needs one; empty: they are set panel by panel. One
    panel has the width of a column of print, several that of two; `wide`: one panel too. Axes come panel by panel;
    those that the last row does not need are gone. `left_out`: what is not drawn, said above the legend.
    """
    panels = len(titles)
    columns = columns or columns_of(panels)
    rows = math.ceil(panels / columns)
    width = ONE_COLUMN if columns == 1 and not wide else TWO_COLUMNS
    each = height_in or {1: 2.35, 2: 2.35, 3: 2.1}.get(columns, 1.75)
    across, lines = _legend_shape(handles, width)
    lines += bool(left_out)
    sheet = Sheet(figsize=(width, rows * rows_each * each + lines * _LINE_IN + 0.1), layout="constrained")
    grid = sheet.subplots(rows * rows_each, columns, squeeze=False, sharex=share_x, sharey=share_y)
    all_axes: list[Axes] = []
    for panel in range(rows * columns):
        row, column = divmod(panel, columns)
        for part in range(rows_each):
            axes = grid[row * rows_each + part][column]
            if panel >= panels:
                axes.remove()
                continue
            all_axes.append(axes)
            below = panel + columns >= panels and part == rows_each - 1
            if share_x:
                axes.tick_params(labelbottom=below)
            if titles[panel] and part == 0:
                axes.set_title(wrap(titles[panel], width_of(panels)))
    if x or y:
        label_panels(all_axes, x=x, y=y, columns=columns)
    if handles or left_out:
        title = (
            {"title": f"{left_out}.", "title_fontproperties": {"size": SMALL, "style": "italic"}} if left_out else {}
        )
        sheet.legend(handles=list(handles), loc="outside lower center", ncols=across, **title)
    return sheet, all_axes


def label_panels(axes: Sequence[Axes], *, x: str, y: str, columns: int) -> None:
    """Axis labels where a row or a column of panels needs one."""
    if columns > 1:
        x = wrap(x, TWO_COLUMNS / columns - _APART_IN)  # beside each other
    for index, panel in enumerate(axes):
        panel.set_xlabel(x if index + columns >= len(axes) else "")
        panel.set_ylabel(y if index % columns == 0 else "")


def note(axes: Axes, text: str, *, width_in: float, low: bool = True, right: bool = True) -> None:
    """A sentence inside the axes, where the curves are not."""
    axes.text(
        0.98 if right else 0.02,
        0.09 if low else 0.97,
        wrap(text, 0.62 * width_in, SMALL - 0.5),
        transform=axes.transAxes,
        ha="right" if right else "left",
        va="bottom" if low else "top",
        fontsize=SMALL - 0.5,
        color="0.25",
        style="italic",
        zorder=6,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
    )


def _legend_shape(handles: Sequence[Any], width: float) -> tuple[int, int]:
    """Entries side by side, and lines of text in all; long labels are wrapped in place."""
    if not handles:
        return 1, 0
    for handle in handles:
        handle.set_label(wrap(str(handle.get_label()), width - 0.6, SMALL))
    texts = [str(handle.get_label()) for handle in handles]
    longest = max(len(line) for text in texts for line in text.split("\n"))
    entry_in = (2.6 + 0.8 + 1.5) * SMALL / 72 + longest * 0.53 * SMALL / 72
    across = max(1, min(len(handles), int(width / entry_in)))
    rows = math.ceil(len(handles) / across)
    # Columns are filled from top to bottom; the tallest label of a row decides its height.
    return across, sum(max(text.count("\n") + 1 for text in texts[row::rows]) for row in range(rows))
