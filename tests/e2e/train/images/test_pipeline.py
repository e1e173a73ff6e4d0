"""Two ways for images to reach the model, one set of pixels: order, crops, workers and their end."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.profile import Device
from tests.conftest import wait_for
from tests.unit.builders import DATA, MODEL, cell
from vit_sweep.plan.choices import Pipeline

pytestmark = pytest.mark.train

WAYS = {"device": (Pipeline.DEVICE, 0), "loader": (Pipeline.LOADER, 0), "two workers": (Pipeline.LOADER, 2)}
IMAGES = 48


@pytest.fixture(scope="module")
def photograph():
    import torch
    from sklearn.datasets import load_sample_images

    return torch.tensor(load_sample_images().images[0]).permute(2, 0, 1)


@pytest.fixture
def split(photograph):
    """Real pictures: pieces of a photograph, each with its own label."""
    import torch

    from vit_sweep.job.train.images.data import Split

    def make(side, count=IMAGES):
        images = torch.stack([photograph[:, 3 * i : 3 * i + side, 5 * i : 5 * i + side] for i in range(count)])
        return Split(images=images, labels=torch.arange(count))

    return make


def pipeline_cell(pipeline=Pipeline.DEVICE, model=32, augment=False, **changes):
    """A cell of two ranks and two micro steps, 3 steps of 16 images an epoch."""
    defaults = {
        "gpus": 2,
        "micro_batch": 4,
        "accum": 2,
        "train_images": IMAGES,
        "device": Device.CPU,
        "data": replace(DATA, train_images=IMAGES, augment=augment),
        "model": replace(MODEL, image_size=model),
        "pipeline": pipeline,
    }
    return cell(**(defaults | changes))


def pipeline(cell, train, *, rank=0, workers=0, dtype=None):
    import torch

    from vit_sweep.job.train.images.pipeline import pipeline_of

    return pipeline_of(
        cell, train=train, device=torch.device("cpu"), dtype=dtype or torch.float32, rank=rank, workers=workers
    )


def batches(pipeline, number=1, start=0):
    return [pipeline.ready(raw) for raw in pipeline.epoch(number, start=start)]


def grey_levels_apart(some, others):
    """The largest difference of two lists of batches in levels of 0 to 255; labels must be equal."""
    assert [labels.tolist() for _, labels in some] == [labels.tolist() for _, labels in others]
    return max((127.5 * (a - b)).abs().max().item() for (a, _), (b, _) in zip(some, others, strict=True))


# -- the same pixels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "model"), [(8, 16), (32, 32), (32, 48), (96, 64)])
@pytest.mark.parametrize("way", ["loader", "two workers"])
def test_without_augmentation_both_pipelines_give_the_same_pixels_exactly(split, side, model, way):
    kind, workers = WAYS[way]
    device = batches(pipeline(pipeline_cell(model=model), split(side), rank=1))
    loader = batches(pipeline(pipeline_cell(kind, model=model), split(side), rank=1, workers=workers))
    assert len(device) == 6
    assert grey_levels_apart(device, loader) == 0


@pytest.mark.parametrize(("side", "model", "levels"), [(8, 16, 0), (32, 32, 0), (32, 48, 0), (96, 64, 1), (64, 96, 1)])
@pytest.mark.parametrize("way", ["loader", "two workers"])
def test_with_augmentation_too(*, split, side, model, levels, way):
    """Large images: torchvision rounds to whole levels between rows and columns, a batched product does not."""
    kind, workers = WAYS[way]
    device = batches(pipeline(pipeline_cell(model=model, augment=True), split(side)), number=3)
    loader = batches(pipeline(pipeline_cell(kind, model=model, augment=True), split(side), workers=workers), number=3)
    assert grey_levels_apart(device, loader) <= levels + 1e-4
    plain = batches(pipeline(pipeline_cell(model=model), split(side)), number=3)
    assert grey_levels_apart(device, plain) > 20, "it is augmented at all"


@pytest.mark.parametrize(("rows", "columns", "levels"), [(24, 40, 0), (64, 96, 1)])
def test_rectangles_of_five_channels_come_out_alike_too(rows, columns, levels):
    """Small ones are cropped with padding, large ones to a part of their area; both fill what the model wants."""
    import torch

    from vit_sweep.job.train.images.data import Split

    noise = torch.Generator().manual_seed(0)
    coarse = torch.rand((IMAGES, 5, rows // 8, columns // 8), generator=noise) * 255  # an image, not only noise
    images = torch.nn.functional.interpolate(coarse, size=(rows, columns), mode="bilinear").to(torch.uint8)
    train = Split(images=images, labels=torch.arange(IMAGES))
    fields = {
        "augment": True,
        "model": (48, 32),
        "data": replace(DATA, train_images=IMAGES, augment=True, channels=5),
    }
    device, loader = (batches(pipeline(pipeline_cell(kind, **fields), train)) for kind in Pipeline)
    assert all(pixels.shape[1:] == (5, 48, 32) for pixels, _ in device)
    assert grey_levels_apart(device, loader) < levels + 0.01  # of a level: fp32 rounds -1 to 1


def test_the_pixels_are_those_of_the_papers_transforms(split):
    import torch
    from torchvision.transforms import v2

    train = split(32)
    classic = v2.Compose(
        [
            v2.ToPILImage(),
            v2.Resize(48),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.5,), (0.5,)),
        ]
    )
    images, labels = batches(pipeline(pipeline_cell(model=48), train))[0]
    wanted = torch.stack([classic(train.images[label]) for label in labels])
    # Pillow and torch round differently in the last of 256 levels.
    assert 127.5 * (images - wanted).abs().max() <= 1 + 1e-4


@pytest.mark.parametrize("way", WAYS)
def test_the_models_number_format_is_what_comes_out(split, way):
    import torch

    kind, workers = WAYS[way]
    loader = pipeline(pipeline_cell(kind, model=48), split(32), workers=workers, dtype=torch.bfloat16)
    images, labels = loader.ready(next(loader.epoch(1)))
    assert (images.dtype, labels.dtype) == (torch.bfloat16, torch.int64)
    assert images.shape == (4, 3, 48, 48)
    assert -1 <= images.min() < -0.5
    assert 0.5 < images.max() <= 1


# -- the same samples, in the same order -----------------------------------------------------------------


def pixels_by_image(*, gpus, accum, micro, split, pipeline_kind=Pipeline.DEVICE):
    """What each image looked like in epoch 2, and the images of each step, over all ranks."""
    cell = pipeline_cell(pipeline_kind, augment=True, gpus=gpus, accum=accum, micro_batch=micro)
    pixels, steps = {}, [set() for _ in range(cell.steps_per_epoch)]
    for rank in range(gpus):
        for i, (images, labels) in enumerate(batches(pipeline(cell, split, rank=rank), number=2)):
            steps[i // accum] |= set(labels.tolist())
            pixels |= dict(zip(labels.tolist(), images, strict=True))
    return pixels, steps


@pytest.mark.parametrize("kind", Pipeline)
def test_crops_and_order_depend_neither_on_ranks_nor_on_accumulation(split, kind):
    import torch

    by_image, steps = pixels_by_image(gpus=1, accum=1, micro=16, split=split(32), pipeline_kind=kind)
    assert len(by_image) == IMAGES
    for gpus, accum, micro in [(2, 1, 8), (1, 4, 4), (4, 2, 2)]:
        other, others = pixels_by_image(gpus=gpus, accum=accum, micro=micro, split=split(32), pipeline_kind=kind)
        assert others == steps
        assert all(torch.equal(by_image[image], other[image]) for image in by_image)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("start", [1, 2, 3])
def test_an_epoch_can_begin_at_any_step(split, way, start):
    kind, workers = WAYS[way]
    loader = pipeline(pipeline_cell(kind, augment=True), split(32), rank=1, workers=workers)
    whole, resumed = batches(loader, number=2), batches(loader, number=2, start=start)
    assert len(resumed) == len(whole) - 2 * start
    assert start == 3 or grey_levels_apart(whole[2 * start :], resumed) == 0


@pytest.mark.parametrize("way", WAYS)
def test_an_epoch_that_was_left_early_does_not_leak_into_the_next(split, way):
    kind, workers = WAYS[way]
    loader = pipeline(pipeline_cell(kind), split(32), workers=workers)
    wanted = batches(pipeline(pipeline_cell(), split(32)), number=2)
    next(loader.epoch(1))
    assert grey_levels_apart(batches(loader, number=2), wanted) == 0


@pytest.mark.parametrize("kind", Pipeline)
def test_a_part_of_the_images_is_all_that_is_kept_and_seen(split, kind):
    """`fraction` and weak scaling: device memory holds what the cell may see, with the pixels it would have had."""
    cell = pipeline_cell(kind, train_images=16, augment=True)
    train = split(32)
    loader = pipeline(cell, train)
    handed = batches(loader)
    assert all(len(labels) == 4 for _, labels in handed)
    wanted = batches(pipeline(replace(cell, pipeline=Pipeline.LOADER), train))
    assert grey_levels_apart(handed, wanted) == 0
    if kind is Pipeline.DEVICE:
        assert len(loader._train.labels) == 16


def test_an_epoch_that_is_filled_up_repeats_images(split):
    cell = pipeline_cell(train_images=IMAGES, micro_batch=5)
    handed = [batch for rank in (0, 1) for batch in batches(pipeline(cell, split(32), rank=rank))]
    labels = [label for _, batch_labels in handed for label in batch_labels]
    assert len(labels) == cell.images_per_epoch == 60
    assert len(set(map(int, labels))) == IMAGES


@pytest.mark.parametrize("way", WAYS)
def test_the_runs_random_numbers_do_not_depend_on_the_pipeline(split, way):
    import torch

    kind, workers = WAYS[way]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    batches(pipeline(pipeline_cell(kind, augment=True), split(32), workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("images", "ranks"), [(2, 4), (1, 3), (21, 4), (16, 2)])
def test_ranks_without_test_images_take_part_and_count_nothing(split, images, ranks):
    """An empty shard: a forward is a collective with ZeRO-3, so every rank makes equally many."""
    from vit_sweep.job.train.images.data import test_batches

    train = split(32, images)
    by_rank = [list(test_batches(train, pipeline_cell(gpus=ranks), rank)) for rank in range(ranks)]
    assert len({len(rank_batches) for rank_batches in by_rank}) == 1
    labels_seen = [
        label for batches_ in by_rank for _, labels, counts in batches_ for label in labels[:counts].tolist()
    ]
    assert sorted(labels_seen) == list(range(images))


# -- the draws -------------------------------------------------------------------------------------------


def test_every_image_has_its_own_crop_and_every_epoch_another_one():
    import torch

    from vit_sweep.job.train.images.augment import boxes_of

    index = torch.arange(4000)
    first, two = (boxes_of(index, seed=0, epoch=epoch, size=(32, 32)) for epoch in (1, 2))
    top, left, height, width, flip = first.unbind(-1)
    assert (top.min(), top.max(), left.min(), left.max()) == (-4, 4, -4, 4)
    assert set(height.tolist()) == set(width.tolist()) == {32}
    # 4000 fair coins lie within 5 standard deviations of one half with all but 6 in 10 million seeds.
    assert abs(flip.float().mean() - 0.5) < 5 * 0.5 / 4000**0.5
    for column in (top, left):
        counts = torch.bincount(column + 4, minlength=9).float()
        assert counts.min() > 4000 / 9 * 0.7
    assert (first != two).any(dim=1).float().mean() > 0.9
    assert torch.equal(first[index % 7 == 0], boxes_of(index[index % 7 == 0], seed=0, epoch=1, size=(32, 32)))
    assert not torch.equal(first, boxes_of(index, seed=1, epoch=1, size=(32, 32)))


def test_a_large_image_is_cropped_to_a_random_part_as_torchvision_does():
    """The distribution is RandomResizedCrop's: the same quantiles of area and shape, within sampling error."""
    import torch
    from torchvision.transforms import v2

    from vit_sweep.job.train.images.augment import boxes_of

    count, side = 4000, 256
    top, left, height, width, _ = boxes_of(torch.arange(count), seed=0, epoch=1, size=(side, side)).unbind(-1)
    assert ((top >= 0) & (left >= 0) & (top + height <= side) & (left + width <= side)).all()
    torch.manual_seed(0)
    crop, image = v2.RandomResizedCrop(224), torch.empty(3, side, side)
    reference = [crop.make_params([image]) for _ in range(count)]
    at = torch.tensor([0.1, 0.5, 0.9])
    for actual, other in (
        (height * width, [p["height"] * p["width"] for p in reference]),
        (100 * width / height, [100 * p["width"] / p["height"] for p in reference]),
        (top + 1, [p["top"] + 1 for p in reference]),
    ):
        actual_quantiles, wanted = actual.float().quantile(at), torch.tensor(other).float().quantile(at)
        assert torch.allclose(actual_quantiles, wanted, rtol=0.12, atol=3)


