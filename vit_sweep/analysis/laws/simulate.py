"""Curves that nobody measured: the latency-bandwidth model with a profile's links. SIMULATED, never evidence. Pure.

    T(p) = steps(p) x [ c m (1 + w sqrt(2 ln p)) + r (2 (p-1) latency + 2 (p-1)/p S/B) ]      (`laws`)

c from finished runs of the same model on the same GPUs where there are any, else FLOPs over a stated fraction of the
peak (`cost`); S and B from the model and the profile; latency and bandwidth are those inside a node as long as a job
fits into one, else those between nodes (a flat ring runs at its slowest link). r: reductions of a step, see
`reductions`. Left out: overlap of communication and computation, data wait, optimizer, congestion, failures.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from launchers.checked import checked
from launchers.errors import UserError
from launchers.profile import Link
from vit_sweep.analysis.laws.laws import Law, Workload, law_time_s, slowest_of
from vit_sweep.plan import cost, memory, ring
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.point import BatchPer, Placement, Point, Scaling

MARK = "SIMULATED"
MOST_GPUS = 1024
IMBALANCE = 0.01
"""Standard deviation of a rank's computation as a part of it, where nobody says another."""


@checked
class Input:
    """One number that a simulation rests on."""

    name: str
    value: str
    source: str
    guess: bool
    """Whether nobody measured it for this very case."""


@checked
class SimulatedPoint:
    """One GPU count, simulated."""

    gpus: int
    nodes: int
    global_batch: int
    steps: int
    """Of an epoch."""
    compute_ms: float
    """Of a step."""
    allreduce_ms: float
    imbalance_ms: float
    """Waiting for the slowest rank."""
    epoch_s: float
    images_per_s: float
    speedup: float
    """Against the smallest simulated count."""
    efficiency: float
    beyond: bool = False
    """Whether the partition has fewer GPUs, or fewer nodes for this placement."""

    @property
    def step_ms(self) -> float:
        """Optimizer step."""
        return self.compute_ms + self.allreduce_ms + self.imbalance_ms

    @property
    def gpu_hours(self) -> float:
        """Of an epoch."""
        return self.gpus * self.epoch_s / 3600


@checked
class Simulation:
    """A simulated curve. Not a measurement and not a fit: `inputs` say what it rests on."""

    label: str
    scaling: Scaling
    points: tuple[SimulatedPoint, ...]
    impossible: tuple[str, ...]
    """Counts that cannot be, a sentence each."""
    inputs: tuple[Input, ...]
    notes: tuple[str, ...] = ()


