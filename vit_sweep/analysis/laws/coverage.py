"""Can a grid carry a fit at all? Said of a plan before anything is submitted, and of measured series. Pure.

A law with k coefficients takes k + 1 distinct GPU counts, so that each can be held out once (`laws.counts_needed`);
how many runs a cell needs is `plan.repeats`' advice. What is missing is said as words to type: the same command
with them runs only what has not run yet.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter

from launchers.checked import checked
from launchers.text import grouped, joined, plural
from vit_sweep.analysis.laws.crossing import Layout, layout_of
from vit_sweep.analysis.laws.fitted import REACH
from vit_sweep.analysis.laws.further import further, may_run, missing
from vit_sweep.analysis.laws.laws import OF_SCALING, Law, counts_needed
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.cell import Cell, Series, oversubscribed
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.plan.plan import Plan
from vit_sweep.plan.repeats import WANTED, SeenSpread, advise, seen_spread

Counts = Mapping[int, int]
"""Runs by GPU count."""


@checked
class Coverage:
    """What the GPU counts and repeats of one curve can carry."""

    scaling: Scaling
    counts: tuple[int, ...]
    """Distinct GPU counts."""
    runs: int
    """Runs of the count that has the fewest."""
    carries: tuple[Law, ...]
    """Laws that can be fitted."""
    verdict: str
    """Which laws the counts support, and what the others need."""
    baseline: str
    """What speedups are relative to, or why there are none."""
    span: str
    """Largest over smallest count, and how far predictions reach."""
    repeats: str
    """What the number of runs allows."""
    add: str
    """Words to type that would carry more; empty where nothing is missing, or no count is left."""
    gains: str
    """What these words would add; likewise empty."""
    others: tuple[int, ...]
    """Counts that the study has beside those that are spoken of."""
    crowded: tuple[int, ...]
    """Counts that do not count: their ranks have no core each."""
    is_full: bool
    """Whether a fit lacks counts, and none can run."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is to be said, in order."""
        advice = f"to carry more: {self.add}" if self.add else ""
        return tuple(filter(None, (self.baseline, self.verdict, self.span, self.repeats, advice)))

    def in_brief(self, curves: int) -> str:
        """What so many curves of a grid carry, and what to type for more: a sentence for a plan."""
        grid, verb = ("this grid", "carries") if curves == 1 else (f"{curves} curves of this grid", "carry")
        study_counts = f", with the study's {_listed(self.others)}" if self.others else ""
        fits = _fits(_short_names(self.carries))
        single = (", but no interval" if self.carries else " and no interval") if self.runs == 1 else ""
        parts = (
            f"{grid} ({self.scaling.value}{study_counts}) {verb} {fits or 'no fit'}{single}",
            f"{_listed(self.crowded)} GPUs are not counted, for this machine has fewer cores" if self.crowded else "",
            "no other GPU count can run" if self.is_full else "",
            f"{self.add} would add {self.gains}" if self.add else "",
        )
        return "; ".join(filter(None, parts))


def coverage(
    counts: Counts,
    scaling: Scaling,
    *,
    link: bool = False,
    grid_counts: Collection[int] = (),
    crowded: Collection[int] = (),
    layout: Layout = Layout(),  # noqa: B008  # frozen
    baseline: str = "",
    possible: Callable[[int], bool] = lambda _: True,
    most: int | None = None,
    repeats_follow: bool = False,
    seen: SeenSpread | None = None,
    wanted: float = WANTED,
) -> Coverage:
    """Judge GPU counts (runs by count).

    `link`: whether runs measure latency and bandwidth, which spares two coefficients. `grid_counts`: those of the
    grid that is judged, where a study has others too; empty: all of them. `crowded`: counts beside `counts` whose
    ranks have no core each, so that their times carry nothing. `layout`: which links they crossed. `baseline`: why
    there is none.
    `possible`, `most`: which further counts could run, and up to where; without `most`, to the reach of predictions.
    `repeats_follow`: whoever watches adds repeats by itself. `seen`: how far runs lie apart, `wanted`: the half-width
    that their intervals are to have.
    """
    known = tuple(sorted(counts))
    grid = tuple(gpus for gpus in known if gpus in grid_counts) or known
    runs = min((counts[gpus] for gpus in grid), default=0)
    laws = [law for law in OF_SCALING[scaling] if link or law is not Law.MEASURED_LINK]
    carries = tuple(law for law in laws if len(known) >= counts_needed(law))
    lacking = missing(known, [law for law in laws if not (link and law is Law.LATENCY_BANDWIDTH)])
    more = further(known, possible, most, wanted=lacking)
    advice = advise(len(known) + len(more), runs, seen=seen, target=wanted)
    short_of_runs = bool(advice.sentence and known and not repeats_follow)
    gained_laws = [law for law in laws if law not in carries and len(known) + len(more) >= counts_needed(law)]
    gains = [name for name in _short_names(gained_laws) if name not in _short_names(carries)]
    words = [f"gpus={','.join(map(str, sorted({*grid, *more})))}"] if more else []
    words += [f"repeats={advice.repeats}"] if short_of_runs else []
    return Coverage(
        scaling=scaling,
        counts=known,
        runs=runs,
        carries=carries,
        verdict=_verdict(grid, known, laws, carries, room=len(more) >= lacking or not known) + _not_counted(crowded),
        baseline=baseline or _baseline(known),
        span=_span(known, carries, layout),
        repeats=advice.sentence if short_of_runs else "",
        add=" ".join(words),
        gains=", and ".join(filter(None, (_fits(gains), advice.gives if short_of_runs else ""))),
        others=tuple(gpus for gpus in known if gpus not in grid),
        crowded=tuple(crowded),
        is_full=bool(known) and lacking > 0 and not more,
    )


