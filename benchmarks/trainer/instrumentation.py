"""What taking the times costs: the training loop with its clock against the same loop without, in one run.

    python benchmarks/trainer/instrumentation.py [--rounds 80] [--steps 4] [--accum 1] [--json FILE]

Every round runs one epoch of each of three kinds, in an order drawn anew: `plain` (no marks, and DeepSpeed reduces by
itself), `again` (the same: the A/A control) and `clocked` (the loop that studies run). One engine, one process, one
rank; the GPU if there is one, else one core. Ratios are paired within a round; the interval holds the median with 95 %
(order statistics). Goal: clocked / plain at most 1.02. What the control shows beside 1 is noise of this machine; on a
busy one look at the processor time of the same epochs (evaluation and reading the clock included), and at the price of
the marks alone, which is all that the loop does more.
"""

import random
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.provenance import options, report
from benchmarks.ratios import paired
from benchmarks.trainer.one_rank import one_rank, trainer_of
from benchmarks.trainer.step_variants import MODELS
from launchers.profile import Device
from tests.unit import builders
from vit_sweep.job.train.clock import marks_of, phases_of_step
from vit_sweep.job.train.engines.build import engine_of
from vit_sweep.job.train.images.data import load
from vit_sweep.job.train.images.pipeline import pipeline_of
from vit_sweep.job.train.loop import Trainer
from vit_sweep.job.train.model import DTYPES, device_of
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.specs import ModelSpec

GOAL = 1.02
Seconds = dict[str, list[float]]
"""Of an epoch, by kind, one of each per round."""
KINDS = ("plain", "again", "clocked")
SMALL = ModelSpec(name="vit_small", image_size=32, patch_size=4, layers=4, heads=3, width=192, mlp_width=768)


def cell_of(steps: int, accum: int, *, gpu_batch: int = 64, **changes: Any) -> Cell:
    """ViT-B/16 in bf16 on a GPU, four thin layers on a core: steps of 50 to 100 ms either way; but for `changes`."""
    cuda = torch.cuda.is_available()
    micro_batch = gpu_batch if cuda else 8
    images = steps * accum * micro_batch
    fields: dict[str, Any] = {
        "device": Device.CUDA if cuda else Device.CPU,
        "micro_batch": micro_batch,
        "accum": accum,
        "train_images": images,
        "epochs": 1,
        "warmup_steps": 0,
        "precision": Precision.BF16 if cuda else Precision.FP32,
        "model": MODELS["vit_b_16"] if cuda else SMALL,
        "data": replace(builders.DATA, train_images=images, test_images=micro_batch),
        "optimizer": replace(builders.OPTIMIZER, learning_rate=1e-4),
    }
    return builders.cell(**(fields | changes))


def trainers_of(cell: Cell) -> tuple[Any, dict[str, Trainer]]:
    """A trainer of each kind, all with one engine."""
    device = device_of(cell)
    train, test = load(cell.data, Path())
    engine = engine_of(cell)
    pipeline = pipeline_of(cell, train=train, device=device, dtype=DTYPES[cell.precision], rank=0)
    return engine, {kind: trainer_of(cell, engine, pipeline, test, instrumented=kind == "clocked") for kind in KINDS}


def measure(cell: Cell, rounds: int) -> tuple[Seconds, Seconds]:
    """Wall time of the steps of each epoch, processor time of all of it."""
    engine, trainers = trainers_of(cell)
    wall: Seconds = {kind: [] for kind in KINDS}
    cpu: Seconds = {kind: [] for kind in KINDS}
    order = random.Random(0)
    for number in range(rounds + 1):
        for kind in order.sample(KINDS, len(KINDS)):
            engine.exchange_apart(kind == "clocked")
            begun = time.process_time()
            epoch = trainers[kind].epoch()
            used = time.process_time() - begun
            assert len(epoch.step_ms) == (cell.steps_per_epoch if kind == "clocked" else 0)
            if number:  # the first round is warm-up
                wall[kind].append(epoch.seconds)
                cpu[kind].append(used)
    return wall, cpu


def marks_us(cell: Cell, times: int = 10_000) -> float:
    """Microseconds of the host for the marks of one step."""
    marks, marks_a_step = marks_of(device_of(cell)), len(phases_of_step(cell.accum, communication=True))
    for _ in range(2):  # the first time makes the events
        begun = time.perf_counter()
        for _ in range(times):
            marks.mark()
        spent = time.perf_counter() - begun
        marks.gaps_ms()
    return 1e6 * spent / times * marks_a_step


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--accum", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    cell = cell_of(args.steps, args.accum)
    with one_rank(cuda=cell.device is Device.CUDA):
        wall, cpu = measure(cell, args.rounds)
    step_ms = 1000 * median(wall["plain"]) / args.steps
    marks = marks_us(cell)
    results = {
        "device": torch.cuda.get_device_name() if cell.device is Device.CUDA else "one core",
        "model": cell.model.name,
        "accum": args.accum,
        "rounds": args.rounds,
        "steps": args.steps,
        "step_ms": round(step_ms, 3),
        "goal": GOAL,
        "marks_us": round(marks, 2),
        "marks": round(marks / 1000 / step_ms, 6),
        "wall": {kind: paired(wall[kind], wall["plain"]) for kind in KINDS[1:]},
        "processor": {kind: paired(cpu[kind], cpu["plain"]) for kind in KINDS[1:]},
    }
    print(
        f"{results['model']} on {results['device']}, accum {args.accum}: {step_ms:.2f} ms a step, "
        f"{args.rounds} rounds of {args.steps} steps, {time.perf_counter() - begun:.0f} s"
    )
    for clock in ("wall", "processor"):
        for kind, label in (("again", "A/A control"), ("clocked", f"clocked / plain, goal {GOAL}")):
            part = results[clock][kind]
            print(f"{clock} time, {label}: {part['ratio']:.4f} ({part['low']:.4f} to {part['high']:.4f})")
    print(f"the marks of a step alone: {marks:.1f} us, {results['marks']:.4%} of it")
    report(results, args)


if __name__ == "__main__":
    main()
