"""Curves that nobody measured: the arithmetic of a step with a profile's links. SIMULATED, never evidence. Pure.

    step = c m (1 + w sqrt(2 ln p)) + R(p) - hidden

c from finished runs of the same model on the same GPUs where there are any, else FLOPs over a stated fraction of the
peak (`cost`); R(p) what the ZeRO stage communicates (`traffic`) over the links inside and between nodes, with a port
for each GPU where there are as many, by the faster of ring and tree (`ring`).

Hidden is the part of R(p) that runs beside computation. Nobody knows it before measuring, so a curve is a band:

    slow edge   nothing is hidden, and ranks wait for the slowest
    fast edge   all that can be hidden is, and no rank is slower than another

What can be hidden is in `plan.overlap`; the line inside the band has the stated `overlap`, 0 to 1, of it. Left out:
data wait, optimizer, congestion, failures.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from launchers.errors import UserError
from launchers.profile import Link
from launchers.text import nodes_by_gpus, plural
from vit_sweep.analysis.laws.laws import Workload, slowest_of
from vit_sweep.analysis.laws.simulated import Input, SimulatedPoint, Simulation
from vit_sweep.analysis.series.estimates import scaled
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import BatchPer, Placement, Scaling, Task
from vit_sweep.plan.engine.kinds import hidden_part
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.point import Point
from vit_sweep.plan.predict import cost, memory
from vit_sweep.plan.predict.overlap import exposed_s
from vit_sweep.plan.predict.sequence import exchange

MARK = "SIMULATED"
MOST_GPUS = 1024
IMBALANCE = 0.01
"""Standard deviation of a rank's computation as a part of it, where nobody says another."""
_IDEAL = Estimate(value=1.0, low=1.0, high=1.0)


