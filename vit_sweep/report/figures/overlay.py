"""Fitted and simulated lines: drawn dashed, and named for what they are."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from launchers.checked import checked
from launchers.text import plural
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figure import Figure
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import QUIET, curve_styles, gpu_axis, number, theme, value_axis


class Kind(StrEnum):
    """What a line that nobody measured comes from."""

    FITTED = "fitted"
    """A law, fitted to the measured points."""
    SIMULATED = "SIMULATED"
    """A model alone; nothing was measured at these counts."""


class Quantity(StrEnum):
    """What a line tells."""

    TIME = "time_s"
    """Seconds of an epoch."""
    SPEEDUP = "speedup"
    EFFICIENCY = "efficiency"
    """1 is ideal."""


@checked
class Overlay:
    """A line over GPU counts that is no measurement."""

    kind: Kind
    label: str
    """Of the law or the profile: `Amdahl, batch 16`."""
    scaling: Scaling
    quantity: Quantity
    gpus: tuple[float, ...]
    values: tuple[float, ...]
    """As many as `gpus`, in the unit of `quantity`."""
    low: tuple[float, ...] = ()
    """Lower ends of an interval; empty: none."""
    high: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """For a legend: what it is comes first."""
        return f"{self.kind.value}: {self.label}"


_LOOKS: dict[Kind, tuple[tuple[Any, ...], tuple[str, ...]]] = {
    Kind.FITTED: (
        ((0, (6, 2)), (0, (6, 2, 1, 2)), (0, (3, 1.5)), (0, (6, 1, 1, 1, 1, 1))),
        ("0.1", "0.3", "0.45", "0.2"),
    ),
    Kind.SIMULATED: (((0, (2, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (6, 3))), ("0.25", "0.45", "0.1", "0.55")),
}


def draw_overlay(axes: Axes, line: Overlay, order: int = 0) -> None:
    """Draw one line, dashed and without marks, with its band if it has one; `order` tells it from its neighbours."""
    look = _look(line, order)
    axes.plot(line.gpus, line.values, zorder=2.5, **look)
    if line.low and line.high:
        axes.fill_between(line.gpus, line.low, line.high, color=look["color"], alpha=0.12, lw=0, zorder=1.5)


def fitted(lines: Sequence[Overlay], scaling: Scaling, quantity: Quantity, most_gpus: int) -> list[Overlay]:
    """The fitted lines of a mode and a quantity, as far as the measured counts go."""
    return [
        _up_to(line, most_gpus)
        for line in lines
        if line.kind is Kind.FITTED and line.scaling is scaling and line.quantity is quantity
    ]


def overlay_handles(lines: Sequence[Overlay]) -> list[Line2D]:
    """What the legend says of lines that are drawn in this order."""
    return [Line2D([], [], label=line.name, **_look(line, order)) for order, line in enumerate(lines)]


def _look(line: Overlay, order: int) -> dict[str, Any]:
    dashes, greys = _LOOKS[line.kind]
    return {"linestyle": dashes[order % 4], "color": greys[order % 4], "lw": 1.0}


def _up_to(line: Overlay, most_gpus: int) -> Overlay:
    indices = [index for index, gpus in enumerate(line.gpus) if gpus <= most_gpus]
    return replace(
        line,
        gpus=tuple(line.gpus[i] for i in indices),
        values=tuple(line.values[i] for i in indices),
        low=tuple(line.low[i] for i in indices) if line.low else (),
        high=tuple(line.high[i] for i in indices) if line.high else (),
    )


BAND = "communication from not hidden at all to hidden where computation can hide it"
"""What the band of a simulated line spans."""
_BAND_ALPHA = 0.15
_AXES = {Quantity.TIME: "time of an epoch (s)", Quantity.SPEEDUP: "speedup", Quantity.EFFICIENCY: "efficiency"}


def draw_simulated(
    lines: Sequence[Overlay], folder: Path | None, *, name: str = "simulated", basis: str = ""
) -> Figure:
    """Draw simulated curves alone, one panel a quantity, the word SIMULATED across each.

    `basis`: what the simulation rests on (the profile, the calibration), for the caption. Raises ValueError without
    lines.
    """
    quantities = [q for q in Quantity if any(line.quantity is q for line in lines)]
    if not quantities:
        raise ValueError("no simulated lines to draw")
    with theme():
        labels = list(dict.fromkeys(line.label for line in lines))
        styles = curve_styles(labels)
        looks = {label: style.look | {"linestyle": (0, (4, 2)), "ms": 3.5} for label, style in styles.items()}
        handles: list[Line2D | Patch] = [
            Line2D([], [], label=f"{Kind.SIMULATED.value}: {label}", **looks[label]) for label in labels
        ]
        banded = any(line.low and line.high for line in lines)
        if banded:
            handles.append(Patch(facecolor="0.6", alpha=_BAND_ALPHA, label=f"band: {BAND}"))
        sheet, axes = sheet_of([""] * len(quantities), handles, share_y="none")
        gpus = sorted({round(count) for line in lines for count in line.gpus})
        powers = [count for count in gpus if count & (count - 1) == 0] or gpus
        for panel, quantity in zip(axes, quantities, strict=True):
            panel_lines = [line for line in lines if line.quantity is quantity]
            panel.text(
                0.5,
                0.5,
                Kind.SIMULATED.value,
                transform=panel.transAxes,
                ha="center",
                va="center",
                fontsize=20,
                color="0.9",
                rotation=25,
                zorder=0,
                weight="bold",
            )
            for line in panel_lines:
                panel.plot(line.gpus, line.values, **looks[line.label])
                if line.low and line.high:
                    color = styles[line.label].color
                    panel.fill_between(line.gpus, line.low, line.high, color=color, alpha=_BAND_ALPHA, lw=0)
            values = [value for line in panel_lines for value in line.values]
            if quantity is Quantity.EFFICIENCY:
                panel.axhline(1.0, color=QUIET, lw=0.9, linestyle="--")
                panel.set_ylim(0, 1.12 * max(1.0, *values))
                panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            else:
                value_axis(panel, values, log=True)
            gpu_axis(panel, powers, width_in=2.8 if len(quantities) < 3 else 1.8)
            panel.set_ylabel(_AXES[quantity])
        summary = "; ".join(
            f"{line.label}: {_AXES[line.quantity]} {number(line.values[0])} on {plural(round(line.gpus[0]), 'GPU')}, "
            f"{number(line.values[-1])} on {plural(round(line.gpus[-1]), 'GPU')}"
            for line in lines
        )
        return save(
            sheet,
            folder,
            name,
            pooled=(),
            title="Simulated scaling",
            caption=f"SIMULATED, not measured. {f'Band: {BAND}. ' if banded else ''}{basis}".strip(),
            alt=f"Line chart of simulated, not measured, scaling over {gpus[0]:,} to {gpus[-1]:,} GPUs. {summary}.",
        )
