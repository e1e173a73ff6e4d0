"""Isoefficiency: the least work of a step with which so many GPUs are used well. Pure; needs numpy and scipy.

Grama, Gupta and Kumar (1993): E = W t_c / (p T(p, W)), W the problem size, t_c the time of a unit of it on one GPU.
Here W is images of an optimizer step (x the model's operations per image: FLOPs of a step), T the time of a step, and
t_c that of the largest batch measured on the smallest GPU count, where a step's fixed costs weigh least. Between two
measured batches 1/E is a line in 1/W, as it is wherever overhead does not depend on W: T = W t_c / p + overhead(p).
Nothing is extrapolated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from launchers.checked import checked
from launchers.text import grouped
from vit_sweep.analysis.series.estimates import scaled
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesKey, SeriesPoint
from vit_sweep.analysis.series.spreads import RatioOf
from vit_sweep.plan.choices import Scaling
from vit_sweep.runs.run import Run

TARGETS = (0.8, 0.9)
"""Efficiencies whose problem size is looked for."""
_LEAST = 2
"""GPU counts, batch sizes of each, and runs of an interval."""


@checked
class Measured:
    """One batch size on one GPU count."""

    gpus: int
    nodes: int | None
    images: int
    """Of an optimizer step, over all GPUs."""
    efficiency: Estimate
    runs: tuple[Run, ...]


@checked
class Needed:
    """The least problem size at which one GPU count reaches an efficiency."""

    target: float
    gpus: int
    nodes: int | None
    images: Estimate | None
    """Interpolated between `below` and `reached`; None where one of them is missing."""
    below: Measured | None
    """The next smaller batch, which does not reach it; None: the smallest measured one does."""
    reached: Measured | None
    """The smallest measured batch that reaches it; None: none does."""

    @property
    def note(self) -> str:
        """What is known where the problem size is not, or not its interval."""
        if self.reached is None and self.below is not None:
            return f"more than {self.below.images}, the largest batch measured"
        if self.below is None and self.reached is not None:
            return f"at most {self.reached.images}, the smallest batch measured"
        if self.images is not None and self.images.n > 1 and not self.images.known:
            return "its interval reaches beyond the batches measured"
        return ""


@checked
class Plane:
    """GPU counts and batch sizes of runs that are alike in all else."""

    key: SeriesKey
    """Of its series, without a batch."""
    reference: Measured
    """Whose time per image and GPU is efficiency 1."""
    cells: tuple[Measured, ...]
    needed: tuple[Needed, ...]
    """By target, GPUs and nodes."""


def planes(series: Iterable[ScalingSeries], ratio: RatioOf) -> list[Plane]:
    """Every plane with two batch sizes or more on two GPU counts or more.

    Of weak scaling only where no strong one has it: its epochs are of unlike length. `ratio`: from the spread of all
    cells of the study.
    """
    grids: dict[SeriesKey, dict[tuple[int, int, int], SeriesPoint]] = {}
    for curve in series:
        grid = grids.setdefault(replace(curve.key, batch=None, batch_per=""), {})
        for point in curve.points:
            batch = point.runs[0].global_batch if point.runs else None
            if batch is not None and point.images_per_s is not None and not point.oversubscribed:
                grid.setdefault((point.gpus, point.nodes or 0, batch), point)
    wide = {key: grid for key, grid in grids.items() if _is_wide(grid)}
    strong = {_without_work(key) for key in wide if key.scaling is Scaling.STRONG}
    chosen = {k: g for k, g in wide.items() if k.scaling is Scaling.STRONG or _without_work(k) not in strong}
    return [_plane(key, [grid[place] for place in sorted(grid)], ratio) for key, grid in chosen.items()]


def _is_wide(grid: Iterable[tuple[int, int, int]]) -> bool:
    batches: dict[tuple[int, int], int] = {}
    for gpus, nodes, _ in grid:
        batches[gpus, nodes] = batches.get((gpus, nodes), 0) + 1
    return len({gpus for (gpus, _), count in batches.items() if count >= _LEAST}) >= _LEAST


def _without_work(key: SeriesKey) -> SeriesKey:
    return replace(key, scaling=Scaling.STRONG, work=None)


def _plane(key: SeriesKey, points: Sequence[SeriesPoint], ratio: RatioOf) -> Plane:
    """`points`: by GPUs, nodes and batch."""
    base = [point for point in points if point.gpus == points[0].gpus and point.nodes == points[0].nodes][-1]
    cells = [_measured(point, base, ratio) for point in points]
    by_place = grouped(((cell.gpus, cell.nodes), cell) for cell in cells)
    needed = [_needed(target, column) for target in TARGETS for column in by_place.values()]
    reference = next(cell for cell in cells if cell.runs == base.runs)
    return Plane(key=key, reference=reference, cells=tuple(cells), needed=tuple(needed))


def _measured(point: SeriesPoint, base: SeriesPoint, ratio: RatioOf) -> Measured:
    run, reference = point.runs[0], base.runs[0]
    # Images of an epoch and GPU: epochs of weak scaling grow, and all are filled up to whole steps.
    work = (run.images or 0) * reference.gpus / ((reference.images or 1) * run.gpus)
    efficiency = (
        Estimate(value=1.0, n=len(base.runs)) if point is base else scaled(ratio(base.runs, point.runs).estimate, work)
    )
    return Measured(
        gpus=point.gpus,
        nodes=point.nodes,
        images=run.global_batch or 0,
        efficiency=efficiency,
        runs=point.runs,
    )


def _needed(target: float, column: Sequence[Measured]) -> Needed:
    """`column`: the batches of one GPU count, smallest first."""
    first = next((at for at, cell in enumerate(column) if cell.efficiency.value >= target), None)
    below = column[-1] if first is None else column[first - 1] if first else None
    reached = None if first is None else column[first]
    images = None
    if below is not None and reached is not None:
        value = _crossing([(cell.images, cell.efficiency.value) for cell in column], target)
        low, high = (_crossing(ends, target) if ends else None for ends in _ends(column))
        known = low is not None and high is not None
        n = min(below.efficiency.n, reached.efficiency.n)
        images = Estimate(value=value or 0.0, low=low if known else None, high=high if known else None, n=n)
    return Needed(
        target=target, gpus=column[0].gpus, nodes=column[0].nodes, images=images, below=below, reached=reached
    )


Curve = list[tuple[int, float]]
"""Images of a step and efficiency, smallest batch first."""


def _ends(column: Sequence[Measured]) -> tuple[Curve, Curve]:
    """The upper and the lower ends of a column's intervals; empty where one run has none."""
    upper, lower = [], []
    for cell in column:
        efficiency = cell.efficiency
        if not efficiency.known and len(cell.runs) < _LEAST:
            return [], []
        # The reference is 1 by definition, and runs that are equal to the last digit have no interval either.
        upper.append((cell.images, efficiency.value if efficiency.high is None else efficiency.high))
        lower.append((cell.images, efficiency.value if efficiency.low is None else efficiency.low))
    return upper, lower


def _crossing(curve: Curve, target: float) -> float | None:
    """Images of a step at which a curve first reaches the target; None where that is not between two of its points."""
    if curve[0][1] >= target:
        return None
    for (fewer, low), (more, high) in pairwise(curve):
        if high >= target:
            share = (1 / low - 1 / target) / (1 / low - 1 / high)
            return 1 / (1 / fewer + share * (1 / more - 1 / fewer))
    return None
