"""What a study runs next: chosen by content, numbered, rendered, written. An edge, called under the study's lock."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from launchers.backend import Rendered
from launchers.errors import UserError
from launchers.process.environment import clean_environment
from launchers.profile import PartitionProfile
from launchers.references import references
from launchers.text import some
from vit_sweep.outcome.result import Result
from vit_sweep.outcome.selection import Rerun, Retry, Selection, select
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.plan import PlannedCell, share
from vit_sweep.plan.waiting.forecast_file import Choice
from vit_sweep.plan.waiting.packing import Pack
from vit_sweep.study import trust
from vit_sweep.study.code.snapshot import Snapshot
from vit_sweep.study.journal import next_attempts
from vit_sweep.study.reading import smallest_first
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study
from vit_sweep.submit.batches import Todo, batches_of, rendered_of
from vit_sweep.submit.packing import chosen_packing


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
    """Of `pack=auto`."""


def write(
    study: Study, todo: Mapping[str, Todo], code: Snapshot, *, pack: Pack = "off", max_gpus: int | None = None
) -> Written:
    """Render the batches of `todo` and write their files; what is written is what will be submitted.

    Raises `UserError` for a profile that this user has not let run here, or whose variables this user does not have,
    and above `max_gpus` at once.
    """
    profiles = trust.each_once(item.planned.profile for item in todo.values())
    trust.require(study.folder, trust.programs(profiles, (item.planned.cell for item in todo.values())))
    _require_variables(profiles)
    sending = chosen_packing(todo, pack, partial(batches_of, study, todo, code), max_gpus)
    rendered = rendered_of(batches_of(study, todo, code, sending.packing), max_gpus)
    for item in rendered:
        study.write_rendered(item)
    return Written(rendered, sending.remarks, sending.choice)


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
