"""What a switch does to a training step on a CPU: each against the plain step, in turns, in one process.

    python benchmarks/trainer/cpu_step.py [--switches NAME ...] [--rounds 12] [--steps 4] [--layers 4] [--width 192]
    python benchmarks/trainer/cpu_step.py --ranks 2    # how gradients are exchanged, between processes over gloo

The plain step is the trainer's: its model, its optimizer, DDP as its engine makes it, fp32, one thread. A round runs a
block of steps of every switch in an order drawn anew; ratios are of one image's time, paired within a round, intervals
hold the median with 95 % (order statistics), and `again` is the plain step once more (A/A). Processor time counts all
threads, so more threads are to be judged by wall time on a quiet machine. `loss` says how far a switch's loss is from
the plain one's after the first block: what is not 0 trains other numbers. A switch that cannot be here is a reason.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy, linear
from torch.nn.parallel import DistributedDataParallel

from benchmarks.provenance import Table, options, report
from benchmarks.ratios import paired, text_of
from benchmarks.rounds import AGAIN
from benchmarks.trainer.instrumentation import cell_of
from vit_sweep.job.train.engines.autocast import under_autocast
from vit_sweep.job.train.engines.ddp import ddp_options
from vit_sweep.job.train.model import DTYPES, optimizer, vision_transformer
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Precision

PLAIN = "plain"


def _as_it_is(model: nn.Module) -> nn.Module:
    return model


def _channels_last(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)


def _patches_by_product(model: nn.Module) -> nn.Module:
    """The patches' convolution, whose kernel is its stride, as one product of matrices."""
    patches = model.get_submodule("conv_proj")
    assert isinstance(patches, nn.Conv2d)
    rows, columns = patches.kernel_size

    def product(images: Tensor) -> Tensor:  # (n, channels, height, width)
        n, channels, height, width = images.shape
        down, across = height // rows, width // columns
        flat = images.reshape(n, channels, down, rows, across, columns).permute(0, 2, 4, 1, 3, 5).flatten(3)
        tokens = linear(flat, patches.weight.flatten(1), patches.bias)  # (n, down, across, width of a token)
        return tokens.permute(0, 3, 1, 2)

    patches.forward = product  # type: ignore[assignment,method-assign]
    return model


def _compiled_blocks(model: nn.Module) -> nn.Module:
    for block in model.get_submodule("encoder.layers").children():
        block.compile()
    return model


def _compiled_whole(model: nn.Module) -> nn.Module:
    model.compile()
    return model


@dataclass(frozen=True)
class Switch:
    """What is other than in the plain step."""

    model: Callable[[nn.Module], nn.Module] = _as_it_is
    precision: Precision = Precision.FP32
    adamw: Mapping[str, Any] = field(default_factory=dict)
    """Options of torch's AdamW."""
    ddp: Mapping[str, Any] = field(default_factory=dict)
    """Options of DDP."""
    images: float = 1.0
    """Times the micro batch."""
    threads: int = 1
    pinned: bool = False
    """Whether the thread keeps to one core."""
    denormals: bool = True
    """Whether numbers too small for a whole mantissa are kept."""


SWITCHES = {
    "AdamW fused": Switch(adamw={"fused": True}),
    "AdamW foreach": Switch(adamw={"foreach": True}),
    "bf16_amp": Switch(precision=Precision.BF16_AMP),
    "bf16": Switch(precision=Precision.BF16),
    "patches channels-last": Switch(model=_channels_last),
    "patches as a product": Switch(model=_patches_by_product),
    "blocks compiled": Switch(model=_compiled_blocks),
    "model compiled": Switch(model=_compiled_whole),
    "buckets copied": Switch(ddp={"gradient_as_bucket_view": False}),
    "denormals flushed": Switch(denormals=False),
    "bf16_amp, blocks compiled": Switch(model=_compiled_blocks, precision=Precision.BF16_AMP),
    "one core kept": Switch(pinned=True),
    "two threads": Switch(threads=2),
    "micro batch / 2": Switch(images=0.5),
    "micro batch x 2": Switch(images=2.0),
    "micro batch x 4": Switch(images=4.0),
}
BETWEEN_RANKS = {
    "buckets copied": Switch(ddp={"gradient_as_bucket_view": False}),
    "buckets of 1 MiB": Switch(ddp={"bucket_cap_mb": 1}),
    "one bucket, after backward": Switch(ddp={"bucket_cap_mb": 1 << 20, "static_graph": False}),
}
"""Of two ranks or more; the last one exchanges nothing while backward still computes, as DeepSpeed does for ZeRO 0."""


class Block(NamedTuple):
    """What some steps took, of one image."""

    wall: float
    cpu: float


class Stepping:
    """A model with its optimizer, and steps on one constant batch."""

    def __init__(self, cell: Cell, switch: Switch) -> None:
        """Alike for all switches: weights and images are of the cell's seed."""
        self._switch = switch
        cell = replace(cell, precision=switch.precision)
        model = switch.model(vision_transformer(cell).to(DTYPES[cell.precision]))
        under_autocast(cell, model)
        self._ddp = DistributedDataParallel(model, **(ddp_options(cell) | dict(switch.ddp)))
        adamw = optimizer(cell, model)
        if switch.adamw:
            groups = [{"params": g["params"], "weight_decay": g["weight_decay"]} for g in adamw.param_groups]
            adamw = torch.optim.AdamW(groups, lr=adamw.param_groups[0]["lr"], **switch.adamw)
        self._updates = adamw
        generator, images = torch.Generator().manual_seed(cell.seed), round(cell.micro_batch * switch.images)
        shape = (images, cell.data.channels, *cell.model.image_shape)
        self._images = torch.rand(shape, generator=generator).to(DTYPES[cell.precision])
        if switch.model is _channels_last:
            self._images = self._images.contiguous(memory_format=torch.channels_last)
        self._labels = torch.randint(cell.data.classes, (images,), generator=generator)
        self.loss = float("nan")

    def block(self, steps: int) -> Block:
        """Run so many steps."""
        torch.set_num_threads(self._switch.threads)
        torch.set_flush_denormal(not self._switch.denormals)
        cores = os.sched_getaffinity(0)
        if self._switch.pinned:
            os.sched_setaffinity(0, {min(cores)})
        dist.barrier()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            loss = cross_entropy(self._ddp(self._images).float(), self._labels)
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own gap
            self._updates.step()
            self._updates.zero_grad()
        images = steps * len(self._labels)
        took = Block((time.perf_counter() - wall) / images, (time.process_time() - cpu) / images)
        os.sched_setaffinity(0, cores)
        self.loss = float(loss.detach())
        return took


