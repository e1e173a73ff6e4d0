"""How many cells of one shape run in one job: as asked, or as a look at the queue says. An edge: it asks Slurm."""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from launchers.batch import Batch, throttle
from launchers.errors import UserError
from launchers.profile import Scheduler
from launchers.queue_snapshot import OwnerLimit, QueueSnapshot
from launchers.slurm.handle import users_clusters
from launchers.text import plural, some
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.plan.waiting.forecast_file import Choice
from vit_sweep.plan.waiting.packing import NOTHING, Pack, Packing, most_that_fit, packed
from vit_sweep.submit.batches import Todo

if TYPE_CHECKING:
    # The simulation comes along, which only `pack=auto` needs.
    from vit_sweep.plan.waiting.expected import Starts

BatchesOf = Callable[[Packing], list[Batch]]


class Sending(NamedTuple):
    """How cells are sent."""

    batches: list[Batch]
    remarks: tuple[str, ...] = ()
    """What a person must know of it."""
    choice: Choice | None = None
    """Of `pack=auto`: what was expected of each way."""
    starts: Mapping[str, "Starts"] = MappingProxyType({})
    """By the batch's name: when it starts by the simulation that this choice rests on."""
    limits: tuple[OwnerLimit, ...] | None = None
    """Of this user's jobs, by the same look."""


def sending_of(
    todo: Mapping[str, Todo], pack: Pack, batches_of: BatchesOf, *, max_gpus: int | None = None, held: int = 0
) -> Sending:
    """Choose how the cells of `todo` are sent; `batches_of`: what becomes of them under a packing.

    `held`: GPUs of `max_gpus` that earlier jobs hold. Raises `UserError` where jobs of `pack` cells, or one task of
    each array, would be above `max_gpus` at once.
    """

    def throttled(packing: Packing) -> list[Batch]:
        batches = batches_of(packing)
        return batches if max_gpus is None else throttle(batches, max_gpus, held)

    if pack == "off" or not todo:
        return Sending(throttled(NOTHING))
    cells = {cell_id: item.planned for cell_id, item in todo.items()}
    exclusions = {cell_id: item.exclude for cell_id, item in todo.items()}
    if pack == "auto":
        return _by_expected_wait(cells, exclusions, throttled)
    packing = packed(cells, pack, exclusions=exclusions)
    least = sum(batch.held_gpus for batch in batches_of(packing)) if packing.jobs and max_gpus is not None else 0
    if max_gpus is not None and least > max_gpus:
        raise UserError(
            f"max_gpus_in_flight={max_gpus} pack={pack}: packed jobs run side by side, and with one task of each array "
            f"they take {least} GPUs; use {least} or more, a larger pack, or pack=off, whose arrays are throttled"
        )
    return Sending(throttled(packing), packing.remarks)


def _by_expected_wait(
    cells: Mapping[str, PlannedCell], exclusions: Mapping[str, object], throttled: BatchesOf
) -> Sending:
    from vit_sweep.plan.waiting.strategy import candidates, choose, expected
    from vit_sweep.plan.waiting.wording import not_counted

    unpacked = throttled(NOTHING)

    def unpacked_because(reason: str) -> Sending:
        return Sending(unpacked, (f"pack=auto packs nothing: {reason}",))

    largest = most_that_fit(cells.values())
    if largest < 2:
        remarks = packed(cells, 2, exclusions=exclusions, asked="auto").remarks
        return Sending(unpacked, remarks) if remarks else unpacked_because("no two cells have one shape and differ")
    of_slurm = {cell_id: cell for cell_id, cell in cells.items() if cell.profile.scheduler is Scheduler.SLURM}
    snapshot = _queue_snapshot(of_slurm)
    if isinstance(snapshot, str):
        return unpacked_because(snapshot)
    seconds = {cell_id: cell.time.seconds for cell_id, cell in of_slurm.items() if cell.time is not None}
    ways = {}
    for count in candidates(largest):
        try:
            batches = unpacked if count == 1 else throttled(packed(cells, count, exclusions=exclusions))
        except UserError:  # more GPUs at once than are allowed
            continue
        slurm_batches = [batch for batch in batches if batch.profile.scheduler is Scheduler.SLURM]
        outlook = expected(snapshot, count, slurm_batches, seconds)
        if isinstance(outlook, str):
            return unpacked_because(outlook)
        ways[count] = batches, outlook
    choice = choose([outlook.strategy for _, outlook in ways.values()])
    batches, outlook = ways[choice.pack]
    verdict = f"packed by {choice.pack}" if choice.pack > 1 else "nothing is packed"
    unknown = f" ({limits})" if (limits := not_counted(batches, snapshot.limits)) else ""
    return Sending(batches, (f"pack=auto: {choice.why}: {verdict}{unknown}",), choice, outlook.starts, snapshot.limits)


def _queue_snapshot(cells: Mapping[str, PlannedCell]) -> QueueSnapshot | str:
    """What the queue has that these cells would wait in; else why it says nothing."""
    from launchers.slurm.look.queue_snapshot import look
    from vit_sweep.plan.waiting.strategy import unmodelled_request

    unknown = [cell_id for cell_id, cell in cells.items() if cell.time is None]
    if unknown:
        return (
            f"nothing says how long {plural(len(unknown), 'cell')} would run ({some(unknown, 2)}): finished runs will, "
            "or the profile's peak_tflops"
        )
    clusters = {cell.profile.cluster for cell in cells.values()}
    if len(clusters) > 1:
        return f"cells go to {plural(len(clusters), 'cluster')}, and one queue is looked at"
    beyond = next(filter(None, (unmodelled_request(cell.profile) for cell in cells.values())), "")
    if beyond:
        return beyond
    snapshot = look(next(iter(clusters)) or users_clusters(os.environ))
    return snapshot if isinstance(snapshot, str) else snapshot.hidden or snapshot
