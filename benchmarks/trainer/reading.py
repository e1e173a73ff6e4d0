"""Images/s of one core on their way to a model of 224 px: from the packed form, in memory or on disk, and from JPEGs.

    python benchmarks/trainer/reading.py [--images 1024] [--rounds 7] [--steps 8] [--folder DIR] [--json FILE]

Class folders of JPEGs of 500 x 375 pixels, as large as ImageNet's are on average, cut from two photographs; packed by
`data prepare` at 256 px. Each way reads all of them once, cropped at random to 224 px and flipped, in batches of 64 and
this one process:

| way | what it is |
|---|---|
| `decoder` | Pillow decodes every JPEG, and nothing else: the floor of whatever decodes in each epoch |
| `folder` | torchvision's ImageFolder, RandomResizedCrop, flip and PILToTensor, in a DataLoader |
| `packed`, `again` | `data.pipeline=loader` on the packed form that the page cache holds; twice, the A/A control |
| `disk` | the same after its pages were dropped: all bytes come from the disk, as of a set larger than the memory |
| `touched` | the same without asking for a micro batch ahead: the kernel reads what is touched |

A round gives each its turn in an order drawn anew; ratios are paired within a round, intervals hold the median with
95 % (order statistics). Two rates: by the clock, which has the waits for the disk and for other programs in it, and by
processor time, which a busy machine does not change. Then the loop that studies run trains ViT-Ti/16 from the dropped
file with one worker beside it, and its clock says how long a step waits for data.
"""

import ctypes
import mmap
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.provenance import options, report
from benchmarks.ratios import paired, spread
from benchmarks.trainer.one_rank import one_rank, trainer_of
from launchers.profile import Device
from tests.unit import builders
from vit_sweep.data import datasets
from vit_sweep.data.packed import folder_of, images_file
from vit_sweep.data.prepare.pack import pack
from vit_sweep.data.request import Request, request_of
from vit_sweep.job.train.engines.build import engine_of
from vit_sweep.job.train.images.data import Split, load
from vit_sweep.job.train.images.pipeline import pipeline_of
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Pipeline
from vit_sweep.plan.specs import ModelSpec

BATCH = 64
SIDE, MODEL_SIDE = 256, 224
WIDTH, HEIGHT = 500, 375
TINY = ModelSpec(name="vit_ti_16", image_size=MODEL_SIDE, patch_size=16, layers=12, heads=3, width=192, mlp_width=768)
GPU_IMAGES_PER_S = 2_478
"""What ViT-B/16 at 224 px took on an H200 in bf16: docs/performance.md."""
Turn = Callable[[], Iterator[int]]
"""Reads every image once; yields how many were read."""
Rates = list[tuple[float, float]]
"""Images/s by the clock and by processor time, one pair a round."""


def jpegs(folder: Path, count: int) -> Path:
    """Class folders of so many pieces of two photographs."""
    photographs = load_sample_images().images
    for number in range(count):
        photograph = photographs[number % 2]
        top, left = 7 * number % (photograph.shape[0] - HEIGHT), 11 * number % (photograph.shape[1] - WIDTH)
        class_folder = folder / "ab"[number % 2]
        class_folder.mkdir(parents=True, exist_ok=True)
        piece = Image.fromarray(photograph[top : top + HEIGHT, left : left + WIDTH])
        piece.save(class_folder / f"{number:06}.jpg", quality=90)
    return folder


def dropped(path: Path) -> float:
    """Drop a file's pages from memory; returns which part of them is really gone."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            pages = -(-len(mapped) // mmap.PAGESIZE)
            resident = (ctypes.c_ubyte * pages)()
            begin = np.frombuffer(mapped, dtype=np.uint8).ctypes.data
            ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(begin), ctypes.c_size_t(len(mapped)), resident)
    return 1 - float(np.mean(np.ctypeslib.as_array(resident) & 1))


def decoder(folder: Path) -> Turn:
    """Pillow alone."""
    paths = sorted(folder.rglob("*.jpg"))

    def turn() -> Iterator[int]:
        for path in paths:
            with Image.open(path) as image:
                image.convert("RGB")
            yield 1

    return turn


def torchvision_folder(folder: Path) -> Turn:
    """As torchvision's own examples read class folders; bytes, as ours hands them over."""
    crop = v2.Compose([v2.RandomResizedCrop(MODEL_SIDE), v2.RandomHorizontalFlip(), v2.PILToTensor()])
    loader = DataLoader(ImageFolder(folder, crop), batch_size=BATCH, shuffle=True)
    return lambda: (len(labels) for _, labels in loader)


def packed_form(cell: Cell, root: Path, *, cold: bool, ahead: bool = True) -> tuple[Turn, list[float]]:
    """The loader pipeline on a file that is mapped anew for each turn, and which part of it was dropped before."""
    dropped_shares: list[float] = []

    def turn() -> Iterator[int]:
        if cold:
            dropped_shares.append(dropped(file_of(cell, root)))
        train, _ = load(cell.data, root)
        if not ahead:
            train = replace(train, ahead=None)
        pipeline = pipeline_of(cell, train=train, device=torch.device("cpu"), dtype=torch.float32, rank=0)
        return (len(labels) for _, labels in pipeline.epoch(1 + len(dropped_shares)))

    return turn, dropped_shares