def measure(
    cell: Cell, switches: Mapping[str, Switch], *, rounds: int, steps: int
) -> tuple[dict[str, list[Block]], dict[str, float], dict[str, str]]:
    """Blocks by switch, each one's loss after its first block, and why a switch is left out; alike on all ranks."""
    steppings: dict[str, Stepping] = {}
    losses: dict[str, float] = {}
    absent: dict[str, str] = {}
    for name, switch in {PLAIN: Switch(), AGAIN: Switch(), **switches}.items():
        try:
            steppings[name] = Stepping(cell, switch)
            steppings[name].block(steps)  # warm: kernels are chosen and built, buckets too
            losses[name] = steppings[name].loss
            steppings[name].block(1)
        except Exception as error:  # whatever a library says of this machine: the others go on
            absent[name] = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
            steppings.pop(name, None)
    blocks: dict[str, list[Block]] = {name: [] for name in steppings}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(steppings), len(steppings)):
            blocks[name].append(steppings[name].block(steps))
    return blocks, losses, absent


def rows_of(blocks_by_switch: Mapping[str, list[Block]], losses: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Of each switch: ms an image, ratios to the plain step, and how far its loss is from the plain one's."""
    plain_blocks = blocks_by_switch[PLAIN]
    return {
        name: {
            "ms_per_image": round(1000 * median(block.wall for block in blocks), 3),
            "wall": paired([block.wall for block in blocks], [block.wall for block in plain_blocks]),
            "processor": paired([block.cpu for block in blocks], [block.cpu for block in plain_blocks]),
            "loss": abs(losses[name] / losses[PLAIN] - 1),
        }
        for name, blocks in blocks_by_switch.items()
    }


def table_of(title: str, rows: Mapping[str, Mapping[str, Any]], absent: Mapping[str, str]) -> Table:
    """The switches beside one another."""
    head = ("", "ms an image", "wall time over plain", "CPU time over plain", "loss off by")
    lines = [
        (
            name if name != AGAIN else f"{PLAIN}, again (A/A)",
            f"{row['ms_per_image']:.3g}",
            "1" if name == PLAIN else text_of(row["wall"]),
            "1" if name == PLAIN else text_of(row["processor"]),
            f"{row['loss']:.1g}",
        )
        for name, row in rows.items()
    ]
    return Table(title, head, [*lines, *((name, "", why, "", "") for name, why in absent.items())])


def _alone(rank: int, ranks: int, store: str, work: Callable[[], Any]) -> Any:
    """Do the work as one rank of a process group."""
    cores = os.sched_getaffinity(0)
    if ranks > 1:  # a core each, as the local queue and Slurm give them
        os.sched_setaffinity(0, {sorted(cores)[rank % len(cores)]})
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    try:
        return work()
    finally:
        os.sched_setaffinity(0, cores)
        dist.destroy_process_group()


def _beside(rank: int, ranks: int, store: str, work: tuple[Cell, dict[str, Switch], int, int]) -> None:
    """A further rank."""
    cell, switches, rounds, steps = work
    _alone(rank + 1, ranks, store, lambda: measure(cell, switches, rounds=rounds, steps=steps))


def main() -> int:
    """Measure, print, and write JSON if asked."""
    parser = options(__doc__)
    parser.add_argument("--switches", nargs="*", choices=[*SWITCHES, *BETWEEN_RANKS], help="all unless told")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4, help="of a block")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192, help="a multiple of 64, which is a head's")
    parser.add_argument("--ranks", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    all_switches = SWITCHES if args.ranks == 1 else BETWEEN_RANKS
    switches = {
        name: all_switches[name]
        for name in (args.switches if args.switches is not None else all_switches)
        if name in all_switches
    }
    cell = cell_of(args.steps, 1)
    shape = {"layers": args.layers, "width": args.width, "heads": args.width // 64, "mlp_width": 4 * args.width}
    cell = replace(cell, model=replace(cell.model, **shape))
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/store"
        work = (cell, switches, args.rounds, args.steps)
        peers: Any = spawn(_beside, (args.ranks, store, work), nprocs=args.ranks - 1, join=False)  # type: ignore[no-untyped-call]  # torch's own gap
        blocks, losses, absent = _alone(
            0, args.ranks, store, lambda: measure(cell, switches, rounds=args.rounds, steps=args.steps)
        )
        while not peers.join():
            pass
    rows = rows_of(blocks, losses)
    title = (
        f"A step of {args.layers} layers of {args.width}, {cell.micro_batch} images of {cell.model.image_size} px, "
        f"{args.ranks} rank{'s' * (args.ranks > 1)} ({args.rounds} rounds of {args.steps} steps)"
    )
    isa = torch.backends.cpu.get_cpu_capability()
    report({"isa": isa, "switches": rows, "absent": absent}, args, table_of(f"{title}, {isa}", rows, absent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
