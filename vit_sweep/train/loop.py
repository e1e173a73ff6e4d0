"""Epochs: train, evaluate, and report times that mean the same on every device."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import cross_entropy

from vit_sweep.cell import Cell
from vit_sweep.position import PartEpoch
from vit_sweep.record import EpochReport
from vit_sweep.train.clock import StepClock
from vit_sweep.train.data import Split, epoch_order, prepare, test_batches
from vit_sweep.train.model import DTYPES
from vit_sweep.train.stopping import StopAgreed

Beat = Callable[[str, int, int], None]
"""Says that work goes on: phase, epoch, finished steps."""


class Trainer:
    """One rank's side of the training of a cell, and the place where it is."""

    def __init__(
        self,
        *,
        cell: Cell,
        engine: Any,
        train: Split,
        test: Split,
        chosen: Tensor,
        device: torch.device,
        enter: Callable[[], None],
        beat: Beat,
    ) -> None:
        """Train `engine` on the `chosen` images of `train`. `enter` is called before each unit of work and may stop
        the run there, see `stopping`."""
        self._cell, self._engine, self._device = cell, engine, device
        self._train, self._test, self._chosen = train, test, chosen
        self._enter, self._beat = enter, beat
        self._rank = dist.get_rank()
        self._clock = StepClock(device)
        self._dtype = DTYPES[cell.precision]
        self._cold = True
        self.number = 1
        """The epoch that is run, or is next."""
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.step = 0
        """Finished optimizer steps of it."""
        self._interrupted = False
        self._totals = torch.zeros(2, dtype=torch.float64, device=self._device)
        self._seconds = 0.0
        self._step_ms: list[float] = []

    def resume(self, epoch: int, step: int, part: PartEpoch | None) -> None:
        """Go on at this place; the engine has its state already."""
        self.number = epoch
        self._begin_epoch()
        if part is not None:
            self.step, self._interrupted = step, True
            self._totals += torch.tensor(part.totals_by_rank[self._rank], dtype=torch.float64)
            self._seconds = part.seconds_by_rank[self._rank]
            self._step_ms = list(part.step_ms_by_rank[self._rank])

    def part(self) -> PartEpoch | None:
        """What all ranks have of an epoch that is not finished; a collective. None at an epoch's start."""
        if self.step == 0:
            return None
        loss, right = self._totals.tolist()
        mine = ((loss, right), self._seconds, tuple(self._step_ms))
        parts: list[Any] = [None] * self._cell.gpus
        dist.all_gather_object(parts, mine)
        totals, seconds, step_ms = zip(*parts, strict=True)
        return PartEpoch(totals_by_rank=totals, seconds_by_rank=seconds, step_ms_by_rank=step_ms)

    def epoch(self) -> EpochReport:
        """Run one epoch, or what is left of it: a barrier, the timed steps, a barrier, then the evaluation."""
        self._train_steps()
        # Into a copy: a stop during the evaluation saves the sums of this rank.
        loss, right = self._sum(self._totals.clone()).tolist()
        test_loss, test_right = self._evaluate()
        times: list[tuple[float, list[float]]] = [(0.0, [])] * self._cell.gpus
        dist.all_gather_object(times, (round(self._seconds, 6), self._step_ms))
        images, count = self._cell.images_per_epoch, self._cell.data.test_images
        report = EpochReport(
            epoch=self.number,
            seconds=max(rank_seconds for rank_seconds, _ in times),
            seconds_by_rank=tuple(rank_seconds for rank_seconds, _ in times),
            step_ms=tuple(max(step) for step in zip(*(steps for _, steps in times), strict=True)),
            step_ms_by_rank=tuple(tuple(steps) for _, steps in times),
            images=images,
            train_loss=loss / images,
            train_accuracy=right / images,
            test_loss=test_loss / count,
            test_accuracy=test_right / count,
            cold=self._cold,
            interrupted=self._interrupted,
        )
        self._cold = False
        self.number += 1
        self._begin_epoch()
        return report

    def _train_steps(self) -> None:
        order = epoch_order(self._cell, self._chosen, self.number)[self.step :, :, self._rank].to(self._device)
        self._engine.train()
        self._barrier()
        begun = time.perf_counter()
        self._clock.mark()
        try:
            for step in order:
                self._enter()
                for index in step:
                    self._beat("training", self.number, self.step)
                    self._micro_step(index)
                self._clock.mark()
                self.step += 1
        except StopAgreed:
            # Without the wait for the agreement.
            steps = self._clock.read_ms()
            self._step_ms += steps
            self._seconds += sum(steps) / 1000
            raise
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        self._seconds += time.perf_counter() - begun
        self._barrier()
        self._step_ms += self._clock.read_ms()

    def _micro_step(self, index: Tensor) -> None:
        images = prepare(self._train.images[index], self._cell.model.image_size, self._dtype)
        labels = self._train.labels[index]
        logits = self._engine(images).float()
        loss = cross_entropy(logits, labels)
        self._engine.backward(loss)
        self._engine.step()  # DeepSpeed reduces and updates at the boundary of the accumulation only
        # Kept on the device: reading a number here would make every step wait for it.
        self._totals[0] += loss.detach() * len(labels)
        self._totals[1] += (logits.detach().argmax(dim=1) == labels).sum()

    @torch.no_grad()
    def _evaluate(self) -> tuple[float, float]:
        """Summed loss and right answers over the whole test split, over all ranks."""
        self._engine.eval()
        totals = torch.zeros(2, dtype=torch.float64, device=self._device)
        for images, labels, counts in test_batches(self._test, self._cell, self._rank):
            self._enter()
            self._beat("evaluating", self.number, self.step)
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
