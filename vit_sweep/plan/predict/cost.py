"""Predicted time and GPU-hours of a cell, always with the basis of the estimate. Pure.

    step = accum x micro batch x FLOP per image / (sequence x fraction x peak)  +  communication  +  exchange
         +  states outside of the GPU (`offload`)
    communication = what the engine moves (`traffic`) over the links (`ring`), less what it hides (`engines`)
    exchange = what attention moves within a sequence group (`sequence`), or a loss over all pairs (`pairs`): nothing
               hides it
    run  = start-up + preflight + epochs x (steps x step + test) + what is measured after the last epoch

Where runs of the same model on the same GPU model have finished, their throughput replaces the first term, and the
longest start-up of those on at least as many nodes replaces the assumed one.
"""

from collections.abc import Sequence

from launchers.checked import Quantity, checked
from launchers.hosts import choose_hosts
from launchers.profile import Network, PartitionProfile, Positive
from launchers.text import plural
from vit_sweep.plan.cell import Cell, JobOptions
from vit_sweep.plan.choices import Precision, SequenceMethod
from vit_sweep.plan.engine.kinds import hides
from vit_sweep.plan.predict import measuring, offload, pairs, ring, traffic
from vit_sweep.plan.predict.sequence import exchange
from vit_sweep.plan.predict.vit import parameters, train_flop

FRACTION_OF_PEAK = {Precision.FP32: 0.30, Precision.TF32: 0.25, Precision.BF16: 0.25, Precision.FP16: 0.20}
"""Eager ViT-B/16 training: T4 fp32 36 % and A40 fp32 29 % (logs of arXiv:2602.21081); 16-bit 20-30 % uncompiled."""
RECOMPUTATION = 4 / 3
"""Operations of a step with every block's forward done twice: forward 1 + backward 2 + forward again 1, over 3.
They cost time. They are no model FLOPs: MFU never counts them."""
STARTUP_S = 90.0
"""Imports, rendezvous, data and engine of a job, until one has been seen."""
TEST_SHARE = 1 / 3
"""Operations of an image in a test against one in training."""
AS_USUAL = JobOptions()


@checked
class Throughput:
    """How fast a finished run trained."""

    cell: Cell
    """What it was measured on."""
    images_per_s: Positive
    """Of one GPU, in steady state."""
    startup_s: Quantity | None = None
    """From its job's first line to its first step, preflight included."""


@checked
class Computation:
    """How long one GPU would compute for an image, in training."""

    image_s: float
    basis: str
    measured: bool
    """Whether finished runs are behind it."""


@checked
class TimeEstimate:
    """Predicted time of one run. Not a promise: `basis` says where it comes from."""

    seconds: float
    """From the job's first line to its last."""
    step_ms: float
    basis: str
    measured: bool
    """Whether finished runs are behind it."""


def predict(
    cell: Cell, profile: PartitionProfile, finished: Sequence[Throughput], options: JobOptions = AS_USUAL
) -> TimeEstimate | None:
    """Predict a run from finished ones, else from FLOPs; None when neither the runs nor the peak are known.

    `options` say what the job measures beside its training, which takes up to about 70 s.
    """
    computation = computes(cell, profile, finished)
    if computation is None:
        return None
    whole_s, basis = communicates_s(cell, profile), computation.basis
    computes_s = cell.accum * cell.micro_batch * computation.image_s / cell.sequence
    step_s = computes_s + max(0.0, whole_s - hides(cell) * computes_s) + exchanges_s(cell, profile.network)
    offload_s = offload.step_s(cell, profile.offload)
    step_s += offload_s
    test_s = cell.data.test_images / cell.gpus * computation.image_s * TEST_SHARE
    seconds = _startup_s(cell, finished) + cell.epochs_here * (cell.steps_per_epoch * step_s + test_s)
    seconds += _measuring_s(cell, profile.network, step_s, options)
    if whole_s and not computation.measured:
        basis += " + communication"
    if offload_s and not computation.measured:
        basis += " + offload"
    return TimeEstimate(seconds=seconds, step_ms=1000 * step_s, basis=basis, measured=computation.measured)


def _startup_s(cell: Cell, finished: Sequence[Throughput]) -> float:
    alike = (run for run in finished if _alike(run.cell, cell) and run.cell.nodes >= cell.nodes)
    return max((run.startup_s for run in alike if run.startup_s is not None), default=STARTUP_S)


def computes(cell: Cell, profile: PartitionProfile, finished: Sequence[Throughput]) -> Computation | None:
    """Of an image, communication left out; None when neither runs nor the peak are known."""
    alike = [run for run in finished if _alike(run.cell, cell)]
    if alike:
        nearest = min(alike, key=lambda run: _distance(run.cell, cell))
        old, rate = nearest.cell, nearest.images_per_s
        image_s = max(_computes_s(old, profile, 1 / rate), 0.1 / rate)
        return Computation(
            image_s=image_s, basis=f"{plural(len(alike), 'finished run')}, nearest {old.cell_id}", measured=True
        )
    peak = _peak_tflops(cell, profile)
    if peak is None:
        return None
    fraction = FRACTION_OF_PEAK[cell.precision.products]
    passes = RECOMPUTATION if cell.activation_checkpointing else 1
    recomputed = " + recomputation" if cell.activation_checkpointing else ""
    return Computation(
        image_s=(passes * train_flop(cell.model, cell.outputs) + pairs.loss_flop(cell)) / (fraction * peak * 1e12),
        basis=f"{fraction:.0%} of {peak:g} TFLOP/s{recomputed}",
        measured=False,
    )


