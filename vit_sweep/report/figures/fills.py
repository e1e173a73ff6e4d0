"""The parts of a step as stacked fills: colours far apart in lightness, each with its hatch."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path

from vit_sweep.analysis.series.series import Estimate
from vit_sweep.record.stats import StepParts
from vit_sweep.report.figures.curves import draw_estimates
from vit_sweep.runs.run import Run


class Fill(NamedTuple):
    """One part of a bar."""

    name: str
    color: str
    hatch: str
    fields: tuple[str, ...]
    """Of `SlowestRank`, added up."""


FILLS = (
    Fill("compute", "#1a80bb", "", ("forward", "backward", "optimizer")),
    Fill("communication", "#f5c55f", "////", ("communication",)),
    Fill("waiting for slow ranks", "#8f3d00", "....", ("wait",)),
    Fill("data wait and copy", "#7fb3d5", "xxxx", ("data_wait", "copy")),
    Fill("other", "#303030", "\\\\\\\\", ("other",)),
)
"""From the bottom of a bar upwards; neighbours differ in lightness by 30 or more of 100, all by 10 or more."""
UNKNOWN = Fill("not measured", "#ffffff", "", ())
"""What is left of an epoch where computing was not timed; the whole of it where nothing was."""
_COMPUTE = FILLS[0]


class Box(NamedTuple):
    """One filled box of a bar."""

    x: float
    """Of its middle."""
    height: float
    bottom: float = 0.0


class Bar(NamedTuple):
    """One bar: seconds of an epoch."""

    label: str
    time_s: Estimate | None
    parts: dict[str, float] | None
    """Seconds of an epoch by fill; None where no run was measured in parts."""


def parts_of(runs: Sequence[Run]) -> dict[str, float] | None:
    """Seconds of an epoch by fill: the mean over runs of a step's part, times the steps of an epoch; where nobody
    timed the computing, the rest of the epoch is not known to be anything.

    None where no run has parts or the number of its steps is not known.
    """
    stepped = [
        (_of_a_step(run.parts, run.gpus), steps) for run in runs if run.parts and (steps := run.steps) is not None
    ]
    if not stepped:
        return None
    known = {fill.name: fmean(_sum(parts, fill) * steps / 1000 for parts, steps in stepped) for fill in FILLS}
    epochs_s = [median(run.epoch_s) for run in runs if run.timed]
    timed = any(parts.get(name) is not None for parts, _ in stepped for name in _COMPUTE.fields)
    unknown_s = 0.0 if timed or not epochs_s else max(0.0, median(epochs_s) - sum(known.values()))
    return known | {UNKNOWN.name: unknown_s}


def draw_bars(axes: Axes, bars: Sequence[Bar], *, share: bool = False) -> None:
    """Stacked bars, one a label; the epoch's own time as a mark with its interval. `share`: parts of 100 %."""
    filled = [(x, bar.parts) for x, bar in enumerate(bars) if bar.parts is not None]
    bottoms = dict.fromkeys((x for x, _ in filled), 0.0)
    for fill in (*FILLS, UNKNOWN):
        boxes = [
            Box(x, parts[fill.name] / (sum(parts.values()) if share else 1.0), bottoms[x])
            for x, parts in filled
            if parts[fill.name]
        ]
        draw_boxes(axes, boxes, color=fill.color, hatch=fill.hatch)
        for box in boxes:
            bottoms[round(box.x)] += box.height
    if not share:
        whole = [Box(x, bar.time_s.value) for x, bar in enumerate(bars) if bar.parts is None and bar.time_s]
        draw_boxes(axes, whole, color=UNKNOWN.color, hatch=UNKNOWN.hatch)
        _draw_times(axes, [(x, bar.time_s) for x, bar in enumerate(bars) if bar.time_s is not None])
    axes.set_xticks(range(len(bars)), [bar.label for bar in bars])
    # Few bars do not grow to fill the panel.
    middle, half = (len(bars) - 1) / 2, max(len(bars), 4) / 2 + 0.1
    axes.set_xlim(middle - half, middle + half)
    axes.grid(visible=False, axis="x")


def fill_handles(bars: Sequence[Bar]) -> list[Patch]:
    """Of the fills that are drawn, top of the bar last."""
    used = [f for f in FILLS if any(bar.parts and bar.parts[f.name] > 0 for bar in bars)]
    if any(bar.parts[UNKNOWN.name] > 0 if bar.parts else bar.time_s for bar in bars):
        used.append(UNKNOWN)
    return [Patch(facecolor=f.color, hatch=f.hatch, edgecolor="0.15", lw=0.4, label=f.name) for f in used]


def draw_boxes(axes: Axes, boxes: Sequence[Box], *, color: str, hatch: str, width: float = 0.74) -> None:
    """Boxes of one fill as one shape: to make a hatch at the resolution of print takes longer than to fill with it."""
    if boxes:
        shape = Path.make_compound_path(*(_outline(box, width) for box in boxes))
        axes.add_patch(PathPatch(shape, facecolor=color, hatch=hatch, edgecolor="0.15", lw=0.4, zorder=3))


def _outline(box: Box, width: float) -> Path:
    left, right, top = box.x - width / 2, box.x + width / 2, box.bottom + box.height
    return Path(
        [(left, box.bottom), (right, box.bottom), (right, top), (left, top), (left, box.bottom)],
        [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY],
    )


def _draw_times(axes: Axes, times: Sequence[tuple[int, Estimate]]) -> None:
    """A mark for each time, with its interval where that is known."""
    look: dict[str, Any] = {"color": "0.05", "linestyle": "none", "marker": "D", "ms": 3, "mfc": "white", "mew": 0.8}
    for known in (False, True):
        some = [(x, time) for x, time in times if time.known is known]
        if some:
            draw_estimates(axes, *zip(*some, strict=True), **look, zorder=5)


def _of_a_step(parts: StepParts, gpus: int) -> Mapping[str, float | None]:
    """Of one rank, so that they add up to its step; of an imported run the most and least over ranks that it has.

    One GPU sends nothing: what reducing its own gradients takes is copies, and counts as other.
    """
    if parts.slowest is not None:
        known: Mapping[str, float | None] = parts.slowest.parts
    else:
        names = [name for fill in FILLS for name in fill.fields if name != "wait"]
        known = {name: getattr(parts, name) for name in names} | {"wait": parts.straggler_wait}
    copies = known.get("communication")
    if gpus > 1 or copies is None:
        return known
    return {**known, "communication": None, "other": (known.get("other") or 0.0) + copies}


def _sum(parts: Mapping[str, float | None], fill: Fill) -> float:
    """A negative rest of rounding is nothing."""
    return max(0.0, sum(parts.get(name) or 0.0 for name in fill.fields))
