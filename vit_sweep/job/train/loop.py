"""Epochs: train, evaluate, and report times that mean the same on every device."""

import gc
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vit_sweep.job.host_time import between, moment
from vit_sweep.job.train.clock import NoMarks, StepClock, marks_of, phases_of_step
from vit_sweep.job.train.engines.engine import Engine
from vit_sweep.job.train.images.data import Split, prepare, test_batches
from vit_sweep.job.train.images.pipeline import Pipeline, Raw
from vit_sweep.job.train.measure.after_training import measure_all
from vit_sweep.job.train.measure.bench import Bench, at_rest
from vit_sweep.job.train.model import DTYPES, compilations
from vit_sweep.job.train.objective import correct_of, inputs_of, loss_of, scores
from vit_sweep.job.train.pairs.retrieval import summed_loss
from vit_sweep.job.train.schedule import Schedule
from vit_sweep.job.train.stopping import StopAgreed
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, cause_of
from vit_sweep.plan.cell import Cell, DeepSpeedProfiler
from vit_sweep.plan.choices import Task
from vit_sweep.record.breakdown import Breakdown, RankPhases
from vit_sweep.record.learning import diverged
from vit_sweep.record.machine import HostTime
from vit_sweep.record.position import PartEpoch
from vit_sweep.record.record import Compilations, EpochReport

Beat = Callable[[str, int, int], None]
"""Says that work goes on: phase, epoch, finished steps."""


