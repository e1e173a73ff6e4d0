"""From times of steps to rates, MFU and ratios; what a GPU can do at most. Pure: no torch here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.ratios import spread
from vit_sweep.plan.choices import Pipeline, Precision
from vit_sweep.plan.specs import ModelSpec
from vit_sweep.record.breakdown import mfu

GOAL_MFU, GOAL_TIMES_PAPER = 0.5, 8.0
SAME_CHIP = {"H200": "H100"}
"""A GPU whose data sheet says the peaks of another one's: the H200 is an H100 SXM with more and faster memory."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of the results."""

    name: str
    precision: Precision
    compile: bool = False
    pipeline: Pipeline = Pipeline.DEVICE
    plain: bool = False
    """The paper's loop instead of our trainer."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """What one block of a variant found."""

    step_ms: tuple[float, ...]
    """Of the steps that count."""
    phases_ms: Mapping[str, float | None] | None
    """The median step's phases; None for the plain loop."""
    peak_memory_mib: float | None
    """Most device memory above what lay there before: the weights of every variant lie there all the time."""


def peaks_of(gpu: str, profiles: Iterable[Mapping[str, Any]]) -> tuple[dict[str, float], str | None]:
    """Peak TFLOP/s by precision of the GPU with this name, and which profile says so; `({}, None)` if none does.

    `profiles` are mappings with `name`, `gpu_model` and perhaps `peak_tflops`. A profile speaks of a GPU if their
    names share the word for the chip (A40, H100, T4) and they are of the same board: an H100 PCIe is slower.
    """
    words = {SAME_CHIP.get(chip, chip) for chip in _chips(gpu)}
    for profile in profiles:
        model = profile["gpu_model"]
        if profile.get("peak_tflops") and words & _chips(model) and _boards(gpu) == _boards(model):
            return dict(profile["peak_tflops"]), profile["name"]
    return {}, None


def said_peaks(text: str) -> dict[str, float]:
    """`bf16=989,fp32=67` as a mapping; raises `ValueError` for anything else."""
    parts = (part.split("=") for part in text.split(","))
    return {name.strip(): float(value) for name, value in parts}


def steps_for(seconds: float, step_s: float, workers: int) -> int:
    """Steps of a block that lasts about so long, at least 4.

    A loader whose workers cannot keep up delivers in waves of one batch per worker: where there is time for it, a
    block holds whole waves, so that none is cut.
    """
    steps = max(4, round(seconds / step_s))
    return steps - steps % workers if workers and steps >= workers else steps


def rates(blocks: Iterable[Block], batch: int) -> list[float]:
    """Images/s of each block."""
    return [1000 * batch * len(block.step_ms) / sum(block.step_ms) for block in blocks]


def row(
    variant: Variant,
    blocks: Sequence[Block],
    *,
    batch: int,
    paper: Sequence[float] | None,
    model: ModelSpec,
    classes: int,
    peak: float | None,
    matmul: float | None,
) -> dict[str, Any]:
    """Results of a variant; `paper` are the rates of the plain loop in the same rounds, None without it."""
    our_rates = rates(blocks, batch)

    def used(peak_tflops: float | None) -> dict[str, float] | None:
        share = {
            key: mfu(model, classes, images_per_s=rate, gpus=1, peak_tflops=peak_tflops) for key, rate in limits.items()
        }
        return {key: round(value, 4) for key, value in share.items() if value is not None} or None

    limits = spread(our_rates, 1)
    phases = [block.phases_ms for block in blocks if block.phases_ms is not None]
    return {
        "status": "measured",
        "precision": variant.precision.value,
        "compile": variant.compile,
        "pipeline": variant.pipeline.value,
        "batch": batch,
        "rounds": len(blocks),
        "steps": len(blocks[0].step_ms),
        "images_per_s": limits,
        "step_ms": spread([median(block.step_ms) for block in blocks], 3),
        "mfu": used(peak),
        "of_matmul": used(matmul),
        "times_paper": None if paper is None else spread([a / b for a, b in zip(our_rates, paper, strict=True)], 3),
        "phases_ms": {name: _median([p[name] for p in phases]) for name in phases[0]} if phases else None,
        "peak_memory_mib": max((b.peak_memory_mib for b in blocks if b.peak_memory_mib is not None), default=None),
    }


def _median(times: Sequence[float | None]) -> float | None:
    """None where a phase is not taken apart."""
    measured = [ms for ms in times if ms is not None]
    return round(median(measured), 3) if measured else None


def goals(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The two goals beside the best that was measured for each, over the bf16 variants; None where it was not."""
    measured = [r for r in rows.values() if r["status"] == "measured" and r["precision"] == "bf16"]
    shares = [r["mfu"]["median"] for r in measured if r["mfu"]]
    times = [r["times_paper"]["median"] for r in measured if r["times_paper"]]
    return {
        "mfu": {"goal": GOAL_MFU, "best": max(shares, default=None)},
        "times_paper": {"goal": GOAL_TIMES_PAPER, "best": max(times, default=None)},
    }


def _chips(name: str) -> set[str]:
    """The words of a GPU's name that name its chip: with a digit, but no memory and no socket."""
    return {
        token
        for token in _words(name)
        if any(c.isdigit() for c in token) and not token.startswith(("HBM", "SXM")) and not token.upper().endswith("GB")
    }


def _boards(name: str) -> set[str]:
    """What else decides the peak: the same chip on a slower board, or a part of one."""
    return {"PCIe", "NVL", "MIG"} & set(_words(name))


def _words(name: str) -> list[str]:
    return name.replace("-", " ").split()