def of_series(series: ScalingSeries) -> Coverage:
    """Judge what was measured: points without a time or without a core for each rank count for nothing."""
    counts = Counter(run.gpus for run in series.timed_runs)
    link = any(run.bus_gb_per_s and run.latency_us for run in series.timed_runs)
    seen, layout = seen_spread([run.epoch_s for run in point.runs] for point in series.timed), layout_of(series)
    return coverage(
        counts,
        series.key.scaling,
        link=link,
        layout=layout,
        baseline=series.no_baseline,
        most=layout.most,
        seen=seen,
    )


def of_plan(
    plan: Plan,
    others: Iterable[tuple[Cell, tuple[Series, ...]]] = (),
    *,
    cores: int | None = None,
    preflight: bool = True,
    repeats_follow: bool = False,
    seen: SeenSpread | None = None,
) -> list[tuple[Coverage, int]]:
    """Judge the curves of a plan, with the cells that the study has already; equal verdicts are counted.

    `others`: cells of the study and the curves that asked for them; those of other curves are passed over.
    `cores`: of this machine, where it is the one that runs.
    """
    crowd = partial(_is_crowded, cores=cores)
    planned = grouped((curve_of(cell.cell, series), cell) for cell in plan.cells.values() for series in cell.series)
    crowded: dict[tuple[object, ...], set[int]] = {}
    seeds: dict[tuple[object, ...], dict[int, set[int]]] = {key: {} for key in planned}
    for key, cells in planned.items():
        crowded[key] = {cell.cell.gpus for cell in cells if crowd(cell.cell)}
        for cell in cells:
            if not crowd(cell.cell):
                seeds[key].setdefault(cell.cell.gpus, set()).add(cell.cell.seed)
    for other, memberships in others:
        for series in memberships:
            if (key := curve_of(other, series)) in seeds and not crowd(other):
                seeds[key].setdefault(other.gpus, set()).add(other.seed)
    singles = {_unplaced(key): by_gpus[1] for key, by_gpus in seeds.items() if 1 in by_gpus}
    starts = {_unplaced(key) for key, cells in planned.items() if any(cell.cell.gpus == 1 for cell in cells)}
    curves: dict[Coverage, int] = {}
    for key, by_gpus in seeds.items():
        if _unplaced(key) in singles:  # one GPU has no placement: the same run starts every curve
            by_gpus.setdefault(1, singles[_unplaced(key)])
        example = planned[key][0]
        series = next(series for series in example.series if curve_of(example.cell, series) == key)
        carried = coverage(
            {gpus: len(known) for gpus, known in by_gpus.items()},
            series.scaling,
            link=preflight,
            grid_counts={cell.cell.gpus for cell in planned[key]} | ({1} if _unplaced(key) in starts else set()),
            crowded=sorted(crowded[key]),
            possible=partial(may_run, example, series),
            most=example.profile.most_gpus(cores),
            repeats_follow=repeats_follow,
            seen=seen,
        )
        curves[carried] = curves.get(carried, 0) + 1
    return list(curves.items())


def remarks(
    plan: Plan,
    others: Iterable[tuple[Cell, tuple[Series, ...]]] = (),
    *,
    cores: int | None = None,
    preflight: bool = True,
    repeats_follow: bool = False,
    seen: SeenSpread | None = None,
) -> list[str]:
    """What a planner says of its curves, one line each kind; nothing of a sweep that asks for one GPU count.

    `seen`: how far runs of the study's cells lie from each other so far; `cores`: of this
    machine, where it is the one that runs.
    """
    counts = {point.axes["gpus"] for point in plan.points}
    curves = of_plan(plan, others, cores=cores, preflight=preflight, repeats_follow=repeats_follow, seen=seen)
    shown = [(curve, number) for curve, number in curves if len(counts) > 1 or len(curve.counts) > 1]
    alike = grouped((curve.in_brief(1), (curve, number)) for curve, number in shown)  # other counts may want the same
    return [same[-1][0].in_brief(sum(number for _, number in same)) for same in alike.values()]


