"""Series: runs that differ only in `gpus`, their common baseline, speedup and efficiency. The types; pure.

T(p) is the median over runs of each run's median epoch on p GPUs, p0 the smallest `gpus` of the series.
Strong: speedup S = T(p0)/T(p), efficiency S/(p/p0) (Amdahl 1967). Weak: efficiency T(p0)/T(p), scaled speedup =
efficiency x p/p0 (Gustafson 1988). Serial fraction after Karp and Flatt (1990): e = (1/S - 1/q)/(1 - 1/q), q = p/p0.
What is remarkable about a point is said here too. How series are made of runs is in `grouping`, how intervals are found
in `intervals`.
"""

from math import sqrt

from launchers.checked import End, checked, varied
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.repeats import USUAL
from vit_sweep.runs.run import Run

SHARED = "shared"
"""`Allocation.SHARED` as a condition says it."""
SUPERLINEAR = 1 + 2 * sqrt(2) * USUAL
"""Efficiency from which on a point that nobody has tested is called superlinear: two standard errors of a ratio of two
single runs, each of which a repeat would differ from by what is usual."""


@checked
class SeriesKey:
    """What a series is about: all that must be equal along it."""

    scaling: Scaling
    batch_per: str
    """gpu: `batch` is the micro batch, equal for all; global: it is the images per optimizer step."""
    batch: int | None
    accum: int | None
    placement: str
    """packed, spread, nodes=2; empty where it is not known."""
    work: int | None
    """Images of an epoch (strong), or of an epoch and GPU (weak)."""
    conditions: tuple[tuple[str, str], ...]

    def condition(self, name: str) -> str:
        """One condition by its name; empty where it is not said."""
        return dict(self.conditions).get(name, "")


@checked
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float | None = None
    """None: one run says nothing of its own spread."""
    high: End | None = None
    n: int = 1
    """Runs behind it (of a ratio: the fewer of the two)."""
    freedom: float | None = None
    """Degrees of freedom of the interval, with those of the cells that are pooled with this one."""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return self.low is not None and self.high is not None

    def inverse(self, factor: float) -> "Estimate":
        """`factor / x` with its interval, whose bounds change places."""
        return varied(
            self,
            value=factor / self.value,
            low=None if self.high is None else factor / self.high,
            high=None if self.low is None else factor / self.low,
        )


@checked
class SeriesPoint:
    """One GPU count of a series: repeats pooled."""

    gpus: int
    nodes: int | None
    runs: tuple[Run, ...]
    """Those that are pooled; all have a time."""
    without: tuple[Run, ...] = ()
    """Those that have none: failed, missing, still running."""
    time_s: Estimate | None = None
    """Epoch."""
    step_ms: Estimate | None = None
    images_per_s: Estimate | None = None
    first_epoch_s: float | None = None
    """Median over runs of the cold first epoch, which is in no other figure."""
    within: float | None = None
    """Spread inside runs: median over runs of (max - min) / median of its epochs; None with one epoch per run."""
    between: float | None = None
    """Spread between runs: (max - min) / median of their medians; None with one run."""
    epochs: int = 0
    """Epochs that count, over all runs."""
    speedup: Estimate | None = None
    efficiency: Estimate | None = None
    serial_fraction: Estimate | None = None
    """Karp and Flatt's; of strong series only, None at the baseline."""
    oversubscribed: bool = False
    flags: tuple[str, ...] = ()
    """What is remarkable: superlinear with likely causes, throttled, a slow rank."""

    @property
    def status(self) -> str:
        """In one word: done, or what became of its runs."""
        states = {run.status for run in self.runs or self.without}
        return "done" if self.runs else (states.pop() if len(states) == 1 else "mixed")


@checked
class Apart:
    """A run that asked to be in a series and must not be."""

    run: Run
    reason: str


