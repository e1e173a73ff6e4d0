"""Which curve goes into which panel, and what it is called there. Pure: no drawing.

A panel holds at most `MOST_STYLES` curves. Where there are more, they are laid out as small multiples by the axes that
tell them apart, so that the same colour means the same thing in every panel and one legend serves all.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from launchers.text import plural
from vit_sweep.analysis.series.series import ScalingSeries, SeriesKey
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.figures.sheet.style import MOST_STYLES
from vit_sweep.runs.run import Run

MOST_PANELS = 12
"""What fits on a page and can still be read."""

_WORDS = {
    "scaling": "{} scaling",
    "data": "{}",
    "model": "{}",
    "partition": "{}",
    "gpu_model": "{}",
    "engine": "{}",
    "precision": "{}",
    "optimizer": "{}",
    "batch": "batch {}",
    "accum": "accum {}",
    "placement": "{}",
    "gpus": "{} GPUs",
    "nodes": "{} nodes",
    "batch_per": "batch per {}",
    "work": "{} images",
    "epochs": "{} epochs",
    "seed": "seed {}",
}
"""How a value is said, most telling first: where two axes vary together the later one is left out."""
_LONGEST = 12
"""Characters of a number that is shown as it is."""
_RANK = {name: rank for rank, name in enumerate(_WORDS)}

Traits = Mapping[str, str]


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    """What its curves share and those of other panels do not; empty with one panel."""
    curves: tuple[tuple[int, str], ...]
    """Index of the item, and its label among the curves."""


class Arrangement(NamedTuple):
    """All panels of a figure."""

    panels: tuple[Panel, ...]
    labels: tuple[str, ...]
    """Of the legend, each once; one label has one style in all panels."""
    left_out: str = ""
    """What is not drawn for want of room; empty if everything is."""


def arrange(
    items: Sequence[Traits], *, apart: Sequence[str] = (), together: Sequence[str] = (), most: int = MOST_STYLES
) -> Arrangement:
    """Lay out items: in one panel if they can be told apart there, else by as few axes as will do.

    `apart` names axes whose values are never drawn in one panel, because they cannot be compared; `together` those
    that never make panels.
    """
    telling = differing(items, keep=(*apart, *together))
    forced = [name for name in telling if name in apart]
    free = [name for name in telling if name not in apart and name not in together]
    best = forced + free
    for size in range(len(free) + 1):
        fitting = [
            (panels, [_RANK.get(name, 99) for name in chosen], chosen)
            for chosen in combinations(free, size)
            for panels, labels in [_counts(items, telling, [*forced, *chosen])]
            if labels <= most
        ]
        if fitting:
            best = forced + list(min(fitting)[2])
            break
    inside = [name for name in telling if name not in best]
    by_title: dict[str, list[tuple[int, str]]] = {}
    for index in sorted(range(len(items)), key=lambda i: [_order(items[i].get(name, "")) for name in telling]):
        title, label = (label_of(items[index], names) for names in (best, inside))
        by_title.setdefault(title, []).append((index, label))
    panels = tuple(Panel(title, tuple(curves)) for title, curves in by_title.items())
    panels_shown = panels[:MOST_PANELS]
    drawn = {index for panel in panels_shown for index, _ in panel.curves}
    ordered = sorted(drawn, key=lambda i: [_order(items[i].get(name, "")) for name in inside])
    return Arrangement(
        panels=panels_shown,
        labels=tuple(dict.fromkeys(label_of(items[index], inside) for index in ordered)),
        left_out=left_out(len(panels) - len(panels_shown)),
    )


def left_out(panels: int) -> str:
    """What is said of so many that are not drawn; nothing of none."""
    return f"{plural(panels, 'further panel')} not drawn for want of room: see the tables" if panels > 0 else ""


def label_of(traits: Traits, names: Sequence[str]) -> str:
    """The values of some axes in words, most telling first: `zero1, batch 16`."""
    words = []
    for name in sorted(names, key=lambda n: (_RANK.get(n, 99), n)):
        value = traits.get(name, "")
        text = _WORDS.get(name, _spoken(name)).format(_rounded(value)) if value else f"{name} not stated"
        text = value if value == _NO_SCALING else text
        words.append(text.removesuffix("s") if value == "1" else text)
    return ", ".join(words)


def _spoken(name: str) -> str:
    """How the value of any other key is said: of a key within a group by words, between which a title may break."""
    _, dot, last = name.rpartition(".")
    return f"{last.replace('_', ' ')} {{}}" if dot else f"{name}={{}}"


def _rounded(value: str) -> str:
    """A fraction without what its last bits add: 0.00030000000000000003 is nobody's learning rate."""
    try:
        return f"{float(value):.9g}" if len(value) > _LONGEST and math.isfinite(float(value)) else value
    except ValueError:
        return value