# -- workers ---------------------------------------------------------------------------------------------


def _rank(pipe):
    """A rank as the job's first line makes it, with its signals blocked. It tells the pids of its workers."""
    import torch

    from vit_sweep.job.guardian import block_signals
    from vit_sweep.job.train.images.data import Split

    torch.utils.data._utils.worker.MP_STATUS_CHECK_INTERVAL = 3600.0  # torch's own watchdog must not do the work
    block_signals()
    train = Split(images=torch.zeros(IMAGES, 3, 32, 32, dtype=torch.uint8), labels=torch.arange(IMAGES))
    loader = pipeline(pipeline_cell(Pipeline.LOADER, augment=True), train, workers=2)
    first, workers = len(batches(loader)), loader._loader._iterator._workers
    pipe.send((first, [worker.pid for worker in workers]))
    while pipe.recv() == "another epoch":
        pipe.send(len(batches(loader, number=2)))
    for worker in workers:
        worker.terminate()
        worker.join(300)
    pipe.send([worker.exitcode for worker in workers])


@pytest.fixture
def rank():
    """A process forked by the server that the local queue uses, its pipe, and its workers, which have worked."""
    from tests.e2e.train.ranks import server

    ours_end, child_end = multiprocessing.Pipe()
    process = server().Process(target=_rank, args=(child_end,))
    process.start()
    child_end.close()
    assert ours_end.poll(300), "the rank said nothing"
    count, workers = ours_end.recv()
    assert (count, len(workers)) == (6, 2)
    yield process, ours_end, workers
    process.kill()
    process.join()


