"""The trainer's tax for each engine, and the engines beside one another: all interleaved in one run, on one rank.

    python benchmarks/trainer/engines.py [--engines ddp,zero0] [--rounds 8] [--steps 8] [--precision bf16_amp]

For each engine three kinds: `bare` (the loop as the library's documentation writes it: batch, forward, loss, backward,
step, and no number taken), `again` (the same: the A/A control) and `trainer` (the loop that studies run, with its
clock, its sums of loss and accuracy and its schedule). A round runs one block of each kind of each engine, in an order
drawn anew. Tax = trainer / bare, paired within a round, goal at most 1.02; images/s of the trainer over those of DDP's,
paired too; intervals hold the median with 95 % (order statistics). An engine that cannot be here is a reason. With one
rank nothing is exchanged: this is what each library's own machinery costs. The GPU if there is one, else one core.
The processor time of the same steps stands beside: it moves less with what else the machine does.
"""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.provenance import options, report
from benchmarks.ratios import paired, text_of
from benchmarks.trainer.instrumentation import cell_of
from benchmarks.trainer.one_rank import one_rank, trainer_of
from launchers.profile import Device
from vit_sweep.job.train.engines.autocast import under_autocast
from vit_sweep.job.train.engines.build import engine_of
from vit_sweep.job.train.images.data import Split, load
from vit_sweep.job.train.images.pipeline import Pipeline, pipeline_of
from vit_sweep.job.train.loop import Trainer
from vit_sweep.job.train.model import DTYPES, device_of, optimizer, vision_transformer
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.engine.ds_config import ds_config
from vit_sweep.plan.specs import EngineSpec

GOAL = 1.02
KINDS = ("bare", "again", "trainer")
Step = Callable[[Tensor, Tensor], None]
"""One step of images (n, channels, rows, columns) and labels (n,)."""
Block = Callable[[], tuple[float, float]]
"""Runs some steps: their seconds, and their seconds of the processor."""
Seconds = dict[str, dict[str, list[float]]]
"""Of every block, by engine and kind, one of each per round."""
ENGINES = {
    "ddp": EngineSpec(name="ddp", zero_stage=None, kind="ddp"),
    "fsdp2": EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True),
    "accelerate": EngineSpec(name="accelerate", zero_stage=None, kind="accelerate"),
    "megatron": EngineSpec(name="megatron", zero_stage=None, kind="megatron", distributed_optimizer=True),
} | {f"zero{stage}": EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)}


def bare_step(cell: Cell) -> Step:
    """A step of the library alone, its model and optimizer made as our engine makes them."""
    model = vision_transformer(cell).to(device_of(cell))
    return {"deepspeed": _deepspeed, "ddp": _ddp, "fsdp2": _fsdp2, "accelerate": _accelerate, "megatron": _megatron}[
        cell.engine.kind
    ](cell, model)


def _plain(model: nn.Module, updates: torch.optim.Optimizer) -> Step:
    def step(images: Tensor, labels: Tensor) -> None:
        updates.zero_grad()
        cross_entropy(model(images).float(), labels).backward()  # type: ignore[no-untyped-call]  # torch's own gap
        updates.step()

    return step


def _ddp(cell: Cell, model: nn.Module) -> Step:
    from torch.nn.parallel import DistributedDataParallel

    under_autocast(cell, model)
    devices = [0] if cell.device is Device.CUDA else None
    wrapped = DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True, static_graph=True)
    return _plain(wrapped, optimizer(cell, model))


def _fsdp2(cell: Cell, model: nn.Module) -> Step:
    from torch.distributed.fsdp import fully_shard

    under_autocast(cell, model)
    for block in model.get_submodule("encoder.layers").children():
        fully_shard(block)
    fully_shard(model)
    return _plain(model, optimizer(cell, model))


def _deepspeed(cell: Cell, model: nn.Module) -> Step:
    import deepspeed

    under_autocast(cell, model)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer(cell, model), config=ds_config(cell))

    def step(images: Tensor, labels: Tensor) -> None:
        engine.backward(cross_entropy(engine(images).float(), labels))
        engine.step()

    return step


def _accelerate(cell: Cell, model: nn.Module) -> Step:
    from accelerate import Accelerator

    from vit_sweep.job.train.engines.accelerate import _environment

    with _environment(cell, ACCELERATE_USE_DEEPSPEED="false"):
        mixed = cell.precision.products.value if cell.precision.autocast else "no"
        accelerator = Accelerator(cpu=cell.device is Device.CPU, mixed_precision=mixed)
        model, updates = accelerator.prepare(model, optimizer(cell, model))

    def step(images: Tensor, labels: Tensor) -> None:
        updates.zero_grad()
        accelerator.backward(cross_entropy(model(images).float(), labels))
        updates.step()

    return step


def _megatron(cell: Cell, model: nn.Module) -> Step:
    from megatron.core import parallel_state
    from megatron.core.distributed import DistributedDataParallel

    from vit_sweep.job.train.engines import megatron

    if not parallel_state.is_initialized():
        parallel_state.initialize_model_parallel(create_gloo_process_groups=False)
    under_autocast(cell, model)
    wrapped = DistributedDataParallel(megatron._shape(cell), megatron._communication(cell), model)
    updates = megatron._optimizer(cell, wrapped)

    def step(images: Tensor, labels: Tensor) -> None:
        wrapped.zero_grad_buffer()
        updates.zero_grad()
        cross_entropy(wrapped(images).float(), labels).backward()  # type: ignore[no-untyped-call]  # torch's own gap
        wrapped.finish_grad_sync()
        updates.step()

    return step