class Trainer:
    """One rank's side of the training of a cell, and the place where it is."""

    def __init__(
        self,
        *,
        cell: Cell,
        engine: Engine,
        pipeline: Pipeline,
        test: Split,
        device: torch.device,
        enter: Callable[[], None],
        beat: Beat,
        stopped_s: Callable[[], float] = float,
        data_opened: float | None = None,
        instrumented: bool = True,
    ) -> None:
        """Train `engine` on what `pipeline` hands over, and test it on `test`.

        `enter` is called before each unit of work and may stop the run there, see `stopping`; `stopped_s` says how
        long the process stood still so far; `data_opened` is the monotonic time just before the data set was opened.
        Without `instrumented` no times are taken but the epoch's: for the benchmark that says what taking them costs.
        """
        self._cell, self._engine = cell, engine
        self.device = device
        """Where this rank computes."""
        self._pipeline, self._test = pipeline, test
        self._enter, self._beat, self._stopped_s = enter, beat, stopped_s
        self._data_opened = data_opened
        self._schedule = Schedule(engine.optimizer, cell)
        self._rank = dist.get_rank()
        self._exchanges = engine.exchange_apart(instrumented)
        step = phases_of_step(cell.accum, communication=self._exchanges)
        self._clock = StepClock(marks_of(device) if instrumented else NoMarks(), step)
        self._dtype = DTYPES[cell.precision]
        self._cold = True
        self._usual_step_s = 0.0
        self.number = 1
        """The epoch that is run, or is next."""
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.step = 0
        """Finished optimizer steps of it."""
        self._interrupted = False
        self._totals = torch.zeros(2, dtype=torch.float64, device=self.device)  # (2,): summed loss, correct answers
        self._newest_loss = torch.zeros((), device=self.device)
        self._seconds = 0.0
        self._step_ms: list[float] = []
        self._phases: RankPhases | None = None
        self._host: HostTime | None = None
        self._skipped: list[int] = []
        self._compiled = Compilations(graphs=0, breaks=0)

    def resume(self, epoch: int, step: int, part: PartEpoch | None) -> None:
        """Go on at this place; the engine has its state already."""
        self.number = epoch
        self._data_opened = None  # what earlier attempts took is not known
        self._begin_epoch()
        if part is not None:
            self.step, self._interrupted = step, True
            self._totals += torch.tensor(part.totals_by_rank[self._rank], dtype=torch.float64)
            self._seconds = part.seconds_by_rank[self._rank]
            self._step_ms = list(part.step_ms_by_rank[self._rank])

    def part(self) -> PartEpoch | None:
        """What all ranks have of an epoch that is not finished; a collective. None at an epoch's start.

        Raises `JobError` on all ranks if the loss is not finite any more: that state is not worth saving.
        """
        if self.step == 0:
            return None
        loss, correct = self._totals.tolist()
        own_part = ((loss, correct), self._seconds, tuple(self._step_ms))
        parts: list[Any] = [None] * self._cell.gpus
        dist.all_gather_object(parts, own_part)
        totals, seconds, step_ms = zip(*parts, strict=True)
        _require_finite(sum(loss for loss, _ in totals))
        return PartEpoch(totals_by_rank=totals, seconds_by_rank=seconds, step_ms_by_rank=step_ms)

    def epoch(self) -> EpochReport:
        """Run one epoch, or what is left of it: a barrier, the timed steps, a barrier, then the evaluation.

        Raises `JobError` on all ranks if a loss is infinite or not a number.
        """
        self._train_steps()
        # Into a copy: a stop during the evaluation saves the sums of this rank.
        loss, correct = self._sum(self._totals.clone()).tolist()
        _require_finite(loss)
        test_loss, test_right, metrics = self._evaluate()
        _require_finite(loss, test_loss)
        ranks: list[Any] = [None] * self._cell.gpus
        wall_s = None if self._data_opened is None else round(time.monotonic() - self._data_opened, 6)
        own_times = (round(self._seconds, 6), self._step_ms, self._phases, self._host, self._compiled, wall_s)
        dist.all_gather_object(ranks, own_times)
        seconds, step_ms, phases, hosts, compiled, walls = zip(*ranks, strict=True)
        interrupted = self._interrupted or any(host.stopped_s for host in hosts)
        images, count = self._cell.images_per_epoch, self._cell.data.test_images
        classifies = self._cell.task is Task.CLASSIFICATION
        report = EpochReport(
            epoch=self.number,
            seconds=max(seconds),
            seconds_by_rank=seconds,
            step_ms=tuple(max(step) for step in zip(*step_ms, strict=True)),
            step_ms_by_rank=tuple(tuple(steps) for steps in step_ms),
            images=images,
            train_loss=loss / images,
            train_accuracy=correct / images if classifies else None,
            test_loss=test_loss / count,
            test_accuracy=test_right / count if classifies else None,
            test_metrics=metrics,
            cold=self._cold,
            interrupted=interrupted,
            phases_by_rank=() if interrupted or None in phases else phases,
            host_by_rank=() if self._interrupted else hosts,
            skipped_steps=tuple(self._skipped),
            compiled_by_rank=compiled if self._cell.compile else (),
            wall_s=None if None in walls else max(walls),
        )
        self._usual_step_s = median(report.step_ms) / 1000 if report.step_ms else 0.0
        self._cold = False
        self.number += 1
        self._begin_epoch()
        return report

    def measure(
        self, *, profile_steps: int, trace: Path, exposed: bool = True, profilers: Sequence[DeepSpeedProfiler] = ()
    ) -> Breakdown:
        """Measure, after the last epoch, what cannot be measured in it; a collective, and the last use of the engine.

        The steps are the epoch's with one constant batch and learning rate zero, so the weights stay what was
        evaluated. A stop ends the measuring, not the run: its training is done. `profile_steps`=0: no profile.
        Files lie beside `trace`.
        """
        bench = self._bench()
        with at_rest(self._engine.optimizer):
            return measure_all(
                bench,
                cell=self._cell,
                model=self._engine.module,
                usual_step_s=self._usual_step_s if exposed else None,
                profile_steps=profile_steps,
                trace=trace,
                profilers=profilers,
            )

    def _bench(self) -> Bench:
        """The steps of an epoch with one constant batch, without marks."""
        batch = list(itertools.islice(self._pipeline.epoch(self._cell.epochs + 1), self._cell.accum))
        self._engine.module.train()
        self._clock = StepClock(NoMarks(), ())

        def step() -> None:
            self._beat("measuring", self._cell.epochs, 0)
            micro_batches = iter(batch)
            for micro in range(self._cell.accum):
                self._micro_step(micro_batches, boundary=micro == self._cell.accum - 1)

        @torch.no_grad()
        def forward() -> None:
            self._beat("measuring", self._cell.epochs, 0)
            self._engine.evaluate(inputs_of(self._cell.task, *self._pipeline.ready(batch[0])))

        return Bench(
            ranks=self._cell.gpus,
            rank=self._rank,
            device=self.device,
            step=step,
            forward=forward,
            enter=self._enter,
            barrier=self._barrier,
            silenced=self._engine.silenced,
            counted=self._engine.counted,
        )

    def _train_steps(self) -> None:
        batches = self._pipeline.epoch(self.number, start=self.step)
        self._engine.module.train()
        _set_garbage_apart()
        skipped = self._engine.skipped_steps
        host_before, compiled_before = moment(self._stopped_s()), compilations()
        self._barrier()
        begun = time.perf_counter()
        self._clock.mark()
        try:
            for _ in range(self.step, self._cell.steps_per_epoch):
                self._enter()
                self._schedule.before_step(self.number, self.step)
                for micro in range(self._cell.accum):
                    self._beat("training", self.number, self.step)
                    self._micro_step(batches, boundary=micro == self._cell.accum - 1)
                if self._engine.skipped_steps != skipped:
                    skipped = self._engine.skipped_steps
                    self._skipped.append(self.step)
                self.step += 1
        except StopAgreed:
            # Without the wait for the agreement.
            steps, _ = self._clock.read()
            self._step_ms += steps
            self._seconds += sum(steps) / 1000
            raise
        except Exception as error:
            self._name_divergence(error)
            raise
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self._seconds += time.perf_counter() - begun
        self._barrier()
        self._host = between(host_before, moment(self._stopped_s()))
        self._compiled = compilations().since(compiled_before)
        steps, self._phases = self._clock.read()
        self._step_ms += steps

    def _micro_step(self, batches: Iterator[Raw], *, boundary: bool) -> None:
        """One micro batch; `phases_of_step` says what each mark ends."""
        mark = self._clock.mark
        raw = next(batches)
        mark()
        images, labels = self._pipeline.ready(raw)  # (micro batch, channels, rows, columns), (micro batch, ...)
        mark()
        inputs = inputs_of(self._cell.task, images, labels)
        logits = self._engine.forward(inputs, boundary=boundary).float()  # (micro batch, outputs)
        loss = loss_of(self._cell.task, logits, labels)  # (), the mean
        self._newest_loss = loss.detach()
        mark()
        self._engine.backward(loss, boundary=boundary)
        mark()
        if boundary and self._exchanges:
            self._engine.exchange()
            mark()
        self._engine.step(boundary=boundary)
        if boundary:
            mark()
        # Kept on the device: reading a number here would make every step wait for it.
        self._totals[0] += self._newest_loss * len(labels)
        self._totals[1] += correct_of(self._cell.task, logits.detach(), labels)
        mark()

    def _name_divergence(self, error: Exception) -> None:
        """Raise `JobError` if the loss was lost and `error` has no name of its own: it follows from that.

        Libraries break in odd ways on numbers that are none: DeepSpeed's ZeRO 3 misses parameters in its trace.
        """
        if cause_of(error) is not Cause.BUG:
            return
        problem = diverged(float(self._totals[0]) + float(self._newest_loss))
        if problem is not None:
            raise JobError(Cause.DIVERGED, problem) from error

    @torch.no_grad()
    def _evaluate(self) -> tuple[float, float, dict[str, float]]:
        """Summed loss, correct answers and the task's metrics over the whole test split, over all ranks."""
        self._engine.module.eval()
        task, rows = self._cell.task, list[Tensor]()
        totals = torch.zeros(2, dtype=torch.float64, device=self.device)
        for images, labels, counts in test_batches(self._test, self._cell, self._rank, self.device):
            self._enter()
            self._beat("evaluating", self.number, self.step)
            # images: (n, channels, height, width), labels: (n, ...); the first `counts` of them count.
            ready = prepare(images, self._cell.model.image_shape, self._dtype, self._test.levels)
            logits = self._engine.evaluate(inputs_of(task, ready, labels)).float()  # (n, outputs)
            if task is not Task.CONTRASTIVE:
                totals[0] += loss_of(task, logits[:counts], labels[:counts], summed=True) if counts else 0.0
            totals[1] += correct_of(task, logits[:counts], labels[:counts])
            if task is not Task.CLASSIFICATION:
                count = (torch.arange(len(labels), device=self.device) < counts).float()
                rows.append(torch.cat([logits, labels, count[:, None]], dim=1))  # (n, outputs + targets + 1)
        loss, correct = self._sum(totals).tolist()
        if not rows:
            return loss, correct, {}
        all_logits, targets = self._gathered_logits(rows, logits.shape[1])
        if task is Task.CONTRASTIVE:
            loss = summed_loss(all_logits, self._cell.compared)
        return loss, correct, scores(task, all_logits, targets, self._test.units)

    def _gathered_logits(self, rows: list[Tensor], outputs: int) -> tuple[Tensor, Tensor]:
        """Logits (images, outputs) and targets (images, ...) of the whole test split in its order; a collective.

        `rows`: this rank's batches, equally many on all, whose last column says whether an image counts.
        """
        local = torch.stack(rows)  # (batches, n, outputs + targets + 1)
        ranks = [torch.empty_like(local) for _ in range(self._cell.gpus)]
        dist.all_gather(ranks, local)
        # Those of a sequence group have the same ones; batches go round the others.
        split = torch.stack(ranks[:: self._cell.sequence], dim=1).flatten(0, 2)
        split = split[split[:, -1] > 0, :-1]
        return split[:, :outputs], split[:, outputs:]

    def _sum(self, totals: Tensor) -> Tensor:
        """Over all images: each rank of a sequence group has counted the same ones."""
        dist.all_reduce(totals)
        return totals / self._cell.sequence

    def _barrier(self) -> None:
        if self.device.type == "cuda":
            dist.barrier(device_ids=[self.device.index])
        else:
            dist.barrier()


def _set_garbage_apart() -> None:
    """Collect now, and let Python's collector look no more at what is left: its passes in timed steps find little.

    It stays on, since what steps leave behind in circles may hold device memory.
    """
    gc.collect()
    gc.freeze()


def _require_finite(*losses: float) -> None:
    problem = diverged(*losses)
    if problem is not None:
        raise JobError(Cause.DIVERGED, problem)
