"""Engines on the same work: memory of a GPU against images a second, and what none beats in both (Pareto). An edge."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from launchers.text import grouped
from vit_sweep.analysis.certificates import Certificates
from vit_sweep.plan.predict.memory import used_mib
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.sheet.axes import sheet_of
from vit_sweep.report.figures.sheet.panels import MOST_PANELS, differing, label_of, run_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import QUIET, CurveStyle, curve_handles, curve_styles, number
from vit_sweep.report.tables.comparisons.pairs import compared_engines, saved_and_paid
from vit_sweep.report.tables.parts import Conditions, engine_labels, without
from vit_sweep.runs.run import Run, counted, within

NAME = "engines"
_GIB = 1024.0
_EXPECTED: dict[str, Any] = {"lw": 0.9, "ls": ":", "marker": "x", "ms": 4.5, "markevery": [-1], "zorder": 2.5}
"""Of the line from where an engine was measured to where the plan expects it."""


class Engine(NamedTuple):
    """One engine on one work."""

    images_per_s: float
    memory_gib: float
    name: str
    certified: bool
    expected: tuple[float, float] | None = None
    """Images a second and GiB that the plan expects, seen from the engine that it is compared with."""


def draw_engines(runs: Sequence[Run], folder: Path | None) -> Figure | Skipped:
    """Draw each engine of every work that several did, a panel for each; hollow without a certificate that holds."""
    works = grouped(
        (_work(run), run) for run in runs if run.timed and run.memory_mib and run.images and not run.oversubscribed
    )
    several = [work for work in works.values() if len({within(run.conditions, ("engine",)) for run in work}) > 1]
    works_shown = several[:MOST_PANELS]
    if not works_shown:
        return Skipped(name=NAME, reason="no work was done by several engines whose memory on a GPU is known")
    certificates = Certificates(runs)
    labels = engine_labels(run.conditions for work in works_shown for run in work)
    panels = [_engines(work, certificates, labels) for work in works_shown]
    styles = curve_styles(list(dict.fromkeys(engine.name for panel in panels for engine in panel)))
    expected = any(engine.expected for panel in panels for engine in panel)
    hollow = any(not engine.certified for panel in panels for engine in panel)
    traits = [dict(without(tuple(run_traits(work[0]).items()), "engine")) for work in works_shown]
    titles = [label_of(trait, differing(traits)) for trait in traits]
    unit = counted(run for work in works_shown for run in work)
    handles, y = _legend(styles, hollow=hollow, expected=expected), "memory of a GPU (GiB)"
    sheet, axes = sheet_of(titles, handles, x=f"{unit}/s", y=y, share_x=False, share_y="none")
    for panel_axes, panel in zip(axes, panels, strict=True):
        _draw_panel(panel_axes, panel, styles)
    notes = " Hollow: no certificate says that the engine trains what the others do." if hollow else ""
    if expected:
        notes += (
            " Cross: where the plan expects the engine, from what was measured of the one that the table engines "
            "compares it with."
        )
    return save(
        sheet,
        folder,
        NAME,
        pooled=[run for work in works_shown for run in work],
        title="Engines: memory against speed",
        caption=f"Most memory used of a GPU, CUDA context included, against {unit} of an epoch over its time; the best "
        f"lie to the right and below. Line: certified engines that no other beats in both.{notes}",
        alt=_alt(panels, unit),
    )


def _work(run: Run) -> Hashable:
    return (without(run.conditions, "engine"), run.work, run.micro_batch, run.accum, run.gpus, run.nodes)


def _engines(runs: Sequence[Run], certificates: Certificates, labels: Mapping[Conditions, str]) -> list[Engine]:
    return [
        Engine(*_measured(pool), labels[within(pool[0].conditions, ("engine",))], certified, _expected(pool, reference))
        for pool, reference, certified, _ in compared_engines(runs, certificates)
    ]


def _measured(runs: Sequence[Run]) -> tuple[float, float]:
    """Images a second and GiB of one engine's runs."""
    return (
        median((run.images or 0) / median(run.epoch_s) for run in runs),
        used_mib(max(run.memory_mib or 0.0 for run in runs)) / _GIB,
    )


def _expected(runs: Sequence[Run], reference: Sequence[Run] | None) -> tuple[float, float] | None:
    if reference is None:
        return None
    plan, (images_per_s, memory_gib) = saved_and_paid(runs, reference), _measured(reference)
    time_ratio, saved = plan["time_ratio_predicted"], plan["memory_saved_predicted"]
    return (images_per_s / time_ratio, memory_gib * (1 - saved)) if time_ratio and saved is not None else None


def pareto(engines: Sequence[Engine]) -> list[Engine]:
    """The certified ones that no other beats or equals in both, fastest first."""
    front: list[Engine] = []
    for engine in sorted((e for e in engines if e.certified), key=lambda e: (-e.images_per_s, e.memory_gib)):
        if not front or engine.memory_gib < front[-1].memory_gib:
            front.append(engine)
    return front


def _draw_panel(axes: Axes, engines: Sequence[Engine], styles: dict[str, CurveStyle]) -> None:
    front = pareto(engines)
    axes.plot(
        [e.images_per_s for e in front],
        [e.memory_gib for e in front],
        color=QUIET,
        lw=1.0,
        drawstyle="steps-post",
        zorder=2,
    )
    for engine in engines:
        style = styles[engine.name]
        if engine.expected is not None:
            xs, ys = zip((engine.images_per_s, engine.memory_gib), engine.expected, strict=True)
            axes.plot(xs, ys, color=style.color, **_EXPECTED)
        axes.plot(
            [engine.images_per_s],
            [engine.memory_gib],
            linestyle="none",
            marker=style.marker,
            ms=5.5,
            mec=style.color,
            mfc=style.color if engine.certified else "white",
            zorder=3,
        )
    marks = [*((e.images_per_s, e.memory_gib) for e in engines), *(e.expected for e in engines if e.expected)]
    axes.set_xlim(0, 1.08 * max(images_per_s for images_per_s, _ in marks))
    axes.set_ylim(0, 1.12 * max(memory_gib for _, memory_gib in marks))


def _legend(styles: dict[str, CurveStyle], *, hollow: bool, expected: bool) -> list[Any]:
    handles: list[Any] = [*curve_handles(styles, line=False)]
    handles.append(Line2D([], [], color=QUIET, lw=1.0, label="none is faster and smaller"))
    if hollow:
        handles.append(Line2D([], [], linestyle="none", marker="o", mec=QUIET, mfc="white", label="not certified"))
    if expected:
        handles.append(Line2D([], [], color=QUIET, label="to what the plan expects", **_EXPECTED))
    return handles


def _alt(panels: Sequence[Sequence[Engine]], unit: str) -> str:
    clauses = []
    for panel in panels[:3]:
        fast, small = max(panel), min(panel, key=lambda engine: engine.memory_gib)
        clauses.append(
            f"Fastest is {fast.name} with {number(fast.images_per_s)} {unit}/s and {number(fast.memory_gib)} GiB, "
            f"smallest {small.name} with {number(small.images_per_s)} {unit}/s and {number(small.memory_gib)} GiB."
        )
    return f"Scatter plot of GPU memory against {unit} per second by engine, with the Pareto front. {' '.join(clauses)}"
