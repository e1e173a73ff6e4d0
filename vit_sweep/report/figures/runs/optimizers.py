"""Optimizers on the same work: time to an accuracy, with intervals over seeds. An edge."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import plural
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.curves import intervals_text, whiskers
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.panels import MOST_PANELS, differing, label_of
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import COLORS, QUIET, number
from vit_sweep.report.tables.form.columns import CONFIGURATION
from vit_sweep.report.tables.form.table import HIGH, LOW, Cells
from vit_sweep.runs.run import Run

NAME = "optimizers"
_TIME, _EXCEEDS = "time_to_accuracy_s", "to_accuracy_exceeds_s"
_WORK = (
    *(name for name in CONFIGURATION if name not in ("optimizer", "variant")),
    "epochs",
    "work",
    "nodes",
    "target_accuracy",
)


class Optimizer(NamedTuple):
    """One optimizer on one work."""

    name: str
    time_s: Estimate | None
    """None where a seed never reached the target."""
    exceeds_s: float
    """What the time is above, where it is not known; else the time."""
    reached: int
    runs: int


def draw_optimizers(rows: Sequence[Cells], runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    """Draw the time to accuracy of each optimizer of every work that several did, a panel for each, soonest on top.

    `rows`: of the table **accuracy**, of these runs.
    """
    works: dict[Hashable, list[Cells]] = {}
    for row in rows:
        if row.get(_TIME) is not None or row.get(_EXCEEDS) is not None:
            works.setdefault(tuple(_traits(row).items()), []).append(row)
    several = [work for work in works.values() if len({row["optimizer"] for row in work}) > 1]
    if not several:
        return Skipped(name=NAME, reason="no work was done by several optimizers until a target accuracy")
    works_shown = several[:MOST_PANELS]
    panels = [
        sorted(map(_optimizer, work), key=lambda optimizer: (optimizer.time_s is None, optimizer.exceeds_s))
        for work in works_shown
    ]
    never = any(optimizer.time_s is None for panel in panels for optimizer in panel)
    traits = [_traits(work[0]) for work in works_shown]
    titles = [label_of(trait, differing(traits)) for trait in traits]
    targets = sorted({row["target_accuracy"] for work in works_shown for row in work})
    x = f"time to {_percent(targets)} test accuracy (s)"
    sheet, axes = sheet_of(titles, _legend() if never else (), x=x, share_x=False, share_y="none")
    for panel_axes, panel in zip(axes, panels, strict=True):
        _draw_panel(panel_axes, panel)
    run_ids = {name for work in works_shown for row in work for name in row["cell_id"].split()}
    not_drawn = len(several) - len(works_shown)
    return save(
        sheet,
        folder,
        NAME,
        pooled=[run for run in runs if run.run_id in run_ids],
        title="Optimizers: time to accuracy",
        caption=_caption(panels, targets) + (f" {plural(not_drawn, 'further panel')} not drawn." if not_drawn else ""),
        alt=_alt(panels, titles, targets),
    )


def _traits(row: Cells) -> dict[str, str]:
    """What is equal for optimizers that are compared, as words."""
    conditions = [text for text in (row.get("variant") or "").split(", ") if text and not text.startswith("optimizer.")]
    values = {name: row.get(name) for name in _WORK} | {
        "gpus": row["gpus"],
        "batch": row.get("micro_batch"),
        "accum": row.get("accum"),
    }
    return {name: "" if value is None else str(value) for name, value in values.items()} | dict(
        text.partition("=")[::2] for text in conditions
    )


def _optimizer(row: Cells) -> Optimizer:
    variant = (row.get("variant") or "").split(", ")
    keys = [text.removeprefix("optimizer.") for text in variant if text.startswith("optimizer.")]
    value = row.get(_TIME)
    time = None if value is None else Estimate(value=value, low=row[_TIME + LOW], high=row[_TIME + HIGH], n=row["n"])
    least = row[_EXCEEDS] if value is None else value
    return Optimizer(" ".join([row["optimizer"], *keys]), time, least, row["reached"], row["n"])


def _draw_panel(axes: Axes, optimizers: Sequence[Optimizer]) -> None:
    for height, optimizer in enumerate(optimizers):
        if optimizer.time_s is None:
            axes.plot([optimizer.exceeds_s], [height], linestyle="none", marker=">", mec=COLORS[0], mfc="white")
        else:
            bar = whiskers([optimizer.time_s])
            axes.errorbar(
                [optimizer.time_s.value],
                [height],
                xerr=bar,
                color=COLORS[0],
                marker="o",
                linestyle="none",
                elinewidth=0.9,
            )
    axes.set_yticks(range(len(optimizers)), [optimizer.name for optimizer in optimizers])
    axes.set_ylim(len(optimizers) - 0.5, -0.5)
    ends = [
        end
        for optimizer in optimizers
        for end in (optimizer.exceeds_s, optimizer.time_s.high if optimizer.time_s else None)
        if end
    ]
    axes.set_xlim(0, 1.08 * max(ends))


def _legend() -> list[Any]:
    return [
        Line2D([], [], linestyle="none", marker=">", mec=QUIET, mfc="white", label="longer: a seed never got there")
    ]


def _percent(targets: Sequence[float]) -> str:
    return " and ".join(f"{100 * target:g}%" for target in targets)


def _caption(panels: Sequence[Sequence[Optimizer]], targets: Sequence[float]) -> str:
    optimizers = [optimizer for panel in panels for optimizer in panel]
    never = [optimizer for optimizer in optimizers if optimizer.time_s is None]
    parts = [
        f"Time of all epochs until the test accuracy is {_percent(targets)} or more, test passes apart, rounded up to "
        "the end of an epoch; each with its own learning rate.",
        intervals_text([optimizer.time_s for optimizer in optimizers]),
        "An arrow stands where the median must exceed it, since a seed never got there." if never else "",
    ]
    return " ".join(filter(None, parts))


def _alt(panels: Sequence[Sequence[Optimizer]], titles: Sequence[str], targets: Sequence[float]) -> str:
    clauses = [
        f"{title + ': ' if title else ''}{', '.join(map(_words, panel))}."
        for panel, title in zip(panels[:3], titles, strict=False)
    ]
    return f"Dot plot of the seconds to {_percent(targets)} test accuracy by optimizer. {' '.join(clauses)}"


def _words(optimizer: Optimizer) -> str:
    if optimizer.time_s is not None:
        return f"{optimizer.name} {number(optimizer.time_s.value)} s"
    return (
        f"{optimizer.name} more than {number(optimizer.exceeds_s)} s, {optimizer.reached} of {optimizer.runs} got there"
    )
