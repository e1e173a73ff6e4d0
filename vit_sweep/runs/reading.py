"""Reading a study's records into runs, one record at a time, on two cores where there are many. An edge.

Runs of many cells are kept for the next time (`cache.py`): then only what has changed is read.
"""

import gc
import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

from launchers.checked import to_json
from launchers.profile import PartitionProfile
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.plan_file import PlanFile
from vit_sweep.record.learning import Reached
from vit_sweep.record.summary import Summary
from vit_sweep.runs.cache import Read, RunCache
from vit_sweep.runs.of_study import run_of, submissions, summarised
from vit_sweep.runs.run import Run
from vit_sweep.study.cache.summaries import SUMMARY, summary_beside
from vit_sweep.study.cache.unchanged import YOUNG_NS, clock_ns, key_of
from vit_sweep.study.code.snapshot import running_digest
from vit_sweep.study.journal import latest_attempts
from vit_sweep.study.status import finished, settled_results
from vit_sweep.study.store import Study

_CHUNK = 250
_SHARE_FROM = 2000
"""Cells from which on starting helpers pays."""
_HELPERS = 2
_FIRST = "1"
"""The attempt of which no other file says anything."""
KEEP_FROM = 200
"""Cells from which on their runs are kept for the next time."""

Target = tuple[float, Reached]
"""A target accuracy, and when it was reached."""
RowMaker = Callable[[Run, Result, Target | None, Summary | None], dict[str, Any]]


