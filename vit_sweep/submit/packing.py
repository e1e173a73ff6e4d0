"""How many cells of one shape run in one job: as asked, or as a look at the queue says. An edge: it asks Slurm."""

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from launchers.batch import Batch
from launchers.errors import UserError
from launchers.profile import Scheduler
from launchers.queue_snapshot import QueueSnapshot
from launchers.slurm.handle import users_clusters
from launchers.text import plural, some
from vit_sweep.plan.plan import PlannedCell
from vit_sweep.plan.waiting.forecast_file import Choice
from vit_sweep.plan.waiting.packing import NOTHING, Pack, Packing, most_that_fit, packed
from vit_sweep.submit.batches import Todo

BatchesOf = Callable[[Packing], list[Batch]]


class Sending(NamedTuple):
    """How cells are sent."""

    packing: Packing = NOTHING
    remarks: tuple[str, ...] = ()
    """What a person must know of it."""
    choice: Choice | None = None
    """Of `pack=auto`: what was expected of each way."""


def chosen_packing(todo: Mapping[str, Todo], pack: Pack, batches: BatchesOf, max_gpus: int | None) -> Sending:
    """Choose how the cells of `todo` are sent; `batches`: what becomes of them under a packing.

    Raises `UserError` where jobs of `pack` cells would be above `max_gpus` at once: nothing throttles them.
    """
    if pack == "off" or not todo:
        return Sending()
    cells = {cell_id: item.planned for cell_id, item in todo.items()}
    exclusions = {cell_id: item.exclude for cell_id, item in todo.items()}
    if pack == "auto":
        return _by_expected_wait(cells, exclusions, batches, max_gpus)
    packing = packed(cells, pack, exclusions=exclusions)
    least = _at_once(batches(packing))
    if max_gpus is not None and packing.jobs and least > max_gpus:
        raise UserError(
            f"max_gpus_in_flight={max_gpus} pack={pack}: packed jobs run side by side, and with one task of each array "
            f"they take {least} GPUs; use {least} or more, a larger pack, or pack=off, whose arrays are throttled"
        )
    return Sending(packing, packing.remarks)


def _by_expected_wait(
    cells: Mapping[str, PlannedCell], exclusions: Mapping[str, object], batches: BatchesOf, max_gpus: int | None
) -> Sending:
    from vit_sweep.plan.waiting.strategy import candidates, choose, expected

    largest = most_that_fit(cells.values())
    if largest < 2:
        remarks = packed(cells, 2, exclusions=exclusions, asked="auto").remarks
        return Sending(remarks=remarks) if remarks else _unpacked("no two cells have one shape and differ")
    of_slurm = {cell_id: cell for cell_id, cell in cells.items() if cell.profile.scheduler is Scheduler.SLURM}
    snapshot = _queue_snapshot(of_slurm)
    if isinstance(snapshot, str):
        return _unpacked(snapshot)
    seconds = {cell_id: cell.time.seconds for cell_id, cell in of_slurm.items() if cell.time is not None}
    strategies, packings = [], {}
    for count in candidates(largest):
        packing = packed(cells, count, exclusions=exclusions)
        slurm_batches = [batch for batch in batches(packing) if batch.profile.scheduler is Scheduler.SLURM]
        if max_gpus is not None and count > 1 and _at_once(slurm_batches) > max_gpus:
            continue
        strategy = expected(snapshot, count, slurm_batches, seconds)
        if isinstance(strategy, str):
            return _unpacked(strategy)
        strategies.append(strategy)
        packings[count] = packing
    choice = choose(strategies)
    packing = packings[choice.pack]
    verdict = f"packed by {choice.pack}" if choice.pack > 1 else "nothing is packed"
    return Sending(packing, (f"pack=auto: {choice.why}: {verdict}",), choice)


def _queue_snapshot(cells: Mapping[str, PlannedCell]) -> QueueSnapshot | str:
    """What the queue has that these cells would wait in; else why it says nothing."""
    from launchers.slurm.queue_snapshot import look
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


def _at_once(batches: list[Batch]) -> int:
    """GPUs that these batches hold at least while all of them run."""
    return sum(batch.held_gpus for batch in batches)


def _unpacked(*reasons: str) -> Sending:
    return Sending(remarks=(f"pack=auto packs nothing: {'; '.join(reasons)}",))