def gone(pid):
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_schedulers_warning_to_all_processes_does_not_end_the_workers(rank):
    """Slurm signals every process of a step: the rank wants to end in good order, and needs its workers for that."""
    _, pipe, workers = rank
    for number in (signal.SIGUSR2, signal.SIGTERM):
        for pid in workers:
            os.kill(pid, number)
    pipe.send("another epoch")
    assert pipe.poll(300)
    assert pipe.recv() == 6
    assert not any(gone(pid) for pid in workers)


def test_workers_end_when_their_rank_says_so(rank):
    process, pipe, workers = rank
    pipe.send("end")
    assert pipe.poll(300)
    assert pipe.recv() == [0, 0]
    process.join(300)
    assert process.exitcode == 0
    assert all(gone(pid) for pid in workers)


def test_workers_die_with_their_rank_however_it_dies(rank):
    process, _, workers = rank
    assert not any(gone(pid) for pid in workers)
    os.kill(process.pid, signal.SIGKILL)
    # At once, and not when torch's own watchdog looks: until then the rank's sockets would be held open.
    wait_for(lambda: all(gone(pid) for pid in workers))


def _rank_whose_worker_is_killed(pipe):
    import torch

    from vit_sweep.job.train.images.data import Split

    train = Split(images=torch.zeros(IMAGES, 3, 32, 32, dtype=torch.uint8), labels=torch.arange(IMAGES))
    loader = pipeline(pipeline_cell(Pipeline.LOADER), train, workers=1)
    try:  # torch raises it from a signal handler, unless a batch that is on its way is missed first
        next(loader.epoch(1))
        os.kill(loader._loader._iterator._workers[0].pid, signal.SIGKILL)
        while True:
            batches(loader, number=2)
    except RuntimeError as error:
        pipe.send(str(error))


def test_a_worker_that_is_killed_is_an_error_and_not_a_wait():
    from tests.e2e.train.ranks import server

    parent_end, child_end = multiprocessing.Pipe()
    process = server().Process(target=_rank_whose_worker_is_killed, args=(child_end,))
    process.start()
    child_end.close()
    try:
        assert parent_end.poll(300)
        assert "DataLoader worker" in parent_end.recv()
    finally:
        process.kill()
        process.join()