class Reader:
    """Turns results of one study into runs, and into rows where a row-maker is given."""

    def __init__(
        self, study: Study, plan: PlanFile | None, *, target: float | None = None, row_of: RowMaker | None = None
    ) -> None:
        """Read what all records share: the journal and the plan. `target` replaces the study's own."""
        self.study = study
        self._target, self._row_of = target, row_of
        self._profiles: dict[str, PartitionProfile] = {}
        if plan is not None:
            known = (cell for cell in plan.cells if cell.profile_index < len(plan.profiles))
            self._profiles = {cell.cell_id: plan.profiles[cell.profile_index] for cell in known}
        journal = study.jobs()
        self._sent, self._submitted = latest_attempts(journal), submissions(journal)
        names = study.cell_names()
        self._cache = RunCache(study.folder, f"{target}") if len(names) >= KEEP_FROM else None
        self._began_ns = clock_ns(study.folder) if self._cache is not None else None
        self._keys = self._keys_of(names) if self._cache is not None else {}
        known_keys = self._cache.keys if self._cache is not None else {}
        self._cached = {name: key for name, (key, _) in self._keys.items() if known_keys.get(name) == key}
        self._names = [name for name in names if name not in self._cached and self._is_cell(name)]
        self._layouts: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._without_summary: list[str] = []
        """Cells whose records are read."""
        self._final_keys = self._cached
        """Cells whose runs are kept, with their keys."""

    def __len__(self) -> int:
        """How many cells there are."""
        return len(self._cached) + len(self._names)

    def _is_cell(self, name: str) -> bool:
        return name in self._keys or os.path.exists(f"{self.study.folder}/cells/{name}/cell.json")  # noqa: PTH110

    def _keys_of(self, names: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Of each cell with a record the key of its run, and when its files last changed."""
        keys: dict[str, tuple[str, int]] = {}
        profiles = {id(profile): profile for profile in self._profiles.values()}
        words = {known: _profile_digest(profile) for known, profile in profiles.items()}
        for name in names:
            sent, profile = self._sent.get(name), self._profiles.get(name)
            also = f"{sent.attempt if sent else 0} {self._submitted.get((name, 1), '')} {words.get(id(profile), '')}"
            with suppress(OSError):
                keys[name] = key_of(f"{self.study.folder}/cells/{name}", also)
        return keys

    def read(self) -> Iterator[Read]:
        """Every cell once: those that were kept, those with a record, then the others."""
        reads: dict[str, Read] = {}
        for read in self._cache.read(self._cached) if self._cache is not None else ():
            reads[read.run.run_id] = read
            yield read
        lost = self._cached.keys() - reads.keys()
        if lost:
            self._cached = {name: key for name, key in self._cached.items() if name not in lost}
            self._names += sorted(lost)
        keep = dict(self._cached)
        for read, final in chain(self._summarised(), self._worked_out()):
            key, changed_ns = self._keys.get(read.run.run_id, ("", 0))
            if final and key and self._began_ns is not None and changed_ns + YOUNG_NS < self._began_ns:
                reads[read.run.run_id], keep[read.run.run_id] = read, key
            yield read
        if self._cache is not None and self._row_of is not None and self._began_ns is not None:
            self._cache.write(reads, keep)
            self._final_keys = keep

    @property
    def stamp(self) -> str | None:
        """What is the same for as long as the runs are; None unless each of them is kept, and nothing was wrong.

        After `read` it holds for what was read then.
        """
        if self._cache is None or len(self._final_keys) < len(self) or self.study.problems or not self._final_keys:
            return None
        words = sorted(f"{name} {key}" for name, key in self._final_keys.items())
        return hashlib.sha256("\n".join([self._cache.stamp, *words]).encode()).hexdigest()

    def _summarised(self) -> Iterator[tuple[Read, bool]]:
        """The cells that were not kept and whose jobs left a summary that holds."""
        code = running_digest() if self._cache is not None and self._names else ""
        place = f"{self.study.folder}/cells"
        with_summary = [name for name in self._names if code and os.path.exists(f"{place}/{name}/{SUMMARY}")]  # noqa: PTH110
        done: set[str] = set()
        for file in self._cell_files(with_summary):
            sent = self._sent.get(file.cell_id)
            if sent is None or sent.attempt == 1:
                summary = summary_beside(f"{place}/{file.cell_id}", file, code=code)
                if summary is not None and summary.attempt == _FIRST and self._answers_target(summary, file):
                    done.add(file.cell_id)
                    result = Result(file=file, record=None, status=Status.DONE, attempt=summary.attempt)
                    yield self._cell(result, summary), True
        self._without_summary = [name for name in self._names if name not in done]

    def _cell_files(self, names: Sequence[str]) -> Iterator[CellFile]:
        """What was planned of these cells, of which only a few are held at once."""
        for start in range(0, len(names), _CHUNK):
            yield from self.study.cell_files(names[start : start + _CHUNK])

    def _answers_target(self, summary: Summary, file: CellFile) -> bool:
        """Whether it says when the target accuracy was reached."""
        target = self._target_of(file)
        return target is None or (summary.reached is not None and summary.reached[0] == target)

    def _target_of(self, file: CellFile) -> float | None:
        return self._target if self._target is not None else file.options.target_accuracy

    def _worked_out(self) -> Iterator[tuple[Read, bool]]:
        """All others, each with whether its run is final."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        shared = len(self._without_summary) >= _SHARE_FROM and cores >= _HELPERS
        unfinished: list[CellFile] = []
        for done, open_cells, problems in self._by_helpers() if shared else map(self.chunk, self._starts()):
            yield from done
            unfinished += open_cells
            self.study.problems += [text for text in problems if text not in self.study.problems]
        if unfinished:
            yield from ((self._cell(result), False) for result in settled_results(self.study, unfinished))

    def chunk(self, start: int) -> tuple[list[tuple[Read, bool]], list[CellFile], list[str]]:
        """Some cells: the finished ones read, those that are not, and the problems met."""
        files = self.study.cell_files(self._without_summary[start : start + _CHUNK])
        read = [(self._cell(result), _is_final(result)) for result in finished(self.study, files, self._sent)]
        done = {cell.run.run_id for cell, _ in read}
        return read, [file for file in files if file.cell_id not in done], self.study.problems

    def _starts(self) -> range:
        return range(0, len(self._without_summary), _CHUNK)

    def _by_helpers(self) -> Iterator[tuple[list[tuple[Read, bool]], list[CellFile], list[str]]]:
        # Forked, so that helpers have files and journal already and import nothing.
        with ProcessPoolExecutor(_HELPERS, multiprocessing.get_context("fork"), _set_reader, (self,)) as helpers:
            done = 0
            try:
                for part in helpers.map(_chunk, self._starts()):
                    done += 1
                    yield part
            except BrokenProcessPool:
                # Somebody ended a helper, a memory limit perhaps: what is left is read here.
                yield from map(self.chunk, self._starts()[done:])

    def _cell(self, result: Result, summary: Summary | None = None) -> Read:
        name, target = result.file.cell_id, self._target_of(result.file)
        summary = summary or summarised(result, target)
        profile = self._profiles.get(name)
        peak = profile.peak_tflops.get(result.file.cell.precision.products.value) if profile is not None else None
        run = run_of(
            result,
            peaks={} if peak is None else {name: peak},
            submitted=self._submitted,
            profile=profile,
            summary=summary,
        )
        reached = summary.reached if summary is not None and target is not None else None
        if summary is None and target is not None and result.cause == Cause.DIVERGED:
            # It counts among the seeds that never got there: left out, the others would look better than they are.
            reached = (target, Reached(seconds=None, epoch=None, reason="diverged", diverged=True))
        row = self._row_of(run, result, reached, summary) if self._row_of is not None else {}
        columns = tuple(row)
        return Read(run, self._layouts.setdefault(columns, columns), tuple(row.values()), reached)


def in_order(reads: Iterable[Read]) -> list[Read]:
    """Smallest first, as `Study.cell_files` has the cells."""
    runs = ((read.run, read) for read in reads)
    keyed = [((run.gpus, run.nodes or 0, run.micro_batch or 0, run.accum or 0, run.run_id), read) for run, read in runs]
    return [read for _, read in sorted(keyed, key=lambda pair: pair[0])]


def _is_final(result: Result) -> bool:
    """Whether the run is made of the cell's two files, journal and plan alone: no earlier attempt is in it."""
    return result.record is not None and result.record.attempt == _FIRST and not result.history


def _profile_digest(profile: PartitionProfile) -> str:
    return hashlib.sha256(to_json(profile).encode()).hexdigest()


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause Python's cycle collector: it walks all runs again and again, and there are no cycles among them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_helper_reader: list[Reader] = []
"""In a helper: whose cells it reads."""


def _set_reader(reader: Reader) -> None:
    _helper_reader[:] = [reader]


def _chunk(start: int) -> tuple[list[tuple[Read, bool]], list[CellFile], list[str]]:
    return _helper_reader[0].chunk(start)