def series_traits(series: Sequence[ScalingSeries]) -> list[dict[str, str]]:
    """All that may tell one series from another."""
    return [key_traits(curve.key) for curve in series]


def key_traits(key: SeriesKey) -> dict[str, str]:
    """The same of what series share."""
    return dict(key.conditions) | {
        "batch": _text(key.batch),
        "accum": _text(key.accum),
        "placement": key.placement,
        "batch_per": key.batch_per,
        "work": f"{key.work:,}" if key.work else "",
    }


def without_placement(series: Sequence[ScalingSeries]) -> dict[str, list[ScalingSeries]]:
    """Series that differ in placement only, by what tells their groups apart."""
    traits = [{n: v for n, v in t.items() if n not in ("placement", "allocation")} for t in series_traits(series)]
    names = differing(traits)
    groups: dict[str, list[ScalingSeries]] = {}
    for index in sorted(range(len(series)), key=lambda i: [_order(traits[i].get(n, "")) for n in names]):
        groups.setdefault(label_of(traits[index], names), []).append(series[index])
    return groups


def by_mode(runs: Sequence[Run]) -> list[tuple[Run, Scaling | None]]:
    """Each run once for every scaling mode that asked for it."""
    doubled: list[tuple[Run, Scaling | None]] = []
    for run in runs:
        modes = sorted({curve.scaling for curve in run.curves})
        doubled += [(run, mode) for mode in modes] or [(run, None)]
    return doubled


_NO_SCALING = "begun elsewhere"
"""What a run is for that goes on from another cell's checkpoint."""


def run_traits(run: Run, mode: Scaling | None = None) -> dict[str, str]:
    """All that may tell one run from another, but for its repeat and its placement."""
    work = run.work if mode is not Scaling.WEAK or run.work is None else run.work // run.gpus
    return {name: value for name, value in run.conditions if name not in ("seed", "allocation")} | {
        "gpus": str(run.gpus),
        "batch": _text(run.micro_batch),
        "accum": _text(run.accum),
        "nodes": _text(run.nodes),
        "work": f"{work:,}" if work else "",
        "scaling": mode.value if mode else _NO_SCALING if run.continued_from else "",
    }


def differing(items: Sequence[Traits], keep: Sequence[str] = ()) -> list[str]:
    """Axes whose values differ, less those that others already tell; `keep` stay if they differ at all."""
    names = sorted({name for item in items for name in item}, key=lambda n: (_RANK.get(n, 99), n))
    telling = [name for name in names if len({item.get(name, "") for item in items}) > 1]
    distinct = _distinct(items, telling)
    for name in reversed(telling.copy()):
        fewer = [other for other in telling if other != name]
        if name not in keep and _distinct(items, fewer) == distinct:
            telling = fewer
    return telling


def _distinct(items: Sequence[Traits], names: Sequence[str]) -> int:
    return len({tuple(item.get(name, "") for name in names) for item in items})


def _counts(items: Sequence[Traits], telling: Sequence[str], facets: Sequence[str]) -> tuple[int, int]:
    """Panels and legend entries if `facets` make the panels."""
    return _distinct(items, facets), _distinct(items, [name for name in telling if name not in facets])


def _order(value: str) -> tuple[int, float, str]:
    """Numbers by their size, words after them by the alphabet."""
    try:
        return (0, float(value.replace(",", "")), "")
    except ValueError:
        return (1, 0.0, value)


def _text(value: int | None) -> str:
    return "" if value is None else str(value)
