"""The roofline: operations a second against operations a byte, under what the machine reached alone. An edge."""

from collections.abc import Sequence
from math import log10
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import plural
from vit_sweep.analysis.bounds import Roofline, roofline
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.curves import scatter
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.panels import differing, label_of, run_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import MOST_STYLES, QUIET, curve_handles, curve_styles, number, plain_log
from vit_sweep.runs.run import Run

NAME = "roofline"


def draw_roofline(runs: Sequence[Run], folder: Path) -> Figure | Skipped:
    """Draw each run's step as a point under the rates of products and of copies that the preflights reached."""
    ordered = sorted(runs, key=lambda run: (run.gpus, run.run_id))
    points = [(run, under) for run in ordered if not run.oversubscribed and (under := roofline(run)) is not None]
    if not points:
        return Skipped(name=NAME, reason="no run has counted its bytes and measured the rates of products and memory")
    labels = _labels([run for run, _ in points])
    styles = curve_styles(list(dict.fromkeys(labels)))
    matmul = max(run.matmul_tflops or 0.0 for run, _ in points)
    memory = max(run.memory_gb_per_s or 0.0 for run, _ in points)
    handles = [
        Line2D([], [], color=QUIET, lw=1.0, label="rate of copies in memory, then of matrix products (preflight)"),
        *curve_handles(styles, line=False),
    ]
    sheet, (axes,) = sheet_of(1, handles)
    _draw_roof(axes, matmul, memory, [under for _, under in points])
    for label, style in styles.items():
        own = [under for (_, under), of in zip(points, labels, strict=True) if of == label]
        scatter(axes, [(under.flop_per_byte, under.tflops) for under in own], style, size=20)
    axes.set(xlabel="FLOP per byte of memory traffic", ylabel="TFLOP/s of a GPU")
    return save(
        sheet,
        folder,
        NAME,
        pooled=(),
        title="Roofline of a step",
        caption="Operations that training must do over the median step, against the same over the bytes that the "
        "operations of a step read and write, each counted on its own: what caches and fused kernels save would move a "
        "point to the right. Roof: the most that any of these runs' preflights reached.",
        alt=_alt(points),
    )


def _labels(runs: Sequence[Run]) -> list[str]:
    """By what differs, as long as there are styles for it; else by GPUs, else none."""
    traits = [{k: v for k, v in run_traits(run).items() if k not in ("nodes", "work", "epochs")} for run in runs]
    for names in (differing(traits), ["gpus"], []):
        labels = [label_of(trait, names) for trait in traits]
        if len(set(labels)) <= MOST_STYLES:
            break
    return labels


def _draw_roof(axes: Axes, matmul_tflops: float, memory_gb_per_s: float, points: Sequence[Roofline]) -> None:
    ridge = 1000 * matmul_tflops / memory_gb_per_s
    low = min(ridge, *(point.flop_per_byte for point in points)) / 3
    high = max(ridge, *(point.flop_per_byte for point in points)) * 3
    axes.plot(
        [low, ridge, high],
        [low * memory_gb_per_s / 1000, matmul_tflops, matmul_tflops],
        color=QUIET,
        lw=1.0,
        zorder=1.5,
    )
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    bottom = min(low * memory_gb_per_s / 1000, *(point.tflops for point in points)) / 1.5
    axes.set_ylim(bottom, 2 * matmul_tflops)
    plain_log(axes.xaxis, log10(high / low))
    plain_log(axes.yaxis, log10(2 * matmul_tflops / bottom))


def _alt(points: Sequence[tuple[Run, Roofline]]) -> str:
    run, best = max(points, key=lambda point: point[1].tflops / point[1].roof_tflops)
    return (
        f"Roofline of {plural(len(points), 'run')}. Nearest to the roof of its own preflight is one on "
        f"{plural(run.gpus, 'GPU')}: "
        f"{number(best.tflops)} of {number(best.roof_tflops)} TFLOP/s at {number(best.flop_per_byte)} FLOP per byte."
    )
