"""The columns of a tidy table of somebody's measurements, and how one line of it is read. Pure.

docs/results/import.md describes them for people; a test holds that page to this list.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from vit_sweep.plan.choices import BatchPer, Scaling

Value = int | float | str


class Column(NamedTuple):
    """One column that is understood."""

    read: Callable[[str], Value]
    """Raises `ValueError` with the rule that a text breaks."""
    meaning: str


_MOST = 1e18
"""As of what stands in a record: a sum of as many is still a number."""
_MOST_EPOCHS = 10_000
"""In one row: each becomes a number in memory."""
_LONGEST = 1000
"""Characters of a text."""


def _number(rule: str, holds: Callable[[float], bool], *, most: float = _MOST) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text) if is_number(text) else math.nan
        if not (math.isfinite(value) and holds(value)):
            raise ValueError(f"must {rule}")
        if value > most:
            raise ValueError(f"must be at most {most:g}")
        return value

    return read


def _whole_from(least: int, *, most: float = _MOST) -> Callable[[str], int]:
    read = _number(f"be a whole number from {least}", lambda value: value == int(value) and value >= least, most=most)
    return lambda text: int(read(text))


def _text(text: str) -> str:
    if len(text) > _LONGEST:
        raise ValueError(f"must have at most {_LONGEST} characters, and has {len(text):,}")
    return text


# The product of two of these is still a number of 64 bits.
_few, _index = _whole_from(1, most=1e6), _whole_from(0)
_count = _whole_from(1)
_positive = _number("be a number above 0", lambda value: value > 0)
_not_negative = _number("be a number from 0", lambda value: value >= 0)
_part = _number("lie between 0 and 1 (a percentage divided by 100)", lambda value: 0 <= value <= 1)


def _word(*menu: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.lower() not in menu:
            raise ValueError(f"must be one of {', '.join(menu)}")
        return text.lower()

    return read


def _number_as_text(text: str) -> str:
    return str(_not_negative(text))


def _epoch(text: str) -> str:
    """`3`, or `1-5`; kept as text, see `epoch_range`."""
    epoch_range(text)
    return text


COLUMNS: Mapping[str, Column] = {
    "gpus": Column(_few, "all GPUs of the run; required"),
    "epoch": Column(_epoch, "its number, from 1; `2-5`: the row is the mean over these; required"),
    "epoch_time_s": Column(_positive, "seconds that this epoch took (of this rank); required"),
    "nodes": Column(_few, "machines that the GPUs are in"),
    "batch": Column(_few, "images per GPU and forward, or what `batch_per` says"),
    "batch_per": Column(_word(*BatchPer), "what `batch` counts: gpu (default) or global (a whole optimizer step)"),
    "accum": Column(_few, "forwards per optimizer step; 1 without gradient accumulation"),
    "scaling": Column(_word(*Scaling), "strong (default): every epoch covers the same images; weak: images grow"),
    "placement": Column(_text, "packed (few machines), spread (one GPU a machine), or a word of yours"),
    "images": Column(_count, "images of one epoch, over all GPUs"),
    "epochs": Column(_few, "epochs that were asked for; fewer rows make the run partial"),
    "seed": Column(_index, "tells repeats apart"),
    "run": Column(_text, "a name that tells repeats apart, where there are no seeds"),
    "rank": Column(_index, "the process that this row is of, from 0; the epoch is as long as its slowest rank"),
    "model": Column(_text, "condition: the network"),
    "data": Column(_text, "condition: the data set"),
    "precision": Column(_text, "condition: fp32, bf16, fp16 ..."),
    "engine": Column(_text, "condition: ddp, zero0, zero1 ..."),
    "optimizer": Column(_text, "condition: adamw ..."),
    "learning_rate": Column(_number_as_text, "condition: before any rule of scaling"),
    "lr_scaling": Column(_text, "condition: none, linear or sqrt in the global batch"),
    "partition": Column(_text, "condition: the cluster or its partition"),
    "gpu_model": Column(_text, "condition: the kind of GPU that was asked for"),
    "pipeline": Column(_text, "condition: how images reach the GPU"),
    "warm_epoch_time_s": Column(_positive, "of a row that is a mean from epoch 1: the mean without epoch 1"),
    "epoch_time_sd_s": Column(_not_negative, "of a row that is a mean: the standard deviation over its epochs"),
    "test_accuracy": Column(_part, "after this epoch, of images that are not trained on, 0 to 1"),
    "train_accuracy": Column(_part, "in this epoch, of the images trained on, 0 to 1"),
    "accuracy": Column(_part, "of unsaid images: judged as training accuracy"),
    "step_ms": Column(_positive, "optimizer step, median of the epoch"),
    "communication_ms": Column(_not_negative, "time in collectives per optimizer step"),
    "communication_s": Column(_not_negative, "the same per epoch; needs images, batch and accum"),
    "compute_ms": Column(_positive, "optimizer step of this rank without its collectives"),
    "data_wait_ms": Column(_not_negative, "waiting for images per optimizer step"),
    "host": Column(_text, "the machine of this rank"),
    "device": Column(_text, "the GPU of this rank, as it ran"),
    "parameters": Column(_count, "trainable parameters of the model"),
    "bytes_per_step": Column(
        _positive, "bytes that the collectives of a step reduce; all-gathers and reduce-scatters count half"
    ),
    "certificate": Column(
        _not_negative,
        "how far the engine's weights are from one process's after the same steps, as a part of their movement",
    ),
    "note": Column(_text, "what a reader of this run must know"),
}
"""In the order of docs/results/import.md."""

DEFAULTS = {"scaling": Scaling.STRONG, "batch_per": BatchPer.GPU}
"""Columns that may be left open, and what is read then; `Run.assumed` names them."""
NUMBERS = frozenset(
    name
    for name, column in COLUMNS.items()
    if column.read in (_few, _count, _index, _positive, _not_negative, _part, _number_as_text)
)
"""Columns of numbers."""
PARTS = frozenset(name for name, column in COLUMNS.items() if column.read is _part)
"""Columns of parts of images, 0 to 1."""
REQUIRED = ("gpus", "epoch", "epoch_time_s")
CONDITIONS = {
    "model": "model",
    "data": "data",
    "precision": "precision",
    "engine": "engine",
    "optimizer": "optimizer",
    "learning_rate": "optimizer.learning_rate",
    "lr_scaling": "lr_scaling",
    "partition": "partition",
    "gpu_model": "gpu_model",
    "pipeline": "data.pipeline",
}
"""A column and the condition of a `Run` that it is."""
IDENTITY = (
    "run",
    "seed",
    "scaling",
    "gpus",
    "nodes",
    "placement",
    "batch",
    "batch_per",
    "accum",
    "images",
    "epochs",
    "parameters",
    "bytes_per_step",
    "certificate",
    *CONDITIONS,
)
"""Rows that agree in all of these are of one run."""
_OPTIONAL = (
    "test_accuracy",
    "train_accuracy",
    "accuracy",
    "step_ms",
    "communication_ms",
    "communication_s",
    "compute_ms",
    "data_wait_ms",
    "epoch_time_sd_s",
    "warm_epoch_time_s",
)
"""A wrong value here is left out, not its row."""
_NOTHING = frozenset({"", "-", "–", "na", "n/a", "null"})
"""Texts that say that a value is not known. NaN is not one of them: a program writes it where something went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TidyRow:
    """One line, read."""

    line: int
    """Its number in the file, from 1."""
    first: int
    last: int
    """The epochs that it is of."""
    seconds: float
    values: Mapping[str, Value] = field(default_factory=dict)
    """All known columns that say something."""

    @property
    def identity(self) -> tuple[Value | None, ...]:
        """What it shares with the other rows of its run."""
        return tuple(self.values.get(name) for name in IDENTITY)

    @property
    def rank(self) -> int | None:
        """The process that it is of; None: of the whole job."""
        return self.integer("rank")

    def number(self, name: str) -> float | None:
        """A column of numbers."""
        value = self.values.get(name)
        return float(value) if isinstance(value, int | float) else None

    def integer(self, name: str) -> int | None:
        """A column of whole numbers."""
        value = self.values.get(name)
        return value if isinstance(value, int) else None

    def text(self, name: str) -> str:
        """A column of words; empty where it says nothing."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""


class LogError(ValueError):
    """A log of another program does not say all that a table must."""

    def __init__(self, lacking: str, option: str) -> None:
        """`lacking`: what it does not say; `option`: the word for --set that does, or empty."""
        super().__init__(f"the log does not hold {lacking}" + (f"; give it with --set {option}" if option else ""))


def scaling_of(row: TidyRow) -> Scaling:
    """Its scaling mode, stated or by default."""
    return Scaling(row.text("scaling") or DEFAULTS["scaling"])


class Wrong(NamedTuple):
    """A value that breaks the rule of its column."""

    line: int
    column: str
    text: str
    rule: str
    whole_row: bool
    """Whether the row is left out, or only this value."""


def epoch_range(text: str) -> tuple[int, int]:
    """`3` is (3, 3), `1-5` is (1, 5). Raises `ValueError` with the rule."""
    match = re.fullmatch(r"(\d{1,9})(?:\.0*)?(?:\s*-\s*(\d{1,9}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (-1, -1)
    if first < 0 or last < first:
        raise ValueError("must be a whole number from 1, or a range like 2-5")
    if last - first >= _MOST_EPOCHS:
        raise ValueError(f"must be a range of at most {_MOST_EPOCHS:,} epochs")
    return first, last


def first_rank(rows: Iterable[Mapping[str, str]]) -> int:
    """From which number a table counts its ranks: 1 where no row has rank 0 and some rank equals its `gpus`, else 0."""
    pairs = [(_whole(row.get("rank", "")), _whole(row.get("gpus", ""))) for row in rows]
    ranks = [(rank, gpus) for rank, gpus in pairs if rank is not None and gpus is not None]
    from_1 = all(1 <= rank <= gpus for rank, gpus in ranks) and any(rank == gpus for rank, gpus in ranks)
    return 1 if from_1 else 0


@lru_cache(maxsize=4096)
def _read(column: str, text: str) -> Value:
    """Most texts of a table stand in many of its rows."""
    return COLUMNS[column].read(text)


def _whole(text: str) -> int | None:
    try:
        return _index(text.strip())
    except ValueError:
        return None


def read_row(line: int, texts: Mapping[str, str], *, from_rank: int = 0) -> tuple[TidyRow | None, tuple[Wrong, ...]]:
    """Read one line, given as text by column; None where nothing of it can be used.

    `from_rank`: the number of the first rank, see `first_rank`; the row's rank counts from 0.
    """
    values: dict[str, Value] = {}
    wrong: list[Wrong] = []
    for name, text in texts.items():
        clean = text.strip()
        if name not in COLUMNS or (clean.lower() in _NOTHING and name not in REQUIRED):
            continue
        try:
            values[name] = _read(name, clean)
        except ValueError as error:
            wrong.append(Wrong(line, name, clean, str(error), name not in _OPTIONAL))
    if isinstance(counted := values.get("rank"), int):
        values["rank"] = counted - from_rank
    rank, gpus = values.get("rank"), values.get("gpus")
    if isinstance(rank, int) and isinstance(gpus, int) and rank >= gpus:
        wrong.append(Wrong(line, "rank", str(rank), f"must be below gpus={gpus}: ranks count from 0", True))
    if any(mistake.whole_row for mistake in wrong):
        return None, tuple(wrong)
    first, last = epoch_range(str(values["epoch"]))
    seconds = float(values["epoch_time_s"])
    return TidyRow(line=line, first=first, last=last, seconds=seconds, values=values), tuple(wrong)


def is_number(text: str) -> bool:
    """Whether a field holds a number, NaN and infinity included."""
    try:
        float(text)
    except ValueError:
        return False
    return True
