"""Figures of scaling curves: time and speedup (strong), time and efficiency (weak). An edge; seaborn lives here.

Colours come from seaborn's colour-blind palette and every curve has its own marker, so that the figures
also read in grey. Oversubscribed runs are hollow: their times say nothing about scaling.
"""

import os
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from vit_sweep.point import Scaling
from vit_sweep.scaling import Row, variants

_LABELS = {
    "model": "{}", "data": "{}", "precision": "{}", "engine": "{}", "optimizer": "{}", "partition": "{}",
    "placement": "{}", "batch_per": "per {}", "batch": "batch {}", "accum": "accum {}", "seed": "seed {}",
    "epochs": "{} epochs", "variant": "{}", "work": "{} images",
}  # fmt: skip


def draw(mode: Scaling, curves: list[list[Row]], folder: Path) -> list[Path]:
    """Draw the two panels of one scaling mode; returns the PNG and SVG files."""
    folder.mkdir(exist_ok=True)
    frame = _frame(curves)
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=1.1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    ratio = "speedup" if mode is Scaling.STRONG else "efficiency"
    _panel(left, frame, "epoch_s")
    _panel(right, frame, ratio)
    gpus = sorted(frame["gpus"].unique())
    left.set(
        ylabel="epoch time, s (median)",
        title=f"{mode.value} scaling: time",
        ylim=(0, 1.1 * frame["epoch_s"].max()),
    )
    _gpu_axis(left, gpus)
    base = frame.loc[frame["baseline_gpus"].notna(), "baseline_gpus"]
    if mode is Scaling.STRONG:
        first = min(base) if len(base) else 1
        right.plot(gpus, [g / first for g in gpus], ls="--", color="0.4", lw=1.2, label="ideal", zorder=1)
        right.set_yscale("log", base=2)
        right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        right.set(ylabel="speedup, T(p0) / T(p)", title="strong scaling: speedup")
    else:
        right.axhline(1.0, ls="--", color="0.4", lw=1.2, label="ideal", zorder=1)
        right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        right.set(ylabel="efficiency, T(p0) / T(p)", title="weak scaling: efficiency")
        right.set_ylim(0, 1.1 * max(1.0, frame["efficiency"].astype(float).max(skipna=True) or 1.0))
    _gpu_axis(right, gpus)
    if not frame[ratio].notna().any():
        right.text(0.5, 0.5, "no baseline with a time yet", ha="center", transform=right.transAxes, color="0.3")
    handles, labels = _legend(right, frame)
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))), frameon=False)
    paths = [folder / f"{mode.value}_scaling.{suffix}" for suffix in ("png", "svg")]
    for path in paths:
        # Several clients may draw at once.
        partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        # No date in the file: the same records draw the same bytes.
        figure.savefig(
            partial,
            dpi=160,
            format=path.suffix[1:],
            metadata={"Date": None} if path.suffix == ".svg" else None,
        )
        partial.replace(path)
    plt.close(figure)
    return paths


def _frame(curves: list[list[Row]]) -> pd.DataFrame:
    """One line per point, with a curve label of just what tells the curves apart."""
    said = variants(curve[0].key for curve in curves)
    keys = [curve[0].key._asdict() | {"variant": said[curve[0].key]} for curve in curves]
    telling = [name for name in _LABELS if len({key[name] for key in keys}) > 1]
    rows: list[dict[str, Any]] = []
    for curve, key in zip(curves, keys, strict=True):
        label = ", ".join(_LABELS[name].format(key[name]) for name in telling) or f"batch {key['batch']}"
        rows += [
            {
                "curve": label, "gpus": row.gpus, "epoch_s": row.epoch_s, "speedup": row.speedup,
                "efficiency": row.efficiency, "oversubscribed": row.oversubscribed,
                "baseline_gpus": row.baseline_gpus,
            }
            for row in curve
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _panel(axes: Axes, frame: pd.DataFrame, y: str) -> None:
    sound = frame[frame[y].notna() & ~frame["oversubscribed"]]
    order = list(dict.fromkeys(frame["curve"]))
    if len(sound):
        sns.lineplot(
            data=sound, x="gpus", y=y, hue="curve", style="curve", hue_order=order, style_order=order,
            markers=True, dashes=False, errorbar=None, markersize=8, ax=axes, legend=False,
        )  # fmt: skip
    crowded = frame[frame[y].notna() & frame["oversubscribed"]]
    palette = dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True))
    for curve, points in crowded.groupby("curve", sort=False):
        axes.plot(points["gpus"], points[y], ls="none", marker="o", mfc="none", color=palette[str(curve)])


def _gpu_axis(axes: Axes, gpus: list[int]) -> None:
    """Put a tick on every GPU count that was run, on a doubling scale."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(gpus))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("GPUs")


def _legend(right: Axes, frame: pd.DataFrame) -> tuple[list[Any], list[str]]:
    order = list(dict.fromkeys(frame["curve"]))
    colors = sns.color_palette("colorblind", len(order))
    markers = ["o", "X", "s", "P", "D", "^", "v", "p"]
    handles: list[Any] = [
        Line2D([], [], color=color, marker=markers[i % len(markers)], label=label)
        for i, (label, color) in enumerate(zip(order, colors, strict=True))
    ]
    handles += [line for line in right.get_lines() if line.get_label() == "ideal"]
    if frame["oversubscribed"].any():
        handles.append(
            Line2D(
                [],
                [],
                ls="none",
                marker="o",
                mfc="none",
                color="0.3",
                label="oversubscribed (not comparable)",
            )
        )
    return handles, [handle.get_label() for handle in handles]
