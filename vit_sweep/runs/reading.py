"""Reading a study's records into runs, one record at a time, on two cores where there are many. An edge."""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple

from launchers.profile import PartitionProfile
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.result import Result
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.plan_file import PlanFile
from vit_sweep.record.learning import Reached, time_to_accuracy
from vit_sweep.runs.of_study import run_of, submissions
from vit_sweep.runs.run import Run
from vit_sweep.study.journal import latest_attempts
from vit_sweep.study.status import finished, settled_results
from vit_sweep.study.store import Study

_CHUNK = 250
_SHARE_FROM = 2000
"""Cells from which on starting helpers pays."""
_HELPERS = 2

Target = tuple[float, Reached]
"""A target accuracy, and when it was reached."""
RowMaker = Callable[[Run, Result, Target | None], dict[str, Any]]


class Read(NamedTuple):
    """What is kept of one cell: its record is not."""

    run: Run
    row: dict[str, Any]
    """What the row-maker made while the record was at hand; empty without one."""
    reached: Target | None


class Reader:
    """Turns results of one study into runs, and into rows where a row-maker is given."""

    def __init__(
        self, study: Study, plan: PlanFile | None, *, target: float | None = None, row_of: RowMaker | None = None
    ) -> None:
        """Read what all records share: the journal and the plan. `target` replaces the study's own."""
        self.study, self.files = study, study.cell_files()
        self._target, self._row_of = target, row_of
        self._profiles: dict[str, PartitionProfile] = {}
        if plan is not None:
            known = (cell for cell in plan.cells if cell.profile_index < len(plan.profiles))
            self._profiles = {cell.cell_id: plan.profiles[cell.profile_index] for cell in known}
        journal = study.jobs()
        self._sent, self._submitted = latest_attempts(journal), submissions(journal)

    def read(self) -> Iterator[Read]:
        """Every cell once: those with a record first, in the order of the files, then the others."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        shared = len(self.files) >= _SHARE_FROM and cores >= _HELPERS
        left: list[CellFile] = []
        for done, open_cells, problems in self._by_helpers() if shared else map(self.chunk, self._starts()):
            yield from done
            left += open_cells
            self.study.problems += [text for text in problems if text not in self.study.problems]
        if left:
            yield from map(self._cell, settled_results(self.study, left))

    def chunk(self, start: int) -> tuple[list[Read], list[CellFile], list[str]]:
        """Some cells: the finished ones read, those that are not, and the problems met."""
        files = self.files[start : start + _CHUNK]
        read = [self._cell(result) for result in finished(self.study, files, self._sent)]
        done = {cell.run.run_id for cell in read}
        return read, [file for file in files if file.cell_id not in done], self.study.problems

    def _starts(self) -> range:
        return range(0, len(self.files), _CHUNK)

    def _by_helpers(self) -> Iterator[tuple[list[Read], list[CellFile], list[str]]]:
        # Forked, so that helpers have files and journal already and import nothing.
        with ProcessPoolExecutor(_HELPERS, multiprocessing.get_context("fork"), _take, (self,)) as helpers:
            done = 0
            try:
                for part in helpers.map(_chunk, self._starts()):
                    done += 1
                    yield part
            except BrokenProcessPool:
                # Somebody ended a helper, a memory limit perhaps: what is left is read here.
                yield from map(self.chunk, self._starts()[done:])

    def _cell(self, result: Result) -> Read:
        name = result.file.cell_id
        profile = self._profiles.get(name)
        peak = profile.peak_tflops.get(result.file.cell.precision.products.value) if profile is not None else None
        run = run_of(
            result,
            peaks={} if peak is None else {name: peak},
            submitted=self._submitted,
            profile=profile,
        )
        wanted = self._target if self._target is not None else result.file.options.target_accuracy
        reached = None
        if wanted is not None and result.record is not None:
            reached = (wanted, time_to_accuracy(result.record, wanted))
        elif wanted is not None and result.cause == Cause.DIVERGED:
            # It counts among the seeds that never got there: left out, the others would look better than they are.
            reached = (wanted, Reached(seconds=None, epoch=None, reason="diverged", diverged=True))
        row = self._row_of(run, result, reached) if self._row_of is not None else {}
        return Read(run=run, row=row, reached=reached)


@contextmanager
def uncollected() -> Iterator[None]:
    """Let Python's cycle collector rest: it walks all that is kept again and again, and there are no cycles in it."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


_mine: list[Reader] = []
"""In a helper: whose cells it reads."""


def _take(reader: Reader) -> None:
    _mine[:] = [reader]


def _chunk(start: int) -> tuple[list[Read], list[CellFile], list[str]]:
    return _mine[0].chunk(start)
