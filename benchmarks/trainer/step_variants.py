"""What `gpu_step` times: our trainer in each precision and with each pipeline, and the paper's plain loop.

A variant is made ready for a number of steps, then runs blocks of them. It raises what goes wrong; nobody here decides
what a failure means.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.trainer.one_rank import trainer_of
from benchmarks.trainer.paper import WORKERS, PlainLoop
from benchmarks.trainer.step_report import Block, Variant
from launchers.checked import to_plain
from launchers.profile import Device
from tests.unit import builders
from vit_sweep.job.train.engines.build import engine_of
from vit_sweep.job.train.images.data import load
from vit_sweep.job.train.images.pipeline import pipeline_of
from vit_sweep.job.train.model import DTYPES, multiply_in, vision_transformer
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Pipeline, Precision
from vit_sweep.plan.specs import ModelSpec

FILL = 2
"""Steps at the start of a block that fill the pipeline and are not counted."""
MODELS = {
    "vit_b_16": ModelSpec(
        name="vit_b_16", image_size=224, patch_size=16, layers=12, heads=12, width=768, mlp_width=3072
    ),
    "tiny": ModelSpec(name="tiny", image_size=32, patch_size=8, layers=2, heads=2, width=64, mlp_width=128),
}
PLAIN = "paper's protocol"


def variants() -> list[Variant]:
    """All of them, in the order of what is worth knowing if time runs out: the goals' first."""
    rows = [(Precision.BF16, False), (Precision.BF16, True), (Precision.FP32, False), (Precision.TF32, False)]
    our_variants = [
        Variant(
            name=f"{precision.value}{' + compile' if compiled else ''}, {pipeline.value}",
            precision=precision,
            compile=compiled,
            pipeline=pipeline,
        )
        for pipeline in Pipeline
        for precision, compiled in rows
    ]
    plain_variant = Variant(name=PLAIN, precision=Precision.FP32, pipeline=Pipeline.LOADER, plain=True)
    return [
        plain_variant,
        our_variants[0],
        replace(our_variants[0], name=f"{our_variants[0].name}, again"),
        *our_variants[1:],
    ]


class Workshop:
    """Makes variants ready; what several of them can share is made once."""

    def __init__(
        self,
        *,
        device: torch.device,
        model: ModelSpec,
        micro_batch: int,
        plain_batch: int,
        workers: int,
    ) -> None:
        self.device, self.workers = device, workers
        self._micro_batch, self._plain_batch = micro_batch, plain_batch
        self._cuda = device.type == "cuda"
        images = 50_000 if self._cuda else 512  # CIFAR's number where they fit into a second's work
        self.data = replace(builders.DATA, train_images=images, test_images=micro_batch, classes=100)
        self.model = model
        self._train, self._test = load(self.data, Path())
        self._engines: dict[tuple[Precision, bool], Any] = {}

    def batch(self, variant: Variant) -> int:
        """Images of a step."""
        return self._plain_batch if variant.plain else self._micro_batch

    def cell(self, variant: Variant, steps: int) -> Cell:
        """The cell of a variant whose epoch has so many steps."""
        return builders.cell(
            device=Device.CUDA if self._cuda else Device.CPU,
            micro_batch=self._micro_batch,
            train_images=steps * self._micro_batch,
            precision=variant.precision,
            epochs=1,
            warmup_steps=0,
            model=self.model,
            data=self.data,
            optimizer=replace(builders.OPTIMIZER, learning_rate=1e-4),
            pipeline=variant.pipeline,
            compile=variant.compile,
        )

    def why_not(self, variant: Variant) -> str | None:
        """Why a variant cannot be on this device, or None; its engine says the rest."""
        if variant.compile and not self._cuda:
            return "compile=true is refused on a CPU: its kernels would be built with a C++ compiler in every job"
        return None

    def ready(self, variant: Variant, steps: int) -> Callable[[], Block]:
        """A function that runs one block of `FILL + steps` steps and returns a `Block`."""
        return self._plain(variant, steps) if variant.plain else self._ours(variant, steps)

    def _plain(self, variant: Variant, steps: int) -> Callable[[], Block]:
        model = vision_transformer(self.cell(variant, 1))
        loop = PlainLoop(
            model,
            self._train,
            side=self.model.image_shape[0],
            batch=self._plain_batch,
            device=self.device,
            workers=min(WORKERS, self.workers),
        )
        return lambda: self._block(lambda: (loop.steps_ms(FILL + steps), None))

    def _ours(self, variant: Variant, steps: int) -> Callable[[], Block]:
        cell = self.cell(variant, FILL + steps)
        key = (variant.precision, variant.compile)
        if key not in self._engines:
            self._engines[key] = engine_of(cell)
        pipeline = pipeline_of(
            cell, train=self._train, device=self.device, dtype=DTYPES[cell.precision], rank=0, workers=self.workers
        )
        trainer = trainer_of(cell, self._engines[key], pipeline, self._test)

        def block() -> tuple[Sequence[float], dict[str, float | None]]:
            multiply_in(cell.precision)  # the engines of one process share this switch
            report = trainer.epoch()
            (phases,) = report.phases_by_rank
            return report.step_ms, to_plain(phases.median_ms)

        return lambda: self._block(block)

    def _block(self, work: Callable[[], tuple[Sequence[float], Mapping[str, float | None] | None]]) -> Block:
        allocated_before = 0
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            allocated_before = torch.cuda.memory_allocated()
        step_ms, phases_ms = work()
        peak = round((torch.cuda.max_memory_allocated() - allocated_before) / 2**20, 1) if self._cuda else None
        return Block(step_ms=tuple(step_ms[FILL:]), phases_ms=phases_ms, peak_memory_mib=peak)


def loader_workers() -> int:
    """Processes for the loaders: the cores that this process may use but two, at most 8."""
    return max(0, min(8, len(os.sched_getaffinity(0)) - 2))
