"""The roofline: operations a second against operations a byte, under what the machine reached alone. An edge."""

from collections.abc import Mapping, Sequence
from functools import partial
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
_ONE_LINE = 0.7
"""Of a roof another one, from which on the label of the lower would lie on the upper."""


def draw_roofline(runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    """Draw each run's step as a point under the rates of products and of copies that the preflights reached."""
    ordered = sorted(runs, key=lambda run: run.gpus)
    points = [(run, under) for run in ordered if not run.oversubscribed and (under := roofline(run)) is not None]
    if not points:
        return Skipped(name=NAME, reason="no run has counted its bytes and measured the rates of products and memory")
    labels = _labels([run for run, _ in points])
    styles = curve_styles(list(dict.fromkeys(labels)))
    roofs = _roofs([run for run, _ in points])
    memory = max(run.memory_gb_per_s or 0.0 for run, _ in points)
    handles = [
        Line2D([], [], color=QUIET, lw=1.0, label="rate of copies in memory, then of matrix products (preflight)"),
        *curve_handles(styles, line=False),
    ]
    sheet, (axes,) = sheet_of([""], handles, x="FLOP per byte of memory traffic", y="TFLOP/s of a GPU")
    _draw_roofs(axes, roofs, memory, [under for _, under in points])
    for label, style in styles.items():
        labelled = [under for (_, under), of in zip(points, labels, strict=True) if of == label]
        scatter(axes, [(under.flop_per_byte, under.tflops) for under in labelled], style, size=20)
    return save(
        sheet,
        folder,
        NAME,
        pooled=(),
        title="Roofline of a step",
        caption="Operations that training must do over the median step, against the same over the bytes that the "
        "operations of a step read and write, each counted on its own: what caches and fused kernels save would move a "
        "point to the right. Roofs: the most that the preflights of these runs reached, of products in each precision.",
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


def _roofs(runs: Sequence[Run]) -> dict[str, float]:
    """The most TFLOP/s of products that a preflight reached, by precision: fp32's lie far below those of 16 bits."""
    roofs: dict[str, float] = {}
    for run in runs:
        precision = dict(run.conditions).get("precision", "")
        roofs[precision] = max(roofs.get(precision, 0.0), run.matmul_tflops or 0.0)
    return roofs


def _draw_roofs(axes: Axes, roofs: Mapping[str, float], memory_gb_per_s: float, points: Sequence[Roofline]) -> None:
    ridges = {name: 1000 * matmul_tflops / memory_gb_per_s for name, matmul_tflops in roofs.items()}
    low = min(*ridges.values(), *(point.flop_per_byte for point in points)) / 3
    high = max(*ridges.values(), *(point.flop_per_byte for point in points)) * 3
    top = max(roofs.values())
    bottom = min(low * memory_gb_per_s / 1000, *(point.tflops for point in points)) / 1.5
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom, 2 * top))
    line = partial(axes.plot, color=QUIET, lw=1.0, zorder=1.5)
    line([low, max(ridges.values())], [low * memory_gb_per_s / 1000, top])
    for names in _alike(roofs):
        line([ridges[names[0]], high], [roofs[names[0]]] * 2)
        if len(roofs) > 1:
            axes.annotate(
                ", ".join(names), (high, roofs[names[0]]), (-2, -2), textcoords="offset points", ha="right", va="top"
            )
    plain_log(axes.xaxis, log10(high / low))
    plain_log(axes.yaxis, log10(2 * top / bottom))


def _alike(roofs: Mapping[str, float]) -> list[list[str]]:
    """Precisions by roofs that would be one line to the eye; the highest of a group first."""
    groups: list[list[str]] = []
    for name in sorted(roofs, key=lambda name: -roofs[name]):
        if groups and roofs[name] > _ONE_LINE * roofs[groups[-1][0]]:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _alt(points: Sequence[tuple[Run, Roofline]]) -> str:
    run, best = max(points, key=lambda point: point[1].tflops / point[1].roof_tflops)
    return (
        f"Roofline of {plural(len(points), 'run')}. Nearest to the roof of its own preflight is one on "
        f"{plural(run.gpus, 'GPU')}: "
        f"{number(best.tflops)} of {number(best.roof_tflops)} TFLOP/s at {number(best.flop_per_byte)} FLOP per byte."
    )