def counts_to(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to `most`."""
    return tuple(2**i for i in range(most.bit_length()))


def simulate(
    point: Point,
    counts: Sequence[int],
    *,
    finished: Sequence[cost.Throughput] = (),
    imbalance: float = IMBALANCE,
    overlap: float | None = None,
) -> Simulation:
    """Simulate the curve of `point` over GPU counts; its own `gpus` is not looked at.

    `finished`: of finished runs, instead of the estimate from FLOPs. `overlap`: part of what can be hidden that is;
    None: as the engine is taken to do. Raises `UserError` where the profile has no link speeds, nothing says how fast
    an image is, or the combination itself cannot be.
    """
    counts = sorted(set(counts))
    usual = hidden_part(point.engine)
    overlap = usual if overlap is None else overlap
    _require(point, counts, imbalance, overlap)
    cell, load = _one_group(point, counts[0])
    computation = cost.computes(cell, point.partition, finished)
    if computation is None:
        raise UserError(
            f"partition={point.partition.name} precision={cell.precision.value}: how fast an image is trained is "
            "not known; "
            f"add peak_tflops to the profile, or here '++partition.peak_tflops={{{cell.precision.value}: 10}}', or "
            "take finished runs of the same model and GPUs with --study"
        )
    per_image_s = computation.image_s
    points: list[SimulatedPoint] = []
    impossible: list[str] = []
    for gpus in counts:
        problem = _impossible(gpus, load, cell.accum)
        if problem:
            impossible.append(problem)
            continue
        simulated = _point(point, cell, load, gpus, (per_image_s, imbalance, overlap))
        points.append(_compared(simulated, points[0] if points else simulated, point.scaling))
    names = [cell.model.name, cell.data.name, point.partition.name, cell.precision.value]
    if cell.sequence > 1:
        names.append(f"sequence {cell.sequence} ({cell.sequence_method.value})")
    of_image = Input(
        name="computation of an image",
        value=f"{1000 * per_image_s:.3g} ms",
        source=computation.basis,
        guess=not computation.measured,
    )
    return Simulation(
        label=f"{', '.join(names)}, batch {point.batch}" + (" global" if point.batch_per is BatchPer.GLOBAL else ""),
        scaling=point.scaling,
        points=tuple(points),
        impossible=tuple(impossible),
        inputs=(
            of_image,
            *_communication(point, cell, max(counts)),
            Input(name="imbalance", value=f"{imbalance:.1%} of the computation", source="assumed", guess=True),
            Input(
                name="overlap",
                value=f"{overlap:.0%} of what can be hidden",
                source="as the engine runs here" if overlap == usual else "assumed",
                guess=True,
            ),
        ),
        notes=_notes(point, cell, load, points),
    )


def _require(point: Point, counts: Sequence[int], imbalance: float, overlap: float) -> None:
    """What nobody can simulate without; raises `UserError`."""
    if not counts or counts[0] < 1:
        raise UserError("gpus: a simulation needs GPU counts of one or more, for example gpus=1,2,4,8")
    if not imbalance >= 0:
        raise UserError(f"imbalance={imbalance:g}: a standard deviation is zero or more; use for example 0.01")
    if not 0 <= overlap <= 1:
        raise UserError(f"overlap={overlap:g}: a part of what can be hidden is 0 to 1; use for example 0.5")
    grows = point.scaling is Scaling.STRONG and point.batch_per is BatchPer.GPU
    if point.task is Task.CONTRASTIVE and grows and len(counts) > 1:
        raise UserError(
            "task=contrastive batch_per=gpu: each number of GPUs compares another number of pairs, which is another "
            f"loss and no curve; use batch_per=global, for example batch={point.batch * counts[-1]}"
        )
    if point.partition.network is None:
        raise UserError(
            f"partition={point.partition.name}: its profile has no network, so it is not known how long an all-reduce "
            "takes; add it to the profile, or here: "
            "'++partition.network={inside: {gb_per_s: 10}, between: {gb_per_s: 2}}'"
        )


def _one_group(point: Point, smallest: int) -> tuple[Cell, Workload]:
    """The cell of the curve on one GPU, or one sequence group, with the micro batch of the smallest count, and the work
    of an epoch."""
    groups = max(1, smallest // point.sequence)
    micro = point.batch if point.batch_per is BatchPer.GPU else max(1, point.batch // (groups * point.accum))
    # Which counts a site allows, and whether one GPU is among them, is no matter here.
    alone = replace(
        point,
        gpus=point.sequence,
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
        work=cell.train_images if point.scaling is Scaling.STRONG else cell.train_images // point.sequence,
        sequence=point.sequence,
    )
    return cell, load


def _impossible(gpus: int, load: Workload, accum: int) -> str:
    groups, remainder = divmod(gpus, load.sequence)
    if remainder:
        return f"gpus={gpus}: not a multiple of sequence={load.sequence}"
    batch = round(load.per_gpu(gpus) * gpus)
    if load.batch_per == BatchPer.GLOBAL and batch % (groups * accum):
        ranks = plural(groups, "rank" if load.sequence == 1 else "sequence group")
        images = plural(batch, "image does|images do")
        return f"gpus={gpus}: {images} not divide over {ranks} x {plural(accum, 'micro step')}"
    if batch > load.images(gpus):
        most = load.images(gpus) // (groups * accum)
        advice = f"; use batch={most} or less" if load.batch_per == BatchPer.GPU and most else "; use fewer GPUs"
        return (
            f"gpus={gpus}: the global batch of {batch} is more than the {load.images(gpus)} images of an epoch{advice}"
        )
    return ""


def _point(point: Point, cell: Cell, load: Workload, gpus: int, assumed: tuple[float, float, float]) -> SimulatedPoint:
    """`assumed`: seconds of an image, standard deviation over ranks as a part of it, overlap."""
    per_image_s, imbalance, overlap = assumed
    nodes, profile = _nodes(point, gpus), point.partition
    images, steps = load.per_gpu(gpus), load.steps(gpus)
    compute_s, wait_s = images * per_image_s, images * per_image_s * imbalance * slowest_of(gpus)
    assert profile.network is not None
    # What is exchanged beside gradients grows and shrinks with the micro batch.
    micro = max(1, round(images * cell.sequence / cell.accum))
    placed = replace(cell, micro_batch=micro)
    most_s, least_s = exposed_s(placed, profile.network, gpus=gpus, nodes=nodes, compute_s=compute_s)
    communication_s = most_s - overlap * (most_s - least_s)
    seconds = steps * (compute_s + wait_s + communication_s)
    return SimulatedPoint(
        gpus=gpus,
        nodes=nodes,
        held_gpus=profile.held_gpus(nodes, gpus),
        global_batch=round(images * gpus),
        steps=steps,
        compute_ms=1000 * compute_s,
        communication_ms=1000 * communication_s,
        imbalance_ms=1000 * wait_s,
        epoch_s=seconds,
        slow_s=steps * (compute_s + wait_s + most_s),
        fast_s=steps * (compute_s + least_s),
        images_per_s=steps * images * gpus / seconds,
        speedup=_IDEAL,
        efficiency=_IDEAL,
        beyond=gpus > profile.nodes * profile.gpus_per_node or nodes > profile.nodes,
    )


def _compared(point: SimulatedPoint, base: SimulatedPoint, scaling: Scaling) -> SimulatedPoint:
    """With its ratios; what is hidden is hidden at both counts, so each edge is compared with its own."""
    factor, strong = point.gpus / base.gpus, scaling is Scaling.STRONG
    edges = sorted((base.slow_s / point.slow_s, base.fast_s / point.fast_s, base.epoch_s / point.epoch_s))
    ratio = Estimate(value=base.epoch_s / point.epoch_s, low=edges[0], high=edges[-1])
    return replace(
        point,
        speedup=ratio if strong else scaled(ratio, factor),
        efficiency=scaled(ratio, 1 / factor) if strong else ratio,
    )


def _nodes(point: Point, gpus: int) -> int:
    if point.placement is Placement.SPREAD:
        return gpus
    return math.ceil(gpus / point.partition.gpus_per_node)


def _communication(point: Point, cell: Cell, most: int) -> list[Input]:
    network, profile = point.partition.network, point.partition
    assert network is not None
    size, several, moved = cost.gradient_bytes(cell), _nodes(point, most) > 1, cost.traffic_of(cell)
    source = f"partition {profile.name}, as its file says"
    stage = f" x {moved.all_reduces:g} ({cell.engine.name}, as counted)" if moved.all_reduces != 1 else ""
    inputs = [
        Input(
            name="all-reduced in a step",
            value=f"{size * moved.all_reduces / 1e6:.1f} MB",
            source=f"parameters x {cell.precision.bytes} bytes{stage}",
            guess=False,
        )
    ]
    if cell.sequence > 1:
        inputs.append(
            Input(
                name="exchanged by attention in a step",
                value=f"{exchange(cell).size_bytes / 1e6:.1f} MB a GPU",
                source=f"{cell.sequence_method.value} over {cell.sequence} GPUs",
                guess=False,
            )
        )
    if cell.model.text is not None:
        inputs.append(
            Input(
                name="gathered by the loss in a micro step",
                value=f"{8 * cell.outputs} bytes a compared pair",
                source="both points of a pair in fp32, and their gradients back",
                guess=False,
            )
        )
    if _nodes(point, 2) == 1 or not several:
        inputs.append(_of_link("inside a node", network.inside, source))
    if several and network.between is not None:
        inputs.append(_of_link("between nodes", network.between, source))
    elif several:
        inputs.append(_of_link("between nodes", network.inside, "not in the profile: that inside a node"))
    return inputs


def _of_link(where: str, link: Link, source: str) -> Input:
    # A profile may hold an estimate as well as a measurement; only a person can tell.
    ports = f"{link.ports} ports of " if link.ports > 1 else ""
    value = f"{ports}{link.gb_per_s:g} GB/s, {link.latency_us:g} µs"
    return Input(name=f"link {where}", value=value, source=source, guess=True)


def _notes(point: Point, cell: Cell, load: Workload, points: Sequence[SimulatedPoint]) -> tuple[str, ...]:
    notes, profile = [], point.partition
    if point.task is Task.CONTRASTIVE:
        notes.append("an image is an image-caption pair here")
        if point.scaling is Scaling.WEAK:
            notes.append("each number of GPUs compares another number of pairs: only times compare, not losses")
    if any(simulated.beyond for simulated in points):
        notes.append(f"* more than {profile.name} has: {nodes_by_gpus(profile.nodes, profile.gpus_per_node)}")
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