def _computes_s(cell: Cell, profile: PartitionProfile, image_s: float) -> float:
    """Seconds of computation of an image, where it took `image_s` of GPUs with all that was not hidden.

    A step of computation c that hides h c of communication T takes c + T - h c, or c where all of T is hidden; what a
    sequence group exchanges and what offloaded states take comes on top.
    """
    images = cell.micro_batch * cell.accum / cell.sequence
    image_s -= (exchanges_s(cell, profile.network) + offload.step_s(cell, profile.offload)) / images
    whole_s = communicates_s(cell, profile) / images
    return min(image_s, (image_s - whole_s) / (1 - hides(cell)))


def _measuring_s(cell: Cell, network: Network | None, step_s: float, options: JobOptions) -> float:
    """Seconds of certificate, preflight and what is measured after the training."""
    spent = measuring.after_s(
        step_s,
        ranks=cell.gpus,
        trained_steps=cell.steps_here,
        exposed=options.exposed,
        profile_steps=options.profile_steps,
        profilers=options.deepspeed_profilers,
    )
    if options.certify:
        image_s = step_s / (cell.micro_batch * cell.accum)
        spent += measuring.certificate_s(image_s, ranks=cell.gpus, accum=cell.accum, blocks=cell.model.layers)
    if options.preflight:
        messages = measuring.sizes(gradient_bytes(cell)) if cell.gpus > 1 else []
        times = None
        if network is not None:
            times = [ring.over_nodes_s(network, gpus=cell.gpus, nodes=cell.nodes, size_bytes=size) for size in messages]
        spent += measuring.preflight_s(times, len(messages))
    return spent


def communicates_s(cell: Cell, profile: PartitionProfile) -> float:
    """Seconds of a step's collectives over the partition's links, hidden ones included; 0 on one GPU, and where no link
    is known."""
    if profile.network is None:
        return 0.0
    moved = traffic_of(cell)
    return moved.all_reduces * ring.over_nodes_s(
        profile.network, gpus=cell.gpus, nodes=cell.nodes, size_bytes=gradient_bytes(cell), calls=moved.buckets
    )


def exchanges_s(cell: Cell, network: Network | None) -> float:
    """Seconds of a step's exchanges within a sequence group, or of all pairs; 0 without, and where no link is known."""
    gathered = pairs.gathering(cell)
    if network is not None and gathered.calls:
        size, calls = gathered.size_bytes, gathered.calls
        return ring.over_nodes_s(network, gpus=cell.gpus, nodes=cell.nodes, size_bytes=size, calls=calls)
    if network is None or cell.sequence == 1:
        return 0.0
    moved, nodes = exchange(cell), cell.sequence_nodes
    if cell.sequence_method is SequenceMethod.RING:
        return ring.pass_on_s(network, nodes=nodes, size_bytes=moved.size_bytes, calls=moved.calls)
    return ring.all_to_all_s(network, ranks=cell.sequence, nodes=nodes, size_bytes=moved.size_bytes, calls=moved.calls)


def traffic_of(cell: Cell) -> traffic.Traffic:
    """What a step of the cell communicates."""
    blocks = cell.model.layers + (cell.model.text.layers if cell.model.text is not None else 0)
    return traffic.of_step(cell.engine, cell.accum, parameters(cell.model, cell.outputs), blocks=blocks)


def gradient_bytes(cell: Cell) -> int:
    """Bytes of the whole gradient, and of the weights: both are communicated in the number format of the weights."""
    return parameters(cell.model, cell.outputs) * cell.precision.bytes


def _alike(cell: Cell, other: Cell) -> bool:
    """Whether the throughput of one says something about the other."""
    keys = (
        "model",
        "precision",
        "engine",
        "gpu_model",
        "device",
        "cpus_per_gpu",
        "partition",
        "pipeline",
        "activation_checkpointing",
        "compile",
        "sequence",
        "sequence_method",
        "attention",
    )
    return all(getattr(cell, key) == getattr(other, key) for key in keys)


def _distance(cell: Cell, other: Cell) -> tuple[bool, float, float]:
    """Equal micro batch first, then the nearest one, then the nearest GPU count."""
    ratio = max(cell.micro_batch, other.micro_batch) / min(cell.micro_batch, other.micro_batch)
    gpus = max(cell.gpus, other.gpus) / min(cell.gpus, other.gpus)
    return (cell.micro_batch != other.micro_batch, ratio, gpus)


def _peak_tflops(cell: Cell, profile: PartitionProfile) -> float | None:
    """Peak of the cell's GPUs in what its products are taken in; on hosts that differ, of the weakest that says."""
    hosts = choose_hosts(profile, cell.nodes, cell.gpus_per_node) if profile.hosts else ()
    tables = [host.peak_tflops or profile.peak_tflops for host in hosts if not isinstance(host, str)]
    names = [cell.precision.products.value]
    if cell.precision is Precision.TF32:
        names.append(Precision.FP32.value)  # where the profile does not say it, it is at least as fast as fp32
    peaks = [next((t[name] for name in names if name in t), None) for t in tables or [profile.peak_tflops]]
    return min((peak for peak in peaks if peak is not None), default=None)
