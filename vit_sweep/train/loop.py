"""Epochs: train, evaluate, and report times that mean the same on every device."""

import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy

from vit_sweep.cell import Cell
from vit_sweep.record import EpochReport
from vit_sweep.train.clock import StepClock
from vit_sweep.train.data import Split, epoch_order, prepare, test_batches
from vit_sweep.train.model import DTYPES


class Trainer:
    """One rank's side of the training of a cell."""

    def __init__(
        self, *, cell: Cell, engine: Any, train: Split, test: Split, chosen: Tensor, device: torch.device
    ) -> None:
        """Train `engine` on the `chosen` images of `train`."""
        self._cell, self._engine, self._device = cell, engine, device
        self._train, self._test, self._chosen = train, test, chosen
        self._rank = dist.get_rank()
        self._clock = StepClock(device)
        self._dtype = DTYPES[cell.precision]

    def epoch(self, number: int) -> EpochReport:
        """Run one epoch (from 1): a barrier, the timed steps, a barrier, then the evaluation."""
        order = epoch_order(self._cell, self._chosen, number)[:, :, self._rank].to(self._device)
        totals = torch.zeros(2, dtype=torch.float64, device=self._device)
        self._engine.train()
        self._barrier()
        begun = time.perf_counter()
        self._clock.mark()
        for step in order:
            for index in step:
                self._micro_step(index, totals)
            self._clock.mark()
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begun
        self._barrier()
        steps = self._clock.read_ms()
        images = self._cell.images_per_epoch
        loss, right = self._sum(totals).tolist()
        test_loss, test_right = self._evaluate()
        times: list[tuple[float, list[float]]] = [(0.0, [])] * self._cell.gpus
        dist.all_gather_object(times, (round(seconds, 6), steps))
        count = self._cell.data.test_images
        return EpochReport(
            epoch=number,
            seconds=max(rank_seconds for rank_seconds, _ in times),
            seconds_by_rank=tuple(rank_seconds for rank_seconds, _ in times),
            step_ms=tuple(max(step) for step in zip(*(steps for _, steps in times), strict=True)),
            step_ms_by_rank=tuple(tuple(steps) for _, steps in times),
            images=images,
            train_loss=loss / images,
            train_accuracy=right / images,
            test_loss=test_loss / count,
            test_accuracy=test_right / count,
        )

    def _micro_step(self, index: Tensor, totals: Tensor) -> None:
        images = prepare(self._train.images[index], self._cell.model.image_size, self._dtype)
        labels = self._train.labels[index]
        logits = self._engine(images).float()
        loss = cross_entropy(logits, labels)
        self._engine.backward(loss)
        self._engine.step()  # DeepSpeed reduces and updates at the boundary of the accumulation only
        # Kept on the device: reading a number here would make every step wait for it.
        totals[0] += loss.detach() * len(labels)
        totals[1] += (logits.detach().argmax(dim=1) == labels).sum()

    @torch.no_grad()
    def _evaluate(self) -> tuple[float, float]:
        """Summed loss and right answers over the whole test split, over all ranks."""
        self._engine.eval()
        totals = torch.zeros(2, dtype=torch.float64, device=self._device)
        for images, labels, counts in test_batches(self._test, self._cell, self._rank):
            logits = self._engine(prepare(images, self._cell.model.image_size, self._dtype)).float()
            totals[0] += cross_entropy(logits[:counts], labels[:counts], reduction="sum") if counts else 0.0
            totals[1] += (logits[:counts].argmax(dim=1) == labels[:counts]).sum()
        loss, right = self._sum(totals).tolist()
        return loss, right

    def _sum(self, totals: Tensor) -> Tensor:
        dist.all_reduce(totals)
        return totals

    def _barrier(self) -> None:
        if self._device.type == "cuda":
            dist.barrier(device_ids=[self._device.index])
        else:
            dist.barrier()