@checked
class ScalingSeries:
    """One curve, sorted by `gpus`; its invariants hold."""

    key: SeriesKey
    label: str
    """Just what tells it from the other series of the same study."""
    points: tuple[SeriesPoint, ...]
    apart: tuple[Apart, ...] = ()
    baseline_gpus: int | None = None
    no_baseline: str = ""
    """Why nothing is compared, and which cell to run; empty with a baseline."""
    flags: tuple[str, ...] = ()
    """What is unlike between its runs without forbidding the comparison: drivers, versions."""

    def __repr__(self) -> str:
        """What it is about and its points, in a line: all fields of all runs fill a notebook."""
        counts = ",".join(str(point.gpus) for point in self.points)
        return f"<{self.key.scaling.value} series{f' {self.label}' if self.label else ''}: gpus={counts}>"

    @property
    def baseline(self) -> SeriesPoint | None:
        """What the others are compared with."""
        return next((point for point in self.points if point.gpus == self.baseline_gpus and point.runs), None)

    @property
    def timed(self) -> tuple[SeriesPoint, ...]:
        """The points that have a time and whose ranks had a core each."""
        return tuple(point for point in self.points if point.time_s is not None and not point.oversubscribed)

    @property
    def timed_runs(self) -> tuple[Run, ...]:
        """The runs of these."""
        return tuple(run for point in self.timed for run in point.runs)


def point_flags(point: SeriesPoint, base: SeriesPoint, *, certain: bool | None = None) -> tuple[str, ...]:
    """Superlinear with its likely causes, partial runs, and what the runs' own flags say; each clause once.

    `certain`: whether its efficiency is not 1, over all points that were looked at; None: nobody has tested that.
    """
    flags = [superlinear(point, base, certain=certain), _elsewhere(point, base), _partial(point)]
    flags += [flag for run in point.runs for flag in run.flags]
    return tuple(dict.fromkeys(filter(None, flags)))


def superlinear(point: SeriesPoint, base: SeriesPoint, *, certain: bool | None = None) -> str:
    """Why a point that is faster than ideal may be; empty where it is not."""
    efficiency = point.efficiency
    if efficiency is None or point.gpus == base.gpus:
        return ""
    if efficiency.value <= 1 or not (efficiency.value > SUPERLINEAR if certain is None else certain):
        return ""
    causes = []
    if any("throttled" in flag for run in base.runs for flag in run.flags):
        causes.append("the baseline was throttled")
    hosts, base_hosts = _hosts(point), _hosts(base)
    if hosts and base_hosts and not base_hosts <= hosts:
        causes.append(f"the baseline ran on another node ({', '.join(sorted(base_hosts))})")
    if _smaller(point.runs[0], base.runs[0]):
        causes.append("a smaller micro batch fits the cache better")
    if not causes:
        return "superlinear: not explained by what was recorded: repeat the baseline"
    return f"superlinear: {efficiency.value:.1%} of ideal; likely {', or '.join(causes)}"


def _elsewhere(point: SeriesPoint, base: SeriesPoint) -> str:
    """Say that runs of a shared allocation are compared with one of another: their curve was run in parts."""
    shared = any(run.condition("allocation") == SHARED for run in point.runs)
    if not shared or point.gpus == base.gpus or _hosts(base) <= _hosts(point):
        return ""
    return f"not in the allocation of gpus={base.gpus}, which ran on {', '.join(sorted(_hosts(base)))}"


def _partial(point: SeriesPoint) -> str:
    cut = [run for run in point.runs if run.partial]
    if not cut:
        return ""
    return "partial: " + ", ".join(
        f"{run.run_id} stopped after {run.epochs_done} of {run.epochs_requested}" for run in cut
    )


def _hosts(point: SeriesPoint) -> set[str]:
    return {host for run in point.runs for host in run.hosts}


def _smaller(run: Run, base: Run) -> bool:
    return run.micro_batch is not None and base.micro_batch is not None and run.micro_batch < base.micro_batch
