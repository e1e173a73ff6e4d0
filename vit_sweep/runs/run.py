"""Runs: what the analysis knows of one execution, whoever measured it. Pure.

A study's record, a line of somebody's CSV file and a published figure all become a `Run`, so one set of rules judges
them. What a source does not say is None, and no rule guesses it.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from statistics import median
from typing import Any

from launchers.checked import checked
from vit_sweep.outcome.result import Status
from vit_sweep.plan.cell import Series as Membership
from vit_sweep.plan.choices import Task
from vit_sweep.record.summary import Measured


class Origin(StrEnum):
    """Where a run comes from."""

    STUDY = "study"
    IMPORTED = "imported"
    REFERENCE = "reference"
    """A published figure."""


class Shared(tuple[Any, ...]):
    """What many runs share, whose hash is worked out once: grouping runs asks for it many times a run."""

    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            self._hash = super().__hash__()
            return self._hash

    def __reduce__(self) -> tuple[type["Shared"], tuple[tuple[Any, ...]]]:
        """Without the hash, which is another one in another process."""
        return Shared, (tuple(self),)


@lru_cache(maxsize=4096)
def shared(conditions: tuple[tuple[str, str], ...]) -> Shared:
    """The first of equal conditions."""
    return Shared(conditions)


@checked
class Run(Measured):
    """One execution of one configuration."""

    run_id: str
    """The cell's id, or `FILE line 12`."""
    origin: Origin
    gpus: int
    """TOTAL GPUs = world size."""
    nodes: int | None = None
    node_gpus: int | None = None
    """GPUs of a node of its partition, used or not; None where nobody said."""
    most_gpus: int | None = None
    """GPUs of the largest job that its partition can run, on a CPU no more than the cores of its hosts allow."""
    curves: tuple[Membership, ...] = ()
    """What it was run for: scaling mode, what `batch` counts, placement (empty: not known)."""
    micro_batch: int | None = None
    accum: int | None = None
    sequence: int = 1
    """Ranks that share the tokens of the same images."""
    work: int | None = None
    """Images that an epoch covers, repeated ones not counted."""
    images: int | None = None
    """Images that really go through the model in an epoch."""
    conditions: tuple[tuple[str, str], ...] = ()
    """Everything else that must be equal along a curve, sorted by name: model, data, precision, engine,
    optimizer, partition, gpu_model, epochs, data.pipeline, allocation, every value behind the names ..."""
    seed: int | None = None
    status: Status = Status.DONE
    cause: str = ""
    """Why it has no times, in one word."""
    note: str = ""
    """What a reader of its times must know."""
    continued_from: str = ""
    """The checkpoint of another cell that it goes on from, `CELL/CHECKPOINT`: it is of no curve, and has no times."""
    epochs_requested: int | None = None
    step_predicted_ms: float | None = None
    """What the plan expects of a step by operations and links alone; None where it knows no peak of the GPU."""
    rank_0_compute_ms: float | None = None
    """`compute_ms_by_rank` of rank 0, where only rank 0 reports it."""
    rank_0_only: tuple[str, ...] = ()
    """Columns that only rank 0 of several reported: they say nothing of the others."""
    assumed: tuple[str, ...] = ()
    """Columns that the source left open and that were read by their default: scaling, batch_per."""
    published_s: float | None = None
    """Mean over all its epochs, the first among them, as its source prints it; None where the epochs are known."""
    published_sd_s: float | None = None
    """Standard deviation over these epochs."""
    mfu: float | None = None
    step_flop: float | None = None
    """Operations that training must do in a step, per GPU (`vit.train_flop`)."""
    memory_predicted_mib: float | None = None
    queue_wait_s: float | None = None
    """From submission to the start of the attempt that gave the record."""
    attempts: int | None = None

    def __post_init__(self) -> None:
        """Hold conditions that runs share once: they are 5 KB, a third of a run."""
        object.__setattr__(self, "conditions", shared(self.conditions))

    def condition(self, name: str) -> str:
        """One condition by its name; empty where it is not said."""
        return _by_name(self.conditions).get(name, "")

    @property
    def timed(self) -> bool:
        """Whether it has a time at all."""
        return bool(self.epoch_s)

    @property
    def partial(self) -> bool:
        """Whether it stopped before all epochs that were asked for."""
        return (
            self.epochs_requested is not None
            and self.epochs_done is not None
            and self.epochs_done < self.epochs_requested
        )

    @property
    def paid_gpus(self) -> int:
        """GPUs that a job of its own holds: whole nodes are counted, what the rest of a curve needs is not."""
        return self.gpus if self.condition("allocation") == "shared" else self.allocated_gpus or self.gpus

    @property
    def gpu_hours(self) -> float | None:
        """What its job cost, GPUs that waited meanwhile included; None where the job's time is not known."""
        return None if self.job_s is None else (self.allocated_gpus or self.gpus) * self.job_s / 3600

    @property
    def steps(self) -> int | None:
        """Optimizer steps of an epoch; None where images or batch are not known."""
        images = self.images if self.images is not None else self.work
        return max(1, -(-images // self.global_batch)) if images and self.global_batch else None

    @property
    def training_power_w(self) -> float | None:
        """Mean power of all GPUs while training; None unless every GPU said what it used."""
        if self.joules_per_image is None or self.images is None or not self.epoch_s:
            return None
        return self.joules_per_image * self.images / median(self.epoch_s)

    @property
    def compared(self) -> int | None:
        """Pairs that are compared with each other in a micro step, over all ranks; None of other tasks."""
        if self.condition("task") != Task.CONTRASTIVE or self.global_batch is None or self.accum is None:
            return None
        return self.global_batch // self.accum

    @property
    def global_batch(self) -> int | None:
        """Images per optimizer step; None where a factor is not known."""
        if self.micro_batch is None or self.accum is None:
            return None
        return self.micro_batch * self.accum * self.gpus // self.sequence


@lru_cache(maxsize=4096)
def _by_name(conditions: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(conditions)


def counted(runs: Iterable[Run]) -> str:
    """What the runs count: images, or pairs where all of them learn from pairs."""
    tasks = {run.condition("task") for run in runs}
    return "pairs" if tasks == {Task.CONTRASTIVE.value} else "images"


@lru_cache(maxsize=4096)
def in_order(conditions: tuple[tuple[str, str], ...]) -> Shared:
    """What sorts by conditions, numbers in them by their size.

    >>> sorted([(("px", "1024"),), (("px", "224"),)], key=in_order)
    [(('px', '224'),), (('px', '1024'),)]
    """
    return Shared((name, tuple(_by_number(text)), text) for name, text in conditions)


def _by_number(text: str) -> Iterator[str | float]:
    """Words and numbers in turns, beginning with a word, which may be empty."""
    for place, part in enumerate(re.split(r"([0-9]+(?:\.[0-9]+)?)", text)):
        yield float(part) if place % 2 else part


def within(conditions: Iterable[tuple[str, str]], groups: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Conditions that are one of these names, or a value behind one: of `engine` also `engine.kind`."""
    return tuple((name, value) for name, value in conditions if name.split(".", 1)[0] in groups)
