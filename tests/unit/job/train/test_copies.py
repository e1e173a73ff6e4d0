"""How images get to a GPU, seen without one: in copies from pinned memory that nobody waits for, or not in a step."""

from dataclasses import replace

import pytest
import torch

from tests.unit.builders import DATA, MODEL, cell
from vit_sweep.plan.choices import Pipeline

pytestmark = pytest.mark.train

IMAGES, SIDE = 16, 32


@pytest.fixture
def copied(monkeypatch):
    """Copies to the GPU, which stay where they are: for each, whether it was asked not to wait, and its type."""
    found, to = [], torch.Tensor.to

    def noted(tensor, target, *given, non_blocking=False, **options):
        if not (isinstance(target, torch.device) and target.type == "cuda"):
            return to(tensor, target, *given, non_blocking=non_blocking, **options)
        found.append((non_blocking, tensor.dtype))
        return tensor

    monkeypatch.setattr(torch.Tensor, "to", noted)
    return found


def of_a_gpu(kind):
    from vit_sweep.job.train.images.data import Split
    from vit_sweep.job.train.images.pipeline import pipeline_of

    shape = replace(DATA, train_images=IMAGES, augment=False)
    made = cell(
        gpus=1, micro_batch=4, train_images=IMAGES, data=shape, model=replace(MODEL, image_size=SIDE), pipeline=kind
    )
    split = Split(images=torch.zeros(IMAGES, 3, SIDE, SIDE, dtype=torch.uint8), labels=torch.arange(IMAGES))
    return pipeline_of(made, train=split, device=torch.device("cuda"), dtype=torch.float32, rank=0)


def test_what_the_loader_prepared_is_pinned_and_copied_as_bytes_without_a_wait(copied):
    images = of_a_gpu(Pipeline.LOADER)
    assert images._loader.pin_memory
    raw = (torch.zeros(4, 3, SIDE, SIDE, dtype=torch.uint8), torch.arange(4))
    images.ready(raw)
    assert copied == [(True, torch.uint8), (True, torch.int64)]


def test_images_that_lie_on_the_gpu_are_not_copied_in_a_step(copied):
    images = of_a_gpu(Pipeline.DEVICE)
    batches = images.epoch(1)
    assert copied, "the split, and the order of the epoch"
    copied.clear()
    for raw in batches:
        images.ready(raw)
    assert copied == []