def bare(cell: Cell, step: Step, pipeline: Pipeline) -> Block:
    """An epoch of the bare loop, the GPU's work included."""

    def block() -> tuple[float, float]:
        batches = pipeline.epoch(1)
        _settle(cell)
        begun, processor_begun = time.perf_counter(), time.process_time()
        for raw in batches:
            step(*pipeline.ready(raw))
        _settle(cell)
        return time.perf_counter() - begun, time.process_time() - processor_begun

    return block


def trained(trainer: Trainer) -> Block:
    """An epoch of the loop that studies run; what follows its last step is not counted."""

    def block() -> tuple[float, float]:
        epoch = trainer.epoch()
        return epoch.seconds, epoch.host_by_rank[0].cpu_s

    return block


def _settle(cell: Cell) -> None:
    if cell.device is Device.CUDA:
        torch.cuda.synchronize()


def blocks_of(cell: Cell, train: Split, test: Split) -> dict[str, Block]:
    """A block of each kind."""
    device = device_of(cell)
    pipeline = pipeline_of(cell, train=train, device=device, dtype=DTYPES[cell.precision], rank=0)
    trainer = trainer_of(cell, engine_of(cell), pipeline, test)
    bare_blocks = bare(cell, bare_step(cell), pipeline)
    return {"bare": bare_blocks, "again": bare_blocks, "trainer": trained(trainer)}


def measure(cells: dict[str, Cell], rounds: int) -> tuple[Seconds, Seconds, dict[str, str]]:
    """Wall and processor time of every block, and why an engine is left out."""
    blocks: dict[str, dict[str, Block]] = {}
    absent: dict[str, str] = {}
    train, test = load(next(iter(cells.values())).data, Path())
    for name, cell in cells.items():
        try:
            blocks[name] = blocks_of(cell, train, test)
            for block in blocks[name].values():  # warm: kernels are chosen, buckets built
                block()
        except Exception as error:  # whatever a library says of this machine: the others go on
            absent[name] = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
            blocks.pop(name, None)
        print(f"{name}: {absent.get(name, 'ready')}", flush=True)
    wall: Seconds = {name: {kind: [] for kind in KINDS} for name in blocks}
    processor: Seconds = {name: {kind: [] for kind in KINDS} for name in blocks}
    order, turns = random.Random(0), [(name, kind) for name in blocks for kind in KINDS]
    for _ in range(rounds):
        for name, kind in order.sample(turns, len(turns)):
            seconds, processor_seconds = blocks[name][kind]()
            wall[name][kind].append(seconds)
            processor[name][kind].append(processor_seconds)
    return wall, processor, absent


def rows_of(wall: Seconds, processor: Seconds, images: int) -> dict[str, dict[str, Any]]:
    """Of each engine: images/s, tax, A/A control, and its rate over DDP's."""
    control = wall.get("ddp")
    return {
        name: {
            "images_per_s": round(images / median(blocks["trainer"]), 1),
            "bare_images_per_s": round(images / median(blocks["bare"]), 1),
            "tax": paired(blocks["trainer"], blocks["bare"]),
            "again": paired(blocks["again"], blocks["bare"]),
            "processor_tax": paired(processor[name]["trainer"], processor[name]["bare"]),
            "processor_again": paired(processor[name]["again"], processor[name]["bare"]),
            "rate_over_ddp": paired(control["trainer"], blocks["trainer"]) if control else None,
        }
        for name, blocks in wall.items()
    }


def main() -> int:
    """Measure, print, and write JSON if asked."""
    parser = options(__doc__)
    parser.add_argument("--engines", default=",".join(ENGINES), help="some of them, with commas")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8, help="of a block")
    parser.add_argument("--precision", type=Precision, choices=tuple(Precision))
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    if not cuda:
        torch.set_num_threads(1)
    precision = args.precision or (Precision.BF16_AMP if cuda else Precision.FP32)
    cells = {
        name: cell_of(args.steps, 1, gpu_batch=128, engine=ENGINES[name], precision=precision)
        for name in args.engines.split(",")
    }
    with one_rank(cuda=cuda):
        wall, processor, absent = measure(cells, args.rounds)
    any_cell = next(iter(cells.values()))
    rows = rows_of(wall, processor, any_cell.train_images)
    for name, row in rows.items():
        over_ddp = row["rate_over_ddp"]
        print(
            f"{name:<12}{row['images_per_s']:>9,.1f} images/s, tax {text_of(row['tax'])}, A/A {text_of(row['again'])}, "
            f"by processor time {text_of(row['processor_tax'])}, A/A {text_of(row['processor_again'])}"
            + (f", x DDP {over_ddp['ratio']:.3f}" if over_ddp else "")
        )
    head = {
        "schema_version": 1,
        "device": torch.cuda.get_device_name() if cuda else "one core",
        "model": any_cell.model.name,
        "precision": precision.value,
        "micro_batch": any_cell.micro_batch,
        "rounds": args.rounds,
        "steps": args.steps,
        "goal": GOAL,
    }
    report(head | {"engines": rows, "absent": absent}, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