def counts_to(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to `most`."""
    return tuple(2**i for i in range(most.bit_length()))


def simulate(
    point: Point, counts: Sequence[int], *, finished: Sequence[cost.Throughput] = (), imbalance: float = IMBALANCE
) -> Simulation:
    """Simulate the curve of `point` over GPU counts; its own `gpus` is not looked at.

    `finished`: of finished runs, instead of the estimate from FLOPs. Raises `UserError` where the profile has no
    link speeds, nothing says how fast an image is, or the combination itself cannot be.
    """
    counts = sorted(set(counts))
    _require(point, counts, imbalance)
    cell, load = _one_gpu(point, counts[0])
    time = cost.predict(cell, point.partition, finished)
    if time is None:
        raise UserError(
            f"partition={point.partition.name} precision={cell.precision.value}: nobody knows how fast an image is; "
            f"add peak_tflops to the profile, or here '++partition.peak_tflops={{{cell.precision.value}: 10}}', or "
            "take finished runs of the same model and GPUs with --study"
        )
    per_image_s = time.step_ms / 1000 / (cell.micro_batch * cell.accum)
    points: list[SimulatedPoint] = []
    impossible: list[str] = []
    for gpus in counts:
        problem = _impossible(gpus, load, cell.accum)
        if problem:
            impossible.append(problem)
            continue
        made = _point(point, cell, load, gpus, (per_image_s, per_image_s * imbalance))
        points.append(_compared(made, points[0] if points else made, point.scaling))
    names = (cell.model.name, cell.data.name, point.partition.name, cell.precision.value)
    return Simulation(
        label=f"{', '.join(names)}, batch {point.batch}" + (" global" if point.batch_per is BatchPer.GLOBAL else ""),
        scaling=point.scaling,
        points=tuple(points),
        impossible=tuple(impossible),
        inputs=(
            Input(
                name="computation of an image",
                value=f"{1000 * per_image_s:.3g} ms",
                source=time.basis,
                guess=not time.measured,
            ),
            *_communication(point, cell, max(counts)),
            Input(name="imbalance", value=f"{imbalance:.1%} of the computation", source="assumed", guess=True),
            Input(name="overlap", value="none", source="as ZeRO 0 to 2 run here", guess=True),
        ),
        notes=_notes(point, cell, load, points),
    )


def reductions(cell: Cell) -> float:
    """All-reduces of the whole gradient that a step's traffic amounts to.

    1; ZeRO 2 and 3 reduce after every micro step, and 3 moves half as much again, since it gathers the weights for
    forward and for backward (Rajbhandari et al. 2020, section 7).
    """
    stage = cell.engine.zero_stage
    return (cell.accum if stage >= 2 else 1) * (1.5 if stage == 3 else 1.0)


def _require(point: Point, counts: Sequence[int], imbalance: float) -> None:
    """What nobody can simulate without; raises `UserError`."""
    if not counts or counts[0] < 1:
        raise UserError("gpus: a simulation needs GPU counts of one or more, for example gpus=1,2,4,8")
    if not imbalance >= 0:
        raise UserError(f"imbalance={imbalance:g}: a standard deviation is zero or more; use for example 0.01")
    if point.partition.network is None:
        raise UserError(
            f"partition={point.partition.name}: its profile has no network, so nobody knows how long an all-reduce "
            "takes; add it to the profile, or here: "
            "'++partition.network={inside: {gb_per_s: 10}, between: {gb_per_s: 2}}'"
        )


def _one_gpu(point: Point, smallest: int) -> tuple[Cell, Workload]:
    """The cell of the curve on one GPU, with the micro batch of the smallest count, and the work of an epoch."""
    micro = point.batch if point.batch_per is BatchPer.GPU else max(1, point.batch // (smallest * point.accum))
    # Which counts a site allows, and whether one GPU is among them, is no matter here.
    alone = replace(
        point,
        gpus=1,
        nodes=None,
        batch=micro,
        batch_per=BatchPer.GPU,
        placement=Placement.PACKED,
        partition=replace(point.partition, allowed_gpus=()),
    )
    cell = cell_of(alone)
    if not isinstance(cell, Cell):
        raise UserError("; ".join(cell))
    if point.scaling is Scaling.WEAK and point.batch_per is BatchPer.GLOBAL:
        raise UserError(
            "batch_per=global scaling=weak means nothing: weak scaling keeps the work of each GPU; use batch_per=gpu"
        )
    load = Workload(
        scaling=point.scaling,
        batch_per=point.batch_per.value,
        batch=point.batch,
        accum=point.accum,
        work=cell.train_images,
    )
    return cell, load


def _impossible(gpus: int, load: Workload, accum: int) -> str:
    batch = round(load.per_gpu(gpus) * gpus)
    if load.batch_per == BatchPer.GLOBAL and batch % (gpus * accum):
        return f"gpus={gpus}: {batch} images do not divide over {gpus} ranks x {accum} micro step(s)"
    if batch > load.images(gpus):
        most = load.images(gpus) // (gpus * accum)
        advice = f"; use batch={most} or less" if load.batch_per == BatchPer.GPU and most else "; use fewer GPUs"
        return (
            f"gpus={gpus}: the global batch of {batch} is more than the {load.images(gpus)} images of an epoch{advice}"
        )
    return ""


def _point(point: Point, cell: Cell, load: Workload, gpus: int, computing: tuple[float, float]) -> SimulatedPoint:
    """`computing`: seconds of an image, and their standard deviation over ranks."""
    nodes, profile = _nodes(point, gpus), point.partition
    assert profile.network is not None
    link, size = profile.network.link(nodes), cost.gradient_bytes(cell) * reductions(cell)
    latency_s, per_byte = link.latency_us * 1e-6 * reductions(cell), 1 / (link.gb_per_s * 1e9)
    images = load.per_gpu(gpus)
    allreduce_s = ring.allreduce_s(gpus, size_bytes=size, latency_s=latency_s, seconds_per_byte=per_byte)
    seconds = law_time_s(Law.LATENCY_BANDWIDTH, gpus, load, (*computing, latency_s, size * per_byte))
    beyond = gpus > profile.nodes * profile.gpus_per_node or nodes > profile.nodes
    return SimulatedPoint(
        gpus=gpus,
        nodes=nodes,
        global_batch=round(images * gpus),
        steps=load.steps(gpus),
        compute_ms=1000 * images * computing[0],
        allreduce_ms=1000 * allreduce_s,
        imbalance_ms=1000 * images * computing[1] * slowest_of(gpus),
        epoch_s=seconds,
        images_per_s=load.steps(gpus) * images * gpus / seconds,
        speedup=1.0,
        efficiency=1.0,
        beyond=beyond,
    )


def _compared(made: SimulatedPoint, base: SimulatedPoint, scaling: Scaling) -> SimulatedPoint:
    ratio, factor = base.epoch_s / made.epoch_s, made.gpus / base.gpus
    strong = scaling is Scaling.STRONG
    return replace(made, speedup=ratio if strong else ratio * factor, efficiency=ratio / factor if strong else ratio)


def _nodes(point: Point, gpus: int) -> int:
    if point.placement is Placement.SPREAD:
        return gpus
    return math.ceil(gpus / point.partition.gpus_per_node)


def _communication(point: Point, cell: Cell, most: int) -> list[Input]:
    network, profile = point.partition.network, point.partition
    assert network is not None
    size, several = cost.gradient_bytes(cell), _nodes(point, most) > 1
    source = f"partition {profile.name}, as its file says"
    made = [
        Input(
            name="gradient of a step",
            value=f"{size * reductions(cell) / 1e6:.1f} MB",
            source=f"parameters x {cell.precision.bytes} bytes"
            + (f" x {reductions(cell):g} (ZeRO {cell.engine.zero_stage})" if reductions(cell) != 1 else ""),
            guess=False,
        )
    ]
    if _nodes(point, 2) == 1 or not several:
        made.append(_of_link("inside a node", network.inside, source))
    if several and network.between is not None:
        made.append(_of_link("between nodes", network.between, source))
    elif several:
        made.append(_of_link("between nodes", network.inside, "not in the profile: that inside a node"))
    return made


def _of_link(where: str, link: Link, source: str) -> Input:
    # A profile may hold an estimate as well as a measurement; only a person can tell.
    value = f"{link.gb_per_s:g} GB/s, {link.latency_us:g} us"
    return Input(name=f"link {where}", value=value, source=source, guess=True)


def _notes(point: Point, cell: Cell, load: Workload, points: Sequence[SimulatedPoint]) -> tuple[str, ...]:
    notes, profile = [], point.partition
    if any(one.beyond for one in points):
        notes.append(f"* more than {profile.name} has: {profile.nodes} node(s) x {profile.gpus_per_node} GPU(s)")
    memory_gib = point.partition.gpu_memory_gib
    problem = memory.why_it_does_not_fit(cell, memory_gib) if memory_gib is not None else None
    if problem:
        notes.append(f"on one GPU it would not fit: {problem}")
    if point.scaling is Scaling.WEAK and points:
        last = points[-1].gpus
        if load.images(last) > cell.data.train_images:
            most = cell.data.train_images // (load.work or 1)
            notes.append(
                f"weak scaling on {last} GPUs takes {load.images(last)} images, {cell.data.name} has "
                f"{cell.data.train_images}: beyond {most} GPUs the curve is of a larger set"
            )
    return tuple(notes)
