"""The figures of a report: drawn and chosen. An edge."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vit_sweep.analysis.laws.fitted import Fit
from vit_sweep.analysis.laws.predicting import best
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.overlay import Kind, Overlay, Quantity
from vit_sweep.report.figures.sheet.style import theme
from vit_sweep.report.figures.speedup import draw_against_ideal, ratios_of

HEADLINES = ("strong_speedup", "weak_efficiency", "strong_efficiency", "strong_time", "weak_time")
"""The first of these that there is leads the report."""
_MOST_FITS = 3
"""Series up to which their fitted lines are drawn too; more would hide what was measured."""
_POINTS = 60


def drawn_figures(drawn: Iterable[Figure | Skipped], *, prefix: str = "") -> tuple[Figure, ...]:
    """Those that were made; `prefix` keeps names apart on one page."""
    return tuple(replace(figure, name=prefix + figure.name) for figure in drawn if isinstance(figure, Figure))


def skipped(drawn: Iterable[Figure | Skipped]) -> tuple[str, ...]:
    """Why the others were not."""
    return tuple(f"{figure.name}: {figure.reason}" for figure in drawn if isinstance(figure, Skipped))


def headline(figures: Sequence[Figure]) -> Figure | None:
    """The figure that leads."""
    by_name = {figure.name: figure for figure in figures}
    return next((by_name[name] for name in HEADLINES if name in by_name), None)


def draw_with_published(
    own: Mapping[Scaling, Sequence[ScalingSeries]], published: Sequence[ScalingSeries], folder: Path
) -> list[Figure | Skipped]:
    """Speedup and efficiency with the published curves in the background, in a folder of their own."""
    drawn: list[Figure | Skipped] = []
    with theme():
        for mode in Scaling:
            others = [curve for curve in published if curve.key.scaling is mode]
            if not others:
                continue
            drawn += [
                draw_against_ideal(quantity, mode, own[mode], folder, reference=others) for quantity in ratios_of(mode)
            ]
    return drawn


def fitted_lines(fits: Sequence[tuple[ScalingSeries, Sequence[Fit]]]) -> list[Overlay]:
    """The chosen law of each series over its measured range; none of a mode with many series."""
    lines: list[Overlay] = []
    for mode in Scaling:
        fitted = [
            (series, law) for series, candidates in fits if series.key.scaling is mode and (law := best(candidates))
        ]
        if len(fitted) <= _MOST_FITS:
            lines += [line for series, law in fitted for line in _lines(series, law)]
    return lines


def _lines(series: ScalingSeries, law: Fit) -> list[Overlay]:
    counts = _counts(min(law.counts), max(law.counts))
    times = [law.time_s(gpus) for gpus in counts]
    label = f"{law.name}, {series.label}" if series.label else law.name
    lines = {Quantity.TIME: times}
    base = law.baseline_gpus
    if base is not None:
        strong = series.key.scaling is Scaling.STRONG
        ratios = [law.time_s(base) / time for time in times]
        scaled = [ratio * gpus / base for ratio, gpus in zip(ratios, counts, strict=True)]
        shares = [ratio / gpus * base for ratio, gpus in zip(ratios, counts, strict=True)]
        lines |= {
            Quantity.SPEEDUP: ratios if strong else scaled,
            Quantity.EFFICIENCY: shares if strong else ratios,
        }
    return [
        Overlay(
            kind=Kind.FITTED,
            label=label,
            scaling=series.key.scaling,
            quantity=quantity,
            gpus=tuple(map(float, counts)),
            values=tuple(values),
        )
        for quantity, values in lines.items()
    ]


def _counts(least: int, most: int) -> list[int]:
    """Whole GPU counts, evenly spaced on a doubling scale."""
    ratio = (most / least) ** (1 / _POINTS) if most > least else 1.0
    return sorted({round(least * ratio**step) for step in range(_POINTS + 1)})
