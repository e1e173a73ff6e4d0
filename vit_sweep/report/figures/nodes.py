"""One node and several: time of an epoch by GPUs and nodes (figure 14 of the paper). An edge."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from launchers.text import plural
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.curves import draw_estimates, intervals_text
from vit_sweep.report.figures.fills import Box, draw_boxes
from vit_sweep.report.figures.sheet.axes import sheet_of, width_of
from vit_sweep.report.figures.sheet.panels import MOST_PANELS, left_out, without_placement
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import SMALL, number, value_axis

NODE_FILLS = (
    ("#1a80bb", ""),
    ("#f5c55f", "////"),
    ("#8f3d00", "...."),
    ("#7fb3d5", "xxxx"),
    ("#303030", "\\\\\\\\"),
    ("#fffffe", "++"),
    ("#8a6bb0", "||||"),
    ("#d9ead3", "oo"),
)
"""In the order of the counts of nodes that are drawn."""
_TEXT_POINTS = 4.2 * (SMALL - 1) * 0.6
"""Width of `+12 %` as it is written above a bar, in points."""


def node_fill(order: int) -> tuple[str, str]:
    """Colour and hatch of the count of nodes at this place: beyond the eighth the hatches move on by one colour."""
    turns, place = divmod(order, len(NODE_FILLS))
    return NODE_FILLS[place][0], NODE_FILLS[(place + turns) % len(NODE_FILLS)][1]


def draw_nodes(series: Sequence[ScalingSeries], folder: Path | None) -> Figure | Skipped:
    """Draw the time of an epoch by GPUs and nodes as bars side by side."""
    name = "nodes_time"
    timed = [s for s in series if any(p.nodes for p in s.timed)]
    if not any((p.nodes or 1) > 1 for s in timed for p in s.timed):
        return Skipped(name=name, reason="no timed run was on more than one node")
    groups = without_placement(timed)
    titled = [
        (title, {(p.gpus, p.nodes): p for s in members for p in s.timed if p.nodes})
        for title, members in list(groups.items())[:MOST_PANELS]
    ]
    nodes = sorted({count for _, times in titled for (_, count) in times})
    fills = {count: node_fill(order) for order, count in enumerate(nodes)}
    handles = [
        Patch(facecolor=color, hatch=hatch, edgecolor="0.15", lw=0.4, label=plural(count, "node"))
        for count, (color, hatch) in fills.items()
    ]
    left = left_out(len(groups) - len(titled))
    titles, y = [title for title, _ in titled], "time of an epoch (s)"
    sheet, axes = sheet_of(titles, handles, x="GPUs", y=y, share_x=False, share_y="none", wide=True, left_out=left)
    for panel, (_, times) in zip(axes, titled, strict=True):
        _draw_node_bars(panel, times, fills, width_in=width_of(len(titled)))
    return save(
        sheet,
        folder,
        name,
        title="One node and several",
        caption="Median time of a warm epoch. Per cent: against the fewest nodes with the same number of GPUs. "
        + intervals_text([p.time_s for _, times in titled for p in times.values()])
        + (f" {left}." if left else ""),
        pooled=[run for _, times in titled for p in times.values() for run in p.runs],
        alt=f"Bars of the time of an epoch by GPUs and nodes. {_nodes_text(titled)}",
    )


def _draw_node_bars(
    axes: Axes, times: dict[tuple[int, int], SeriesPoint], fills: dict[int, tuple[str, str]], *, width_in: float
) -> None:
    """Bars of one GPU count side by side, with the difference to the one of fewest nodes in per cent where there is
    room for it: upright above narrow bars, nowhere above bars narrower than a line of text."""
    gpus = sorted({g for g, _ in times})
    widest = max(sum(g == count for g, _ in times) for count in gpus)
    width = 0.84 / widest
    bar_points = 72 * width_in * width / (len(gpus) + 0.2)
    across, upright = bar_points >= _TEXT_POINTS, bar_points >= SMALL - 1
    boxes: dict[int, list[Box]] = {}
    spans: list[tuple[float, Estimate]] = []
    for x, count in enumerate(gpus):
        node_counts = sorted(n for g, n in times if g == count)
        first = times[count, node_counts[0]].time_s
        for order, nodes in enumerate(node_counts):
            time = times[count, nodes].time_s
            assert time is not None
            at = x + (order - (len(node_counts) - 1) / 2) * width
            boxes.setdefault(nodes, []).append(Box(at, time.value))
            if time.known:
                spans.append((at, time))
            if order and first and upright:
                axes.annotate(
                    _change(time.value / first.value),
                    (at, time.high or time.value),
                    xytext=(0, 2.5),
                    ha="center",
                    textcoords="offset points",
                    va="bottom",
                    fontsize=SMALL - 1,
                    rotation=0 if across else 90,
                )
    for nodes, some in boxes.items():
        draw_boxes(axes, some, color=fills[nodes][0], hatch=fills[nodes][1], width=0.94 * width)
    if spans:
        draw_estimates(axes, *zip(*spans, strict=True), color="0.05", linestyle="none", zorder=5)
    axes.set_xticks(range(len(gpus)), [f"{count:,}" for count in gpus])
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.6, len(gpus) - 0.4)
    value_axis(axes, [p.time_s.high or p.time_s.value for p in times.values() if p.time_s], log=False)


def _change(ratio: float) -> str:
    """In per cent, with its sign; nothing has none."""
    text = f"{100 * (ratio - 1):+.0f}%"
    return "0%" if text in ("+0%", "-0%") else text


def _nodes_text(titled: Sequence[tuple[str, dict[tuple[int, int], SeriesPoint]]]) -> str:
    clauses = []
    for title, times in titled[:4]:
        listed = "; ".join(
            f"{plural(gpus, 'GPU')} on {plural(nodes, 'node')} {number(p.time_s.value)} s"
            for (gpus, nodes), p in sorted(times.items())
            if p.time_s and gpus > 1
        )
        clauses.append(f"{title + ': ' if title else ''}{listed}.")
    return " ".join(clauses)
