"""What a study runs next: chosen by content, numbered, rendered, written. An edge, called under the study's lock."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from launchers.backend import Rendered
from launchers.errors import UserError
from launchers.process.environment import clean_environment
from launchers.profile import PartitionProfile
from launchers.queue_snapshot import OwnerLimit
from launchers.references import references
from launchers.text import plural, some
from vit_sweep.outcome.result import Result, is_idle
from vit_sweep.outcome.selection import Rerun, Retry, Selection, select
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.plan import PlannedCell, share
from vit_sweep.plan.plan_file import NO_LIMITS, JobLimits
from vit_sweep.plan.waiting.forecast_file import Choice
from vit_sweep.record.stats import spent_gpu_hours
from vit_sweep.study import trust
from vit_sweep.study.code.snapshot import Snapshot
from vit_sweep.study.journal import next_attempts
from vit_sweep.study.reading import smallest_first
from vit_sweep.study.spending import lost_gpu_hours
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study
from vit_sweep.submit.batches import Todo, batches_of, rendered_of
from vit_sweep.submit.waiting.in_flight import InFlight, in_flight, most_gpus
from vit_sweep.submit.waiting.packing import sending_of

if TYPE_CHECKING:
    # The simulation comes along, which only `pack=auto` needs.
    from vit_sweep.plan.waiting.expected import Starts


class NextCells(NamedTuple):
    """The cells that run next, and what that choice rests on."""

    results: list[Result]
    """What became of every cell of the study so far."""
    selection: Selection
    todo: dict[str, Todo]
    """By cell id, in the order of submission."""


def choose(
    study: Study,
    planned: Mapping[str, PlannedCell],
    code: Snapshot,
    *,
    retry: Retry | None,
    rerun: Rerun | None,
    arrange: Callable[[Iterable[PlannedCell]], Iterable[PlannedCell]] = iter,
    looked_at: Sequence[CellFile] = (),
    new: Sequence[CellFile] = (),
) -> NextCells:
    """Choose among `planned` what is missing and what was asked for again; `arrange` puts the choice into order.

    `looked_at`: cells that the study does not have, and is not to have; `new`: those that were written just now.
    """
    new_ids = {file.cell_id for file in new}
    earlier = study.cell_files(name for name in study.cell_names() if name not in new_ids)
    results = settled_results(study, [*sorted([*earlier, *new], key=smallest_first), *looked_at])
    candidates = (result for result in results if result.file.cell_id in planned)
    selection = select(candidates, code=code.digest, stops=study.stops(), retry=retry, rerun=rerun)
    run = set(selection.run)
    # In the plan's order: what its user named first. What is left of a curve may take a smaller job than all of it.
    selected = share({cell_id: cell for cell_id, cell in planned.items() if cell_id in run})
    free = next_attempts(study.jobs())
    todo = {}
    for cell in arrange(selected.values()):
        cell_id = cell.cell.cell_id
        is_known = cell_id in free or cell_id in new_ids
        leftover_attempts = [] if is_known else [attempt.number + 1 for attempt in study.attempts(cell_id)]
        number = max([free.get(cell_id, 1), *leftover_attempts])
        todo[cell_id] = Todo(planned=cell, attempt=number, since=number)
    return NextCells(results=results, selection=selection, todo=todo)


class Written(NamedTuple):
    """What will be submitted, and what a person must know of it."""

    rendered: list[Rendered]
    remarks: tuple[str, ...]
    choice: Choice | None
    """Of `pack=auto`, as what follows."""
    starts: Mapping[str, "Starts"] = MappingProxyType({})
    """By the batch's name: when it starts by the simulation that chose."""
    limits: tuple[OwnerLimit, ...] | None = None
    """Of this user's jobs, by the same look."""
    first: str = ""
    """Why other jobs of the study have to end before these begin; empty where these fit beside them."""


def write(
    study: Study,
    todo: Mapping[str, Todo],
    code: Snapshot,
    *,
    limits: JobLimits = NO_LIMITS,
    results: Sequence[Result] = (),
) -> Written:
    """Render the batches of `todo` and write their files; what is written is what will be submitted.

    `limits` hold beside what cells of `results` have in flight. Raises `UserError` for a profile that this user has not
    let run here, or whose variables this user does not have, above the budget, and where one job of each batch is above
    the GPUs that may be held at once.
    """
    idle = is_idle(results)
    flight = InFlight() if idle else in_flight(study, results, study.planned())
    if limits.budget_gpu_hours is not None:
        _require_budget(study, limits.budget_gpu_hours, todo, results, flight.gpu_hours)
    profiles = trust.each_once(item.planned.profile for item in todo.values())
    trust.require(study.folder, trust.programs(profiles, (item.planned.cell for item in todo.values())))
    _require_variables(profiles)
    sending = sending_of(
        todo,
        limits.pack,
        partial(batches_of, study, todo, code, jobs_before=flight.jobs),
        max_gpus=limits.max_gpus,
        held=flight.gpus,
    )
    rendered = rendered_of(sending.batches)
    for item in rendered:
        study.write_rendered(item)
    first, most = "", limits.max_gpus
    if not idle and most is not None and flight.gpus + most_gpus(sending.batches) > most:
        first = f"which hold {plural(flight.gpus, 'GPU')}: max_gpus_in_flight={most}"
    return Written(rendered, *sending[1:], first=first)


def _require_budget(
    study: Study, budget: float, todo: Mapping[str, Todo], results: Iterable[Result], under_way: float
) -> None:
    """Raise `UserError` before anything is submitted that would take the study above its budget.

    `under_way`: GPU-hours that its jobs will yet take.
    """
    spent = sum(map(spent_gpu_hours, study.records())) + lost_gpu_hours(study, results)
    needed = sum(item.planned.gpu_hours for item in todo.values())
    if todo and spent + under_way + needed > budget:
        enough = math.ceil(100 * (spent + under_way + needed)) / 100
        running = f", and jobs under way will spend {under_way:.2f}" if under_way else ""
        raise UserError(
            f"budget_gpu_hours={budget:g}: {plural(len(todo), 'cell needs|cells need')} about {needed:.2f} "
            f"GPU-hours and the study has spent {spent:.2f}{running}; nothing was submitted; use {enough:g} or more, "
            "or a smaller grid"
        )


def _require_variables(profiles: Iterable[PartitionProfile]) -> None:
    """Raise `UserError` where a profile takes a variable from whoever submits, who has none."""
    environment = clean_environment(os.environ)
    for profile in profiles:
        absent = sorted(references(profile.environment.values()) - environment.keys())
        if absent:
            raise UserError(
                f"partition {profile.name}: its jobs take {some(absent)} from the environment of whoever submits them, "
                f"and yours has none; export {absent[0]} and give the same command again"
            )
