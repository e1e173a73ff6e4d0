"""A made-up study for the figures: strong and weak, 1 to 32 GPUs, repeats, placements, failures. Nothing is measured.

Times follow compute + all-reduce (ring, 346 MB of gradient) + stragglers, with a seeded spread between repeats.
"""

import math
import random
from dataclasses import replace

from tests.unit.analysis.builders import run, without_time
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_intervals
from vit_sweep.plan.cell import Series as Membership
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.record.stats import StepParts

IMAGES = 50_000
PER_GPU = 5_000
GRADIENT_GB = 0.346


def study(
    *,
    gpus=(1, 2, 4, 8, 16, 32),
    batches=(16, 64),
    placements=("packed", "spread"),
    repeats=3,
    engines=("zero0",),
    modes=(Scaling.STRONG, Scaling.WEAK),
    epochs=5,
    troubles=True,
):
    """Runs of the whole grid; with `troubles` a full GPU, a failure, a slow rank, crowded ranks and a foreign GPU."""
    runs = [
        one_run(mode, count, batch, placement, engine, repeat=repeat, epochs=epochs)
        for mode in modes
        for engine in engines
        for batch in batches
        for placement in placements
        for count in gpus
        for repeat in range(repeats)
        if count > 1 or placement == placements[0]
    ]
    if "spread" not in placements:
        runs = [replace(run, curves=tuple(c for c in run.curves if c.placement == "packed")) for run in runs]
    if not troubles:
        return runs
    least, most = min(batches), max(batches)
    strong = {
        "scaling": Scaling.STRONG,
        "placement": "packed",
        "micro_batch": 2 * most,
        "work": IMAGES,
        "nodes": 1,
        "conditions": {"engine": engines[0], "epochs": str(epochs)},
    }
    spread = strong | {"placement": "spread", "micro_batch": most}
    full = {"status": "out_of_memory", "cause": "out_of_memory", "memory_predicted_mib": 17_000.0, **strong}
    extra = [
        without_time(1, run_id="full", **full),
        without_time(2, run_id="full-2", **full),
        one_run(Scaling.STRONG, 4, least, "packed", engines[0], repeat=9, epochs=epochs, factor=1.7, device="Tesla P4"),
    ]
    if "spread" in placements:
        extra.append(without_time(64, "failed", cause="crash", run_id="crash", **(spread | {"nodes": 64})))
    if Scaling.WEAK in modes:
        extra.append(one_run(Scaling.WEAK, 64, least, "packed", engines[0], epochs=epochs, oversubscribed=True))
    return runs + extra


def series_of(runs, scaling, *, intervals=True):
    """The curves of one mode, with intervals."""
    grouped = group(runs, scaling)
    return [with_intervals(curve) for curve in grouped] if intervals else grouped


def one_run(mode, gpus, micro, placement, engine, *, repeat=0, epochs=5, factor=1.0, device="Tesla T4", **changes):
    """One finished run; its luck depends on what it is, not on the order of making."""
    luck = random.Random(f"{mode}{gpus}{micro}{placement}{engine}{repeat}")
    each = 8 if placement == "packed" else 1
    nodes = math.ceil(gpus / each)
    work = IMAGES if mode is Scaling.STRONG else PER_GPU * gpus
    stage = int(engine[-1])
    forward = factor * (7.0 + micro * 11.2) * (1 + 0.04 * stage)
    slow = 1 + abs(luck.gauss(0, 0.012))
    bus = 5.0 if nodes == 1 else 3.2
    reduce = 4.0 if gpus == 1 else 2 * (gpus - 1) / gpus * GRADIENT_GB / bus * 1000 + 0.4 * math.log2(gpus)
    straggler = 0.0 if gpus == 1 else forward * 3 * 0.012 * math.log2(gpus) * abs(luck.gauss(1, 0.3))
    ranks = tuple(3 * forward * slow * (1 + abs(luck.gauss(0, 0.006))) for _ in range(gpus))
    if gpus >= 16 and repeat == 1:
        ranks = tuple(ms * (1.13 if rank == gpus // 3 else 1.0) for rank, ms in enumerate(ranks))
        straggler += 0.12 * forward * 3
    parts = StepParts(
        data_wait=2.0 + 0.02 * micro,
        copy=0.6,
        forward=forward * slow,
        backward=2 * forward * slow,
        communication=reduce if stage == 0 else None,
        straggler_wait=straggler,
        optimizer=29.0,
        other=3.0,
    )
    step = sum(v or 0.0 for v in (parts.data_wait, parts.copy, parts.forward, parts.backward, straggler, 32.0)) + reduce
    batch = micro * gpus
    steps = math.ceil(work / batch)
    epoch = steps * step / 1000
    times = tuple(epoch * (1 + luck.gauss(0, 0.006)) for _ in range(epochs - 1))
    final = max(0.02, 0.62 - 0.055 * abs(math.log2(batch / 96)) ** 1.5) + luck.gauss(0, 0.004)
    learned = tuple(max(0.1, final * (1 - math.exp(-(1.1 + e) / 1.8))) for e in range(epochs))
    return run(
        gpus,
        times,
        scaling=mode,
        placement=placement,
        seed=repeat,
        nodes=nodes,
        micro_batch=micro,
        work=work,
        run_id=f"{mode}-g{gpus}-b{micro}-{placement}-{engine}-r{repeat}",
        images=steps * batch,
        conditions={"engine": engine, "epochs": str(epochs)},
        devices=(device,) * gpus,
        curves=_curves(mode, gpus, placement),
        parts=parts,
        step_ms=step,
        compute_ms_by_rank=ranks,
        step_ms_by_rank=tuple(step for _ in ranks),
        test_accuracy=learned,
        train_accuracy=tuple(1.1 * a for a in learned),
        step_percentiles=" ".join(str(step * (0.97 + 0.06 * p / 100 + 0.2 * (p / 100) ** 12)) for p in range(101)),
        step_flop=105.1e9 * micro,
        moved_bytes=6.5e9 + 1.9e9 * micro,
        matmul_tflops=4.1,
        memory_gb_per_s=243.0,
        bytes_per_step=GRADIENT_GB * 1e9,
        bus_gb_per_s=bus,
        memory_mib=(1.35 + 0.146 * micro * (1 - 0.06 * stage)) * 1024 * (1 + luck.gauss(0, 0.01)),
        memory_predicted_mib=(1.2 + 0.15 * micro * (1 - 0.06 * stage)) * 1024,
        **({"oversubscribed": True} if changes.get("oversubscribed") else {}),
    )


def _curves(mode, gpus, placement):
    """One GPU starts the packed curve and the spread one."""
    places = ("packed", "spread") if gpus == 1 else (placement,)
    return tuple(Membership(scaling=mode, batch_per=BatchPer.GPU, placement=place) for place in places)
