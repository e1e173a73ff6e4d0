"""How every figure looks: sizes for print, colours that also read in grey, axes of GPU counts.

Colours are those of seaborn's colour-blind palette, ordered so that neighbours differ in lightness; every curve has a
marker and a dash of its own, every fill of a stacked bar a hatch.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, NullFormatter, NullLocator

ONE_COLUMN = 3.5
"""Inches: the column of a two-column paper (IEEE)."""
TWO_COLUMNS = 7.16
"""Inches: both columns and the gap."""
PNG_DPI = 300
FONT = 8.0
"""Points, at the printed size."""
SMALL = 7.0
MOST_STYLES = 8
"""Curves of a panel that can be told apart; more are laid out as small multiples."""
QUIET = "0.35"
"""Lines that are no measurement: ideal, published, the even ratio."""

_BASE = sns.color_palette("colorblind").as_hex()
COLORS = (_BASE[0], _BASE[1], _BASE[3], _BASE[9], _BASE[2], "#262626", _BASE[4], "#7a4a1e")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (4, 1, 1, 1)),
    (0, (2.5, 1)),
    (0, (4, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (1, 2.5)),
)

_RULES = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs on every machine
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.titley": 1.0,  # to look for it takes a tenth of a draw, and nothing is above our axes
    "axes.labelsize": FONT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.borderaxespad": 0.0,
    "legend.columnspacing": 1.5,
    "legend.labelspacing": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.2,
    "lines.markeredgewidth": 0.8,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "0.3",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.88",
    "grid.linewidth": 0.5,
    "xtick.bottom": True,
    "ytick.left": True,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "errorbar.capsize": 1.8,
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
    "svg.fonttype": "path",  # looks alike where the font is not there
    "svg.hashsalt": "vit_sweep",
    "figure.dpi": PNG_DPI,  # sizes of text, hence the layout, are those of the PNG
}


class CurveStyle(NamedTuple):
    """What tells one curve from the others, in colour and in grey."""

    color: str
    marker: str
    dash: Any

    @property
    def look(self) -> dict[str, Any]:
        """For matplotlib: its colour, mark and line."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.dash}


@contextmanager
def theme() -> Iterator[None]:
    """Draw in our style, whatever the reader's matplotlibrc says; everything is as before afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(sns.axes_style("whitegrid") | sns.plotting_context("paper") | _RULES)
        yield


def curve_styles(labels: Sequence[str], *, ordinal: bool = False) -> dict[str, CurveStyle]:
    """A style for every label, in their order; where colours come again, they come with other markers.

    `ordinal`: the labels are steps of one quantity, so the colours go from dark to light (viridis).
    """
    many = len(labels)
    colors = sns.color_palette("viridis", many + 1).as_hex()[:many] if ordinal else COLORS
    return {
        label: CurveStyle(
            colors[i % len(colors)], MARKERS[(i + i // len(MARKERS)) % len(MARKERS)], DASHES[i % len(DASHES)]
        )
        for i, label in enumerate(labels)
    }


def curve_handles(styles: Mapping[str, CurveStyle], *, line: bool = True) -> list[Line2D]:
    """What a legend says of curves, by label; nothing of a single one, which needs no name. `line`: not marks alone."""
    if len(styles) < 2:
        return []
    return [
        Line2D([], [], color=style.color, marker=style.marker, linestyle=style.dash if line else "none", label=label)
        for label, style in styles.items()
    ]


def lightness(color: str) -> float:
    """CIE L* of a colour, 0 black to 100 white: what is left of it in grey print."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * luminance ** (1 / 3) - 16 if luminance > (6 / 29) ** 3 else luminance * (29 / 3) ** 3


def number(value: float) -> str:
    """A number for people: three figures, no exponent where it can be avoided."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def wrap(text: str, width_in: float, size: float = FONT) -> str:
    """Break `text` into lines that fit a width in inches; a character is about 0.55 of its size wide."""
    return textwrap.fill(text, max(10, int(width_in * 72 / (0.55 * size))), break_on_hyphens=False)


def gpu_axis(axes: Axes, gpus: Sequence[int], *, label: str = "GPUs", width_in: float = 2.8) -> None:
    """Put a tick on every count that was run, on a doubling scale; a number too, where there is room for it."""
    counts = sorted(set(gpus))
    axes.set_xscale("log", base=2)
    low, high = counts[0], counts[-1]
    room = (high / low) ** 0.06 if high > low else 1.4
    axes.set_xlim(low / room, high * room)
    numbered = _with_room(counts, width_in)
    axes.xaxis.set_major_locator(FixedLocator([float(count) for count in counts]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if round(value) in numbered else ""))
    if label:
        axes.set_xlabel(label)


def _with_room(counts: Sequence[int], width_in: float) -> set[int]:
    """The counts whose numbers do not run into each other; the ends and the powers of two come first."""
    span = math.log2(counts[-1] / counts[0]) * 1.12 if len(counts) > 1 else 1.0
    points = width_in * 72 / span
    first = sorted(counts, key=lambda c: (c not in (counts[0], counts[-1]), c & (c - 1) != 0, c))
    shown: set[int] = set()
    for count in first:
        half = 0.32 * SMALL * len(f"{count:,}")
        if all(abs(math.log2(count / o)) * points >= half + 0.32 * SMALL * len(f"{o:,}") + 2 for o in shown):
            shown.add(count)
    return shown


_MANY_DECADES = 2.5
_STEPS = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    tuple(k / 10 for k in range(10, 100)),
)
"""Ticks of a decade, few to many."""


class _PlainTicks(Locator):
    """The first of some sets of ticks of a decade of which three or more lie on the axis."""

    def __init__(self, steps: Sequence[Sequence[float]]) -> None:
        self._steps = steps

    def __call__(self) -> Sequence[float]:
        low, high = self.axis.get_view_interval()  # type: ignore[union-attr]
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = sorted((vmin, vmax))
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) if low > 0 else ()
        candidates = ([f * 10.0**d for d in decades for f in few if low <= f * 10.0**d <= high] for few in self._steps)
        return next((ticks for ticks in candidates if len(ticks) > 2), [])


def plain_log(axis: Axis, decades: float) -> None:
    """Three ticks or more, with plain numbers, on a logarithmic axis that spans so many decades."""
    axis.set_major_locator(_PlainTicks(_STEPS[0 if decades >= _MANY_DECADES else 2 :]))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def value_axis(axes: Axes, values: Sequence[float], *, log: bool) -> None:
    """Logarithmic with plain numbers where the values span more than a factor of three, else linear from 0."""
    positive = [value for value in values if value > 0]
    if log and positive and max(positive) > 3 * min(positive):
        axes.set_yscale("log")
        axes.set_ylim(min(positive) / 1.35, max(positive) * 1.35)
        plain_log(axes.yaxis, math.log10(max(positive) / min(positive)))
        return
    if positive:
        axes.set_ylim(0, max(positive) * 1.12)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