# --- the words -------------------------------------------------------------------------------------------


_WITH_LINK = " with the measured link"
_WORDS = {
    Law.AMDAHL: "Amdahl",
    Law.GUSTAFSON: "Gustafson",
    Law.USL: "USL",
    Law.LATENCY_BANDWIDTH: "latency-bandwidth",
    Law.MEASURED_LINK: f"latency-bandwidth{_WITH_LINK}",
}


def _verdict(
    own: Sequence[int], known: Sequence[int], laws: Sequence[Law], carries: Sequence[Law], *, room: bool
) -> str:
    listed = f" ({_listed(own)})" if own else ""
    others = _listed(gpus for gpus in known if gpus not in own)
    subject = f"{plural(len(own), 'GPU count')}{listed}" + (f" and the study's {others}" if others else "")
    # The plain latency-bandwidth model carries everything that the one with a measured link does, and is harder.
    both = Law.LATENCY_BANDWIDTH in carries
    fitted = [_WORDS[law] for law in carries if not (both and law is Law.MEASURED_LINK)]
    easier = Law.MEASURED_LINK in laws
    lacking = [law for law in laws if law not in carries and not (easier and law is Law.LATENCY_BANDWIDTH)]
    needs = ", ".join(
        f"{_WORDS[law]} {'' if number else 'needs '}{counts_needed(law)}" for number, law in enumerate(lacking)
    )
    end = "" if room else "; no further count can run there"
    if not fitted:
        return f"{subject} support{'s' if len(known) == 1 else ''} no scaling fit ({needs}){end}"
    return f"{subject} support {joined(fitted)}" + (f"; {needs}" if needs else "") + end


def _not_counted(crowded: Collection[int]) -> str:
    if not crowded:
        return ""
    return f"; {_listed(crowded)} not counted: more ranks than this machine has cores for"


def _baseline(known: Sequence[int]) -> str:
    if not known:
        return "no baseline: nothing has a time yet"
    if known[0] == 1:
        return "the baseline is one GPU"
    return f"the smallest count is {known[0]}: speedups are relative to {plural(known[0], 'GPU')}, not to one"


def _span(known: Sequence[int], carries: Sequence[Law], layout: Layout) -> str:
    if len(known) < 2:
        return ""
    reach = f"; {_reach(known, carries, layout)}" if carries else ""
    return f"the counts span a factor of {known[-1] / known[0]:g}{reach}"


def _reach(known: Sequence[int], carries: Sequence[Law], layout: Layout) -> str:
    """How far predictions go at most; the fits themselves may stop them earlier."""
    if len(known) < (needed := counts_needed(Law.USL)) and Law.MEASURED_LINK not in carries:
        return f"predictions stay between them: to go beyond takes {needed} counts"
    most = math.floor(REACH * known[-1])
    if layout.why_not(most):
        edge = max(known[-1], layout.node_gpus or 0)
        return f"predictions reach to {plural(edge, 'GPU')} at most: no run crossed nodes"
    return f"predictions reach to {plural(most, 'GPU')} at most"


def _short_names(laws: Sequence[Law]) -> list[str]:
    """With one name for the two latency-bandwidth models."""
    return list(dict.fromkeys(_WORDS[law].removesuffix(_WITH_LINK) for law in laws))


def _fits(names: Sequence[str]) -> str:
    return f"{'a fit' if len(names) == 1 else 'fits'} of {joined(names)}" if names else ""


def _listed(counts: Iterable[int]) -> str:
    return ", ".join(map(str, counts))


# --- which cells are one curve -----------------------------------------------------------------------------


_ALONG = frozenset({"gpus", "nodes", "seed", "micro_batch", "train_images"})
"""What changes along a curve, or is said by the curve's own words."""
_same = attrgetter(*(name for name in Cell.__dataclass_fields__ if name not in _ALONG))


def curve_of(cell: Cell, series: Series) -> tuple[object, ...]:
    """All that is equal along a curve; cheap, since a plan may have ten thousand cells."""
    batch = cell.micro_batch if series.batch_per is BatchPer.GPU else cell.global_batch
    work = cell.train_images if series.scaling is Scaling.STRONG else cell.train_images // cell.gpus
    return (series.placement, series.scaling, series.batch_per, batch, work, *_same(cell))


def _is_crowded(cell: Cell, *, cores: int | None) -> bool:
    return cores is not None and oversubscribed(cell, cores)


def _unplaced(key: tuple[object, ...]) -> tuple[object, ...]:
    return key[1:]
