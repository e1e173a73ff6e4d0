"""Images/s of the input pipelines beside the paper's, interleaved in one run; no model behind them.

    python benchmarks/trainer/input.py [--seconds 1.0] [--rounds 3] [--cases 6] [--json FILE]

Ways: `device` (uint8 in device memory), `loader` with 0 and 2 workers, and the paper's PIL Resize + ToTensor +
Normalize in a DataLoader with 0 and 2 workers. Cases: CIFAR's 32 px at 32 and at 224, and packed 256 px at 224, each
plain and augmented (the paper's way does not augment: the same figure stands beside both). Real pictures, cut from two
photographs; batches of 64. Each round gives every way its turn, so that a busy machine hurts all alike; the figure is
the median of the rounds. `control` is the device way once more: how far two figures of the same thing are apart. On
CUDA the host runs ahead of the device, so a turn of less than a second says little.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.provenance import options, report
from benchmarks.trainer.paper import Paper
from launchers.profile import Device
from tests.unit.builders import DATA, MODEL, cell
from vit_sweep.job.train.images.data import Split
from vit_sweep.job.train.images.pipeline import pipeline_of
from vit_sweep.plan.choices import Pipeline

BATCH = 64
Epoch = Callable[[], Iterator[tuple[Tensor, ...]]]
CASES = [(32, 32, False), (32, 32, True), (32, 224, False), (32, 224, True), (256, 224, False), (256, 224, True)]
"""Pixels of a side of the source, of the model, and whether augmented."""


def pictures(side: int, count: int) -> Split:
    """Pieces of two photographs."""
    photographs = [torch.tensor(image).permute(2, 0, 1) for image in load_sample_images().images]
    height, width = photographs[0].shape[-2:]
    pieces = []
    for i in range(count):
        top, left = 7 * i % (height - side), 11 * i % (width - side)
        pieces.append(photographs[i % 2][:, top : top + side, left : left + side])
    return Split(images=torch.stack(pieces), labels=torch.arange(count) % 10)


def ways(split: Split, side: int, augment: bool, device: torch.device, dtype: torch.dtype) -> dict[str, Epoch]:
    """Every way as a function that begins an epoch and yields ready batches."""
    count = len(split.labels)
    base_cell = cell(
        device=Device.CPU,
        micro_batch=BATCH,
        train_images=count,
        model=replace(MODEL, image_size=side),
        data=replace(DATA, train_images=count, augment=augment),
    )
    epochs = iter(range(1, 1_000_000))

    def ours(kind: Pipeline, workers: int) -> Epoch:
        pipeline = pipeline_of(
            replace(base_cell, pipeline=kind), train=split, device=device, dtype=dtype, rank=0, workers=workers
        )
        return lambda: (pipeline.ready(raw) for raw in pipeline.epoch(next(epochs)))

    def paper(workers: int) -> Epoch:
        loader = DataLoader(
            Paper(split, side),
            batch_size=BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )
        return lambda: (tuple(part.to(device, non_blocking=True) for part in batch) for batch in loader)

    return {
        "device": ours(Pipeline.DEVICE, 0),
        "control": ours(Pipeline.DEVICE, 0),
        "loader 0": ours(Pipeline.LOADER, 0),
        "loader 2": ours(Pipeline.LOADER, 2),
        "paper 0": paper(0),
        "paper 2": paper(2),
    }


def rate(epoch: Epoch, seconds: float, device: torch.device) -> float:
    """Images/s until `seconds` are over, to the end of a batch."""
    images, begun = 0, time.perf_counter()
    while True:
        for batch, _ in epoch():
            images += len(batch)
            if time.perf_counter() - begun >= seconds:
                if device.type == "cuda":
                    torch.cuda.synchronize()
                return images / (time.perf_counter() - begun)


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=len(CASES), help="only so many of them, the small ones first")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.set_num_threads(1)  # on a CPU: per core, as the workers
    device_name = torch.cuda.get_device_name() if device.type == "cuda" else "one CPU core (loaders: one per worker)"
    print(f"{device_name}, {dtype}, batches of {BATCH}; images/s, median of {args.rounds} interleaved rounds")
    results = []
    for source, side, augment in CASES[: args.cases]:
        split = pictures(source, 64 * BATCH if source < 64 or device.type == "cuda" else 4 * BATCH)
        pipelines = ways(split, side, augment, device, dtype)
        for epoch in pipelines.values():
            rate(epoch, 0, device)  # workers start, kernels are chosen
        rates: dict[str, list[float]] = {name: [] for name in pipelines}
        for _ in range(args.rounds):
            for name, epoch in pipelines.items():
                rates[name].append(rate(epoch, args.seconds, device))
        medians = {name: round(statistics.median(values)) for name, values in rates.items()}
        words = "  ".join(f"{name} {value:,}" for name, value in medians.items())
        print(f"{source:>3} -> {side:<3} {'augmented' if augment else 'plain':<9}  {words}")
        results.append({"source": source, "side": side, "augment": augment, "images_per_s": medians})
    report({"device": device_name, "dtype": str(dtype), "batch": BATCH, "cases": results}, args)


if __name__ == "__main__":
    main()
