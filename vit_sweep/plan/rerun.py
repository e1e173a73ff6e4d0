"""A cell that somebody ran, asked for once more: the point that gives the same cell on a partition of one's own, and
which of several such cells a sample takes. Pure.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from launchers.checked import Name, Quantity, checked, fields_for
from launchers.profile import Count, PartitionProfile
from vit_sweep.plan.cell import Cell, Series
from vit_sweep.plan.choices import BatchPer, Placement, Scaling
from vit_sweep.plan.point import Point

PLACE = ("nodes", "device", "gpu_model", "cpus_per_gpu")
"""Fields of a cell that its partition decides, beside the partition's name."""


def point_of(cell: Cell, series: Series, profile: PartitionProfile) -> Point:
    """The point that asks for this cell in one of its curves; `cell_of` of it is the cell, where `profile` is alike."""
    ranks_and_steps = 1 if series.batch_per is BatchPer.GPU else cell.data_ranks * cell.accum
    share = cell.train_images / cell.data.train_images
    weak = series.scaling is Scaling.WEAK
    by_placement = series.placement in list(Placement)
    curve_fields = {
        "nodes": None if by_placement else cell.nodes,
        "placement": Placement(series.placement) if by_placement else Placement.PACKED,
        "batch": cell.micro_batch * ranks_and_steps,
        "batch_per": series.batch_per,
        "scaling": series.scaling,
        # Which part of a part it was, no cell says; only the product is in it.
        "fraction": 1.0 if weak else share,
        "weak_fraction": share / cell.gpus if weak else 1.0,
        "partition": profile,
        "origin": None,
    }
    return Point(**fields_for(Point, cell) | curve_fields)


def changed_fields(published: Cell, rebuilt: Cell) -> tuple[str, ...]:
    """Fields in which a cell that was built again is another one, the partition's name apart."""
    if replace(rebuilt, partition=published.partition).cell_id == published.cell_id:
        return ()
    # `identity` may leave out what differs (`model.counts`); then it is no reason.
    fields = [name for name in Cell.__dataclass_fields__ if name not in ("partition", *PLACE)]
    same_place = replace(rebuilt, partition=published.partition, **{name: getattr(published, name) for name in PLACE})
    changed = [] if same_place.cell_id == published.cell_id else [n for n in fields if _differs(published, rebuilt, n)]
    return (*(name for name in PLACE if getattr(published, name) != getattr(rebuilt, name)), *changed)


def _differs(published: Cell, rebuilt: Cell, name: str) -> bool:
    return replace(published, **{name: getattr(rebuilt, name)}).cell_id != published.cell_id


@checked
class Offer:
    """A cell that could be run again."""

    cell_id: Name
    gpus: Count
    configuration: str
    """The same for cells that differ in their seed alone."""
    gpu_hours: Quantity


class Sample(NamedTuple):
    """Which cells are run again, in this order, and what was left out for its price."""

    chosen: tuple[Offer, ...]
    dear: tuple[Offer, ...]

    @property
    def gpu_hours(self) -> float:
        """Of all of them."""
        return sum(offer.gpu_hours for offer in self.chosen)


def sampled(offers: Iterable[Offer], *, count: int, seed: int, budget: float) -> Sample:
    """Take `count` cells within `budget` GPU-hours: one of the fewest GPUs, one of the most, then as `seed` draws.

    A configuration comes a second time only when all have come once. The draw is by the digest of seed and cell id: it
    is the same on every machine, and one that holds fewer cells leaves the order of the others as it is.
    """
    drawn = sorted(offers, key=lambda offer: hashlib.sha256(f"{seed} {offer.cell_id}".encode()).hexdigest())
    ordered = _in_order(drawn)
    chosen: list[Offer] = []
    dear: list[Offer] = []
    remaining = budget
    for offer in ordered:
        if len(chosen) == count:
            break
        if offer.gpu_hours > remaining:
            dear.append(offer)
            continue
        chosen.append(offer)
        remaining -= offer.gpu_hours
    return Sample(tuple(chosen), tuple(dear))


def _in_order(shuffled: Sequence[Offer]) -> list[Offer]:
    if not shuffled:
        return []
    repeats: dict[str, int] = {}
    repeat_of: dict[str, int] = {}
    for offer in shuffled:
        repeat_of[offer.cell_id] = repeats[offer.configuration] = repeats.get(offer.configuration, -1) + 1
    by_repeat = sorted(shuffled, key=lambda offer: repeat_of[offer.cell_id])
    ends = [min(by_repeat, key=lambda offer: offer.gpus), max(by_repeat, key=lambda offer: offer.gpus)]
    extremes = list(dict.fromkeys(ends))
    return [*extremes, *(offer for offer in by_repeat if offer not in extremes)]
