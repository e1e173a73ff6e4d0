"""Where the time of an epoch goes: stacked bars by GPUs and by batch (figures 4 to 6, 8, 9, 16, 17). An edge."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from launchers.text import grouped, plural
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Scaling
from vit_sweep.record.stats import SlowestRank
from vit_sweep.report.figure import Figure, Skipped
from vit_sweep.report.figures.curves import intervals_text
from vit_sweep.report.figures.fills import UNKNOWN, Bar, draw_bars, fill_handles, parts_of
from vit_sweep.report.figures.sheet.axes import columns_of, label_panels, sheet_of
from vit_sweep.report.figures.sheet.panels import MOST_PANELS, arrange, differing, label_of, left_out, series_traits
from vit_sweep.report.figures.sheet.save import save
from vit_sweep.report.figures.sheet.style import number, value_axis
from vit_sweep.report.figures.times import no_time
from vit_sweep.runs.run import Run

_FEW = 4
"""Panels that have room for a second row with shares."""


def draw_parts(scaling: Scaling, series: Sequence[ScalingSeries], folder: Path | None) -> Figure | Skipped:
    """Draw a panel for each series: seconds of an epoch by part, and the shares below where few panels leave room.

    Many strong series get shares only, since a long first bar would hide the rest; their seconds are in the other
    figures.
    """
    name = f"{scaling.value}_parts"
    split = [s for s in series if any(bar.parts for bar in _bars(s))]
    if not split:
        reason = no_time(scaling, series) or f"no run of {scaling.value} scaling was measured in parts of a step"
        return Skipped(name=name, reason=reason)
    layout = arrange(series_traits(split), most=1)
    named = all(s.label for s in split) and len({s.label for s in split}) == len(split)
    if named and 1 < len(split) <= _FEW:
        titled = [(split[i].label, _bars(split[i])) for panel in layout.panels for i, _ in panel.curves]
    else:
        titled = [(panel.title, _bars(split[panel.curves[0][0]])) for panel in layout.panels]
    return _draw(
        titled,
        folder,
        name,
        x="GPUs",
        left_out=layout.left_out,
        shares_only=scaling is Scaling.STRONG,
        title=f"{scaling.value.capitalize()} scaling: where the time of an epoch goes",
        noun="GPU",
        pooled=[run for curve in split for run in curve.timed_runs],
    )


def draw_batches(series: Sequence[ScalingSeries], folder: Path | None) -> Figure | Skipped:
    """Draw a panel for each GPU count: time of an epoch by batch, in parts where they are known."""
    name = "batch_time"
    series = [curve for curve in series if any(point.time_s for point in curve.points)]
    traits = series_traits(series)
    # An engine's name says its switches: a title has no room for what others in it tell already.
    differ = differing([{n: v for n, v in trait.items() if n not in ("batch", "accum")} for trait in traits])
    groups = grouped((label_of(trait, differ), index) for index, trait in enumerate(traits))
    titled: list[tuple[str, list[Bar]]] = []
    pooled: list[Run] = []
    for group, members in groups.items():
        names = [n for n in ("batch", "accum") if len({traits[i][n] for i in members}) > 1]
        places = sorted({(p.gpus, p.nodes or 0) for i in members for p in series[i].points})
        for gpus, nodes in places:
            points = [
                (i, p)
                for i in sorted(members, key=lambda i: (series[i].key.batch or 0, series[i].key.accum or 0))
                for p in series[i].points
                if (p.gpus, p.nodes or 0) == (gpus, nodes) and p.time_s and not p.oversubscribed
            ]
            bars = [Bar(_short_batch(traits[i], names), p.time_s, parts_of(p.runs)) for i, p in points]
            where = plural(nodes, "node") if sum(count == gpus for count, _ in places) > 1 and nodes else ""
            if len(bars) > 1:
                pooled += [run for _, p in points for run in p.runs]
                titled.append((", ".join(x for x in (group, plural(gpus, "GPU"), where) if x), bars))
    if not titled:
        return Skipped(name=name, reason="no two batch sizes were timed on the same GPU count, all else equal")
    return _draw(
        titled[:MOST_PANELS],
        folder,
        name,
        x=_batch_axis(series),
        left_out=left_out(len(titled) - MOST_PANELS),
        shares_only=False,
        noun="batch",
        title="Time of an epoch by batch",
        pooled=pooled,
    )


def _draw(
    titled: Sequence[tuple[str, list[Bar]]],
    folder: Path | None,
    name: str,
    *,
    x: str,
    left_out: str,
    shares_only: bool,
    title: str,
    noun: str,
    pooled: Iterable[Run],
) -> Figure:
    bars = [bar for _, some in titled for bar in some]
    few = len(titled) <= _FEW
    known = any(bar.parts for bar in bars)
    kinds = ([False, True] if few else [shares_only]) if known and noun == "GPU" else [False]
    mark = Line2D([], [], color="0.05", marker="D", ms=3, mfc="white", linestyle="none", label="measured epoch")
    handles = [*fill_handles(bars), *([] if kinds == [True] else [mark])]
    columns = len(titled) if len(kinds) == 2 else columns_of(len(titled))
    alike = _alike(titled)
    sheet, axes = sheet_of(
        [label for label, _ in titled],
        handles,
        rows_each=len(kinds),
        share_x=False,
        share_y="row" if alike else "none",
        height_in=1.75 if len(kinds) == 2 else 0.0,
        columns=columns,
        left_out=left_out,
    )
    for kind, share in enumerate(kinds):
        row_axes = axes[kind :: len(kinds)]
        for panel, (_, some) in zip(row_axes, titled, strict=True):
            draw_bars(panel, some, share=share)
        for panel in row_axes:
            if share:
                panel.set_ylim(0, 1)
                panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if not share:
            scales = [bars] * len(row_axes) if alike else [some for _, some in titled]
            for panel, some in zip(row_axes, scales, strict=True):
                value_axis(panel, [_height(bar) for bar in some], log=False)
        last = kind == len(kinds) - 1
        label_panels(
            row_axes, x=x if last else "", y="share of a step" if share else "time of an epoch (s)", columns=columns
        )
        for panel in row_axes:
            panel.tick_params(labelbottom=True)
    pooled = list(pooled)
    caption = _caption(bars, kinds, noun, left_out, pooled)
    return save(sheet, folder, name, title=title, caption=caption, alt=_alt(titled, noun), pooled=pooled)


def _caption(bars: Sequence[Bar], kinds: Sequence[bool], noun: str, left_out: str, pooled: Sequence[Run]) -> str:
    """What must be known to read the bars; `kinds` says of each row whether it shows shares."""
    known = [run for run in pooled if run.parts is not None]
    whose = "of the rank that computes longest" if all(_slowest(run) for run in known) else "as their source has them"
    sentences = [
        f"Parts of a step {whose}, times the steps of an epoch; means over runs." if known else "",
        "Shares of a step, in per cent." if kinds == [True] else "",
        intervals_text([bar.time_s for bar in bars]) if False in kinds else "",
        "Below a count of GPUs: on so many nodes." if noun == "GPU" and any("\n" in bar.label for bar in bars) else "",
        "White: not measured." if any(b.parts[UNKNOWN.name] if b.parts else b.time_s for b in bars) else "",
        "No communication where the engine hides it in other phases (ZeRO 1 to 3)."
        if any(slowest.communication is None for run in known if run.gpus > 1 and (slowest := _slowest(run)))
        else "",
        f"{left_out}." if left_out else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _slowest(run: Run) -> SlowestRank | None:
    """The parts of its one slowest rank; None where only figures over ranks are known."""
    return run.parts.slowest if run.parts is not None else None


def _bars(series: ScalingSeries) -> list[Bar]:
    timed = [p for p in series.points if p.time_s and not p.oversubscribed]
    several = {p.gpus for p in timed if sum(other.gpus == p.gpus for other in timed) > 1}
    return [
        Bar(
            f"{p.gpus:,}" + (f"\non {p.nodes}" if p.gpus in several and p.nodes else ""),
            p.time_s,
            parts_of([run for run in p.runs if not run.oversubscribed]),
        )
        for p in timed
    ]


def _height(bar: Bar) -> float:
    time = (bar.time_s.high or bar.time_s.value) if bar.time_s else 0.0
    return max(time, sum(bar.parts.values()) if bar.parts else 0.0)


def _alike(titled: Sequence[tuple[str, list[Bar]]]) -> bool:
    """Whether one scale shows all panels."""
    tops = [max((_height(bar) for bar in bars), default=0.0) for _, bars in titled]
    return min(tops) > 0 and max(tops) <= 3 * min(tops)


def _alt(titled: Sequence[tuple[str, list[Bar]]], noun: str, *, most: int = 6) -> str:
    clauses = []
    for label, bars in titled[:most]:
        ends = [bars[0], bars[-1]] if len(bars) > 1 else bars[:1]
        bar_texts = "; ".join(f"{_noun(bar.label, noun)}: {_bar_text(bar)}" for bar in ends)
        clauses.append(f"{label + ': ' if label else ''}{bar_texts}.")
    more = f" And {plural(len(titled) - most, 'further panel')}." if len(titled) > most else ""
    return f"Stacked bars of the time of an epoch, {plural(len(titled), 'panel')}. {' '.join(clauses)}{more}"


def _noun(label: str, noun: str) -> str:
    if noun != "GPU":
        return f"{noun} {label}".replace("\n", " ")
    gpus, _, place = label.partition("\n")
    nodes = int(place.removeprefix("on ") or 0)
    return plural(int(gpus.replace(",", "")), "GPU") + (f" on {plural(nodes, 'node')}" if place else "")


def _bar_text(bar: Bar) -> str:
    time = f"{number(bar.time_s.value)} s" if bar.time_s else "no time"
    if not bar.parts or not sum(bar.parts.values()):
        return time
    total = sum(bar.parts.values())
    shares = [f"{name} {100 * part / total:.0f}%" for name, part in bar.parts.items() if part / total >= 0.005]
    return f"{time} ({', '.join(shares)})"


def _short_batch(traits: dict[str, str], names: Sequence[str]) -> str:
    """Of the axis: the batch, with the accumulation below it where that differs too."""
    if names == ["accum"]:
        return traits["accum"]
    return traits["batch"] + (f"\nx {traits['accum']}" if "accum" in names else "")


def _batch_axis(series: Sequence[ScalingSeries]) -> str:
    per = {s.key.batch_per for s in series}
    batches = {s.key.batch for s in series}
    if len(batches) == 1:
        return "micro steps per step"
    return {frozenset({"gpu"}): "batch per GPU", frozenset({"global"}): "global batch"}.get(frozenset(per), "batch")