def file_of(cell: Cell, root: Path) -> Path:
    """The pixels of the training images."""
    return root / folder_of(cell.data) / images_file("train")


def rates_of(turn: Turn) -> tuple[float, float]:
    """Images/s of a turn by the clock and by processor time, without what it does before its first image."""
    images = turn()
    begun, worked = time.perf_counter(), time.process_time()
    count = sum(images)
    return count / (time.perf_counter() - begun), count / (time.process_time() - worked)


def cell_of(request: Request, root: Path) -> Cell:
    """One that reads all of them, augmented."""
    data = replace(datasets.packed_spec(request, root), augment=True)
    images = data.train_images // BATCH * BATCH
    return builders.cell(
        device=Device.CPU,
        micro_batch=BATCH,
        train_images=images,
        model=TINY,
        data=data,
        pipeline=Pipeline.LOADER,
    )


def waits(request: Request, root: Path, steps: int) -> dict[str, float]:
    """Milliseconds of a step of training from the dropped file, and of its wait for data: medians of an epoch."""
    with one_rank(cuda=False):
        batch = 8
        cell = replace(cell_of(request, root), micro_batch=batch, train_images=steps * batch)
        dropped_share = dropped(file_of(cell, root))
        train, test = load(cell.data, root)
        test_batch = Split(images=test.images[:batch], labels=test.labels[:batch])
        device = torch.device("cpu")
        pipeline = pipeline_of(cell, train=train, device=device, dtype=torch.float32, rank=0, workers=1)
        data = replace(cell.data, test_images=batch)
        trainer = trainer_of(replace(cell, data=data), engine_of(cell), pipeline, test_batch)
        epoch = trainer.epoch()
    phases = epoch.phases_by_rank[0].median_ms
    return {
        "step_ms": median(epoch.step_ms),
        "data_wait_ms": phases.data_wait,
        "dropped": dropped_share,
        "batch": batch,
    }


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = options(__doc__)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8, help="of the training")
    parser.add_argument(
        "--folder", type=Path, help="where files are put for the run; what is there decides what a disk is"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        folder, root = jpegs(Path(temporary) / "jpegs", args.images), Path(temporary) / "root"
        request = request_of({"source": "imagefolder", "path": str(folder), "side": SIDE, "split": 0.1})
        pack(request, root, print)
        cell = cell_of(request, root)
        disk, dropped_shares = packed_form(cell, root, cold=True)
        touched, gone_again = packed_form(cell, root, cold=True, ahead=False)
        turns = {
            "decoder": decoder(folder),
            "folder": torchvision_folder(folder),
            "packed": packed_form(cell, root, cold=False)[0],
            "again": packed_form(cell, root, cold=False)[0],
            "disk": disk,
            "touched": touched,
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
        order = random.Random(0)
        for _ in range(args.rounds):
            for name in order.sample(list(turns), len(turns)):
                found[name].append(rates_of(turns[name]))
        waited = waits(request, root, args.steps)
    best = {name: max(clock for clock, _ in rates) for name, rates in found.items()}  # the least disturbed
    rows = {name: row_of(rates, found["folder"]) for name, rates in found.items()}
    print("images/s by the clock in the best round, by processor time; the latter over that of folder")
    for name, row in rows.items():
        worked, ratio = row["by_processor_time"], row["of_folder"]
        print(
            f"{name:<8} {best[name]:>7,.0f} {worked['median']:>7,.0f} ({worked['low']:,.0f} to {worked['high']:,.0f}) "
            f"{ratio['ratio']:>6.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        )
    print(
        f"{GPU_IMAGES_PER_S:,} images/s, of an H200, take {GPU_IMAGES_PER_S / best['packed']:.1f} cores packed, "
        f"{GPU_IMAGES_PER_S / best['disk']:.1f} from disk, {GPU_IMAGES_PER_S / best['folder']:.1f} from JPEGs"
    )
    print(
        f"{args.rounds} rounds of {cell.train_images} images; dropped before: "
        f"{min([*dropped_shares, *gone_again]):.0%} at least"
    )
    print(
        f"training from the dropped file, one worker: {waited['data_wait_ms']:.2f} ms of a step of "
        f"{waited['step_ms']:.0f} ms ({waited['batch']:.0f} images) are waiting for data"
    )
    report({"ways": rows, "dropped": min([*dropped_shares, *gone_again]), "training": waited, "side": SIDE}, args)


def row_of(rates: Rates, folder: Rates) -> dict[str, dict[str, float]]:
    """What is said of a way."""
    clock, worked = zip(*rates, strict=True)
    return {
        "by_clock": spread(clock, 1),
        "by_processor_time": spread(worked, 1),
        "of_folder": paired(worked, [rate for _, rate in folder]),
        "of_folder_by_clock": paired(clock, [rate for rate, _ in folder]),
    }


if __name__ == "__main__":
    main()
