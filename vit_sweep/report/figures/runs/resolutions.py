"""Larger images: their speed, their memory, and the largest that fits. An edge."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes

from vit_sweep.analysis.resolutions import Resolutions, resolutions
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.sheet.axes import sheet_of, width_of
from vit_sweep.report.figures.sheet.panels import differing, label_of, run_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import (
    MOST_STYLES,
    QUIET,
    CurveStyle,
    curve_handles,
    curve_styles,
    gpu_axis,
    number,
    value_axis,
)
from vit_sweep.runs.run import Run, counted

NAME = "resolutions"
_GIB = 1024.0
_OF_EACH = ("gpus", "nodes", "model.image_size", "work")


def draw_resolutions(runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    """Draw images a second and memory against the size of an image, and the largest size that was trained against GPUs.

    Of more groups than there are styles, those on the most GPUs of each degree.
    """
    groups = resolutions(run for run in runs if not run.oversubscribed)
    if not groups:
        return Skipped(name=NAME, reason="no two image sizes were run on equal GPUs")
    drawn = groups if len(groups) <= MOST_STYLES else _on_most_gpus(groups)[:MOST_STYLES]
    styles = curve_styles(list(dict.fromkeys(_labels(drawn, *_OF_EACH[1:]))))
    memory = any(run.memory_mib for group in drawn for runs in group.trained.values() for run in runs)
    sheet, axes = sheet_of([""] * (3 if memory else 2), curve_handles(styles), share_x=False, share_y="none")
    for group, style in zip(drawn, [styles[label] for label in _labels(drawn, *_OF_EACH[1:])], strict=True):
        rates = [(size, _rate(runs)) for size, runs in group.trained.items()]
        _curve(axes[0], [(size, rate) for size, rate in rates if rate], style)
        if memory:
            _memory(axes[1], group, style)
    _sizes(axes[0], drawn, f"{counted(run for group in groups for runs in group.trained.values() for run in runs)}/s")
    if memory:
        _sizes(axes[1], drawn, "memory of a GPU (GiB)")
    _largest(axes[-1], groups)
    dotted = " Dotted: memory as predicted." if memory else ""
    return save(
        sheet,
        folder,
        NAME,
        pooled=[run for group in groups for runs in group.trained.values() for run in runs],
        title="Larger images",
        caption="Images of an epoch over its time, and the largest image that was trained, by GPUs and the ranks that "
        f"share its tokens (sequence).{dotted}",
        alt=_alt(groups),
    )


def _on_most_gpus(groups: Sequence[Resolutions]) -> list[Resolutions]:
    most: dict[Hashable, Resolutions] = {}
    for group in groups:
        known = most.setdefault(group.conditions, group)
        most[group.conditions] = max(known, group, key=lambda candidate: candidate.first.gpus)
    return list(most.values())


def _labels(groups: Sequence[Resolutions], *but: str) -> list[str]:
    traits = [{k: v for k, v in run_traits(group.first).items() if k not in but} for group in groups]
    telling = differing(traits)
    return [label_of(trait, telling) for trait in traits]


def _rate(runs: Sequence[Run]) -> float | None:
    rates = [run.images / median(run.epoch_s) for run in runs if run.images]
    return median(rates) if rates else None


def _curve(axes: Axes, points: Sequence[tuple[int, float]], style: CurveStyle) -> None:
    axes.plot([x for x, _ in points], [y for _, y in points], **style.look)


def _memory(axes: Axes, group: Resolutions, style: CurveStyle) -> None:
    measured = {s: max((run.memory_mib or 0.0 for run in runs), default=0.0) for s, runs in group.trained.items()}
    _curve(axes, [(size, mib / _GIB) for size, mib in measured.items() if mib], style)
    predicted = [(size, runs[0].memory_predicted_mib) for size, runs in group.by_size.items()]
    known = [(size, mib / _GIB) for size, mib in predicted if mib]
    axes.plot([x for x, _ in known], [y for _, y in known], color=style.color, linestyle=":", lw=0.9)


def _sizes(axes: Axes, groups: Sequence[Resolutions], label: str) -> None:
    gpu_axis(axes, [size for group in groups for size in group.by_size], label="image (px)", width_in=width_of(3))
    heights = [float(y) for line in axes.get_lines() for y in list(line.get_ydata())]  # type: ignore[arg-type]
    value_axis(axes, heights, log=True)
    axes.set_ylabel(label)


def _largest(axes: Axes, groups: Sequence[Resolutions]) -> None:
    """One mark for each group; what differs beside the GPUs is written beside the last of its kind."""
    labels = _labels(groups, *_OF_EACH)
    named: dict[tuple[int, int], list[str]] = {}
    for label in dict.fromkeys(labels):
        points = sorted((g.first.gpus, max(g.trained)) for g, own in zip(groups, labels, strict=True) if own == label)
        axes.plot([x for x, _ in points], [y for _, y in points], color=QUIET, marker="o", ms=3, lw=0.8)
        named.setdefault(points[-1], []).append(label)
    fewest = min(group.first.gpus for group in groups)
    for point, labels_there in named.items():
        # Into the panel: left of the first mark lie the numbers of the axis.
        away, side = (2, "left") if point[0] == fewest else (-2, "right")
        axes.annotate("\n".join(labels_there), point, xytext=(away, 3), textcoords="offset points", ha=side, fontsize=6)
    gpu_axis(axes, [group.first.gpus for group in groups], width_in=width_of(3))
    value_axis(axes, [float(max(group.trained)) for group in groups], log=False)
    axes.set_ylabel("largest image (px)")


def _alt(groups: Sequence[Resolutions]) -> str:
    parts = []
    for group, label in zip(groups, _labels(groups, *_OF_EACH), strict=True):
        size = max(group.trained)
        rate = _rate(group.trained[size])
        named = ", ".join(filter(None, (f"gpus={group.first.gpus}", label)))
        parts.append(f"{named}: up to {size:,} px" + (f" at {number(rate)} images/s" if rate else ""))
    return f"Line charts of speed, memory and the largest trained image by size and GPUs. {'; '.join(parts)}."
