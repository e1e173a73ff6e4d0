"""Scaling curves that nobody measured, from a profile and a model's arithmetic; marked as SIMULATED. An edge."""

import logging
import os
import re
from collections.abc import Callable, Sequence
from os import PathLike, fsdecode
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.checked import checked
from launchers.errors import UserError
from vit_sweep.analysis.laws.simulate import IMBALANCE, MOST_GPUS, counts_to
from vit_sweep.analysis.laws.simulate import simulate as simulate_curve
from vit_sweep.analysis.laws.simulated import Simulation
from vit_sweep.analysis.series.series import Estimate
from vit_sweep.api.results import as_html
from vit_sweep.config.models import with_counts
from vit_sweep.config.quick import configuration
from vit_sweep.config.settings import read
from vit_sweep.config.shorthand import expanded, with_default_partition
from vit_sweep.plan.point import Point
from vit_sweep.record.stats import throughputs
from vit_sweep.report.tables.simulation import simulated_table
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.store import open_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Sheet
    from pandas import DataFrame

    from vit_sweep.report.figures import Figure, Overlay

Say = Callable[[str], None]


@checked
class Simulated:
    """A simulated curve. Not a measurement and not a fit."""

    name: str
    """Of its figure's files."""
    curve: Simulation
    """Its `points` as objects, its `inputs` with what each rests on, its `notes`."""

    def __repr__(self) -> str:
        """That it is simulated, of what, and its GPU counts."""
        counts = ",".join(str(point.gpus) for point in self.curve.points)
        return f"<SIMULATED {self.curve.scaling.value} curve of {self.curve.label}: gpus={counts}>"

    @property
    def table(self) -> "DataFrame":
        """One row per GPU count: parts of a step (ms), `epoch_s`, `images_per_s`, speedup, efficiency, each with the
        band from nothing hidden behind computation to all. Raises `UserError` without the extra `report`."""
        require_extra("report")
        from vit_sweep.report.frames import frame

        return frame(simulated_table(self.curve))

    def figure(self) -> "Sheet":
        """Time of an epoch, speedup and efficiency against GPUs, as matplotlib's own figure; nothing is written."""
        require_extra("report")
        sheet: Sheet = self.drawn(None).sheet
        return sheet

    def drawn(self, folder: Path | None) -> "Figure":
        """The same in files of `folder`. Needs the extra `report`."""
        from vit_sweep.report.figures import draw_simulated

        if not self.curve.points:
            raise UserError(f"{self.name}: nothing to draw – {'; '.join(self.curve.impossible)}")
        inputs = self.curve.inputs
        basis = "; ".join(f"{assumption.name}: {assumption.value} ({assumption.source})" for assumption in inputs)
        return draw_simulated(overlays(self.curve), folder, name=self.name, basis=basis)

    def _repr_html_(self) -> str:
        table = simulated_table(self.curve)
        return as_html(table.title, table.notes, [table])


def simulate(
    *,
    study: str | PathLike[str] | None = None,
    max_gpus: int = MOST_GPUS,
    imbalance: float = IMBALANCE,
    overlap: float | None = None,
    **words: object,
) -> Simulated:
    """Simulate one curve: `simulate(partition="h100_nvlink_ib", model="vit_b_16", data="cifar100", gpus=[1, 8, 64])`.

    `words`: the keys of a sweep, of which `gpus` alone takes a list; without it doublings up to `max_gpus`. `study`:
    its finished runs say how fast an image is. `imbalance`: spread of the ranks' computation, a part of 1. `overlap`:
    part of what can hide behind computation that does, 0 to 1; None: as the engine does. Raises `UserError` for a wrong
    word.
    """
    from vit_sweep.config.python_words import words_of  # with Hydra, which the words of a command mostly need not

    point, counts = read_words(words_of(words), logging.getLogger("vit_sweep").info)
    opened = fsdecode(study) if study is not None else None
    return simulated(point, counts, study=opened, most=max_gpus, imbalance=imbalance, overlap=overlap)


def simulated(
    point: Point, counts: Sequence[int], *, study: str | None, most: int, imbalance: float, overlap: float | None
) -> Simulated:
    """The same of a point that was read."""
    finished = throughputs(open_study(study).records()) if study is not None else ()
    curve = simulate_curve(point, counts or counts_to(most), finished=finished, imbalance=imbalance, overlap=overlap)
    name = f"simulated-{point.model.name}-{point.data.name}-{point.partition.name}-{curve.scaling.value}"
    return Simulated(name=name, curve=curve)


def read_words(words: Sequence[str], say: Say) -> tuple[Point, tuple[int, ...]]:
    """One point of a sweep's words, and its GPU counts; `say` tells what takes long. Raises `UserError` for a wrong
    word."""
    counts: tuple[int, ...] = ()
    overrides = []
    for override in with_default_partition(expanded(words), os.environ):
        if override.startswith("gpus="):
            counts = _counts(override)
        elif re.match(r"nodes=(?!null$)", override):
            raise UserError(f"{override}: a curve has many node counts; use placement=packed or placement=spread")
        elif re.fullmatch(r"[+~]*[\w./@]+=[^\[{'\"]*,.*", override):
            raise UserError(f"{override}: one curve is simulated at a time; give one value (gpus alone takes several)")
        else:
            overrides.append(override)
    points, _ = read([configuration(overrides, os.environ)])
    (point,) = with_counts(points, say)
    return point, counts


def _counts(override: str) -> tuple[int, ...]:
    counts = override.removeprefix("gpus=").split(",")
    if not all(re.fullmatch(r"[1-9]\d{0,6}", count) for count in counts):
        raise UserError(f"{override}: GPU counts are whole numbers from 1 to 9,999,999; write for example gpus=1,2,4,8")
    return tuple(map(int, counts))


def overlays(simulation: Simulation) -> "list[Overlay]":
    """The lines of a simulation, as figures draw them. Needs the report extra."""
    from vit_sweep.report.figures import Kind, Overlay, Quantity

    bands = {
        Quantity.TIME: [Estimate(value=p.epoch_s, low=p.fast_s, high=p.slow_s) for p in simulation.points],
        Quantity.SPEEDUP: [point.speedup for point in simulation.points],
        Quantity.EFFICIENCY: [point.efficiency for point in simulation.points],
    }
    return [
        Overlay(
            kind=Kind.SIMULATED,
            label=simulation.label,
            scaling=simulation.scaling,
            quantity=quantity,
            gpus=tuple(float(point.gpus) for point in simulation.points),
            values=tuple(estimate.value for estimate in band),
            low=tuple(estimate.low for estimate in band if estimate.low is not None),
            high=tuple(estimate.high for estimate in band if estimate.high is not None),
        )
        for quantity, band in bands.items()
    ]
