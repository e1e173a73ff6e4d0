"""Reading a study's records into runs, one record at a time, on two cores where there are many. An edge.

Runs of many cells are kept for the next time (`cache.py`): then only what has changed is read.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

from launchers.checked import to_compact_json, to_json
from launchers.profile import PartitionProfile
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.result import Result, Status
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.plan_file import PlanFile
from vit_sweep.record.attempt import FIRST
from vit_sweep.record.learning import Reached
from vit_sweep.record.summary import Summary
from vit_sweep.runs.cache import RunCache, Texts
from vit_sweep.runs.of_study import extra_columns, planned_run, run_of, submissions, summarised
from vit_sweep.runs.run import Run
from vit_sweep.study.cache.summaries import CellText, cell_in, summary_beside, summary_in, text_of
from vit_sweep.study.cache.unchanged import YOUNG_NS, clock_ns, key_of
from vit_sweep.study.code.snapshot import running_digest
from vit_sweep.study.journal import latest_attempts
from vit_sweep.study.status import finished, settled_results
from vit_sweep.study.store import Study

_CHUNK = 250
_SHARE_FROM = 2000
"""Cells from which on starting helpers pays."""
_HELPERS = 2
KEEP_FROM = 200
"""Cells from which on their runs are kept for the next time."""
_MOST_PLANNED = 1024
"""Configurations of which is held what their repeats have in common."""


class Read(NamedTuple):
    """What is left of one cell: its record is not."""

    run: Run
    columns: tuple[str, ...]
    """What the table of runs says beyond that (`of_study.extra_columns`), by name; shared by most cells."""
    values: tuple[Any, ...]
    """In their order: a dict for each of many cells would take several times the room."""
    reached: tuple[float, Reached] | None
    """A target accuracy, and when it was reached."""


def extra_columns_of(reads: Sequence[Read]) -> dict[str, Sequence[Any]]:
    """What the table of runs says beyond the runs, by column, in the order of `reads`; None where a cell has none."""
    layouts: dict[tuple[str, ...], list[int]] = {}
    for place, read in enumerate(reads):
        layouts.setdefault(read.columns, []).append(place)
    columns: dict[str, list[Any]] = {}
    for names, places in layouts.items():
        for name, values in zip(names, zip(*(reads[place].values for place in places), strict=True), strict=True):
            filled = columns.setdefault(name, [None] * len(reads))
            for place, value in zip(places, values, strict=True):
                filled[place] = value
    return dict(columns)


class Reader:
    """Turns results of one study into runs."""

    def __init__(self, study: Study, plan: PlanFile | None, *, target: float | None = None) -> None:
        """Read what all records share: the journal and the plan. `target` replaces the study's own."""
        self.study, self._target = study, target
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
        self._planned: dict[tuple[bytes, int], Run] = {}
        """What repeats have in common, by the text of their cells and their profile."""
        self._layouts: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._without_summary: list[str] = []
        """Cells whose records are read."""
        self._final_keys = self._cached
        """Cells whose runs are kept, with their keys."""

    def __len__(self) -> int:
        return len(self._cached) + len(self._names)

    def _is_cell(self, name: str) -> bool:
        return name in self._keys or os.path.exists(f"{self.study.folder}/cells/{name}/cell.json")  # noqa: PTH110

    def _keys_of(self, names: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Of each cell with a record the key of its run, and when its files last changed."""
        keys: dict[str, tuple[str, int]] = {}
        profiles = {id(profile): profile for profile in self._profiles.values()}
        words = {known: hashlib.sha256(to_json(profile).encode()).hexdigest() for known, profile in profiles.items()}
        for name in names:
            sent, profile = self._sent.get(name), self._profiles.get(name)
            also = f"{sent.attempt if sent else 0} {self._submitted.get((name, 1), '')} {words.get(id(profile), '')}"
            with suppress(OSError):
                keys[name] = key_of(f"{self.study.folder}/cells/{name}", also)
        return keys

    def read(self) -> Iterator[Read]:
        """Every cell once: those that were kept, those with a record, then the others."""
        decoded: set[str] = set()
        for read in self._cache.read(self._cached, self._of_texts) if self._cache is not None else ():
            decoded.add(read.run.run_id)
            yield read
        lost = self._cached.keys() - decoded
        if lost:
            self._cached = {name: key for name, key in self._cached.items() if name not in lost}
            self._names += sorted(lost)
        final_keys = dict(self._cached)
        for read, texts in chain(self._summarised(), self._worked_out()):
            name = read.run.run_id
            key, changed_ns = self._keys.get(name, ("", 0))
            old = bool(key) and self._began_ns is not None and changed_ns + YOUNG_NS < self._began_ns
            if self._cache is not None and texts is not None and old:
                self._cache.keep(name, key, texts)
                final_keys[name] = key
            yield read
        if self._cache is not None and self._began_ns is not None:
            self._cache.write()
            self._final_keys = final_keys

    @property
    def stamp(self) -> str | None:
        """What is the same for as long as the runs are; None unless each of them is kept, and nothing was wrong.

        After `read` it holds for what was read then.
        """
        if self._cache is None or len(self._final_keys) < len(self) or self.study.problems or not self._final_keys:
            return None
        words = sorted(f"{name} {key}" for name, key in self._final_keys.items())
        return hashlib.sha256("\n".join([self._cache.stamp, *words]).encode()).hexdigest()

    def _of_texts(self, texts: Texts) -> Read:
        """Of a cell that was kept."""
        return self._of_summary(cell_in(texts.cell), summary_in(texts.summary))

    def _of_summary(self, cell: CellText, summary: Summary) -> Read:
        """Of a cell whose first attempt ended well; what repeats have in common is worked out once."""
        profile = self._profiles.get(cell.file.cell_id)
        key = cell.alike, id(profile)
        if key not in self._planned:
            if len(self._planned) == _MOST_PLANNED:
                self._planned.clear()
            self._planned[key] = planned_run(cell.file, profile)
        result = Result(file=cell.file, record=None, status=Status.DONE, attempt=FIRST)
        return self._cell(result, summary, self._planned[key])

    def _summarised(self) -> Iterator[tuple[Read, Texts | None]]:
        """The cells that were not kept and whose jobs left a summary that holds, with what is kept of them."""
        code = running_digest() if self._cache is not None and self._names else ""
        place = f"{self.study.folder}/cells"
        done: set[str] = set()
        for name in self._names if code else ():
            sent = self._sent.get(name)
            if sent is None or sent.attempt == 1:
                stored = summary_beside(f"{place}/{name}", name, code=code)
                first = stored is not None and stored.summary.attempt == FIRST
                if stored is not None and first and self._answers_target(stored.summary, stored.cell.file):
                    done.add(name)
                    yield self._of_summary(stored.cell, stored.summary), Texts(*stored.texts)
        self._without_summary = [name for name in self._names if name not in done]

    def _answers_target(self, summary: Summary, file: CellFile) -> bool:
        """Whether it says when the target accuracy was reached."""
        target = self._target_of(file)
        return target is None or (summary.reached is not None and summary.reached[0] == target)

    def _target_of(self, file: CellFile) -> float | None:
        return self._target if self._target is not None else file.options.target_accuracy

    def _worked_out(self) -> Iterator[tuple[Read, Texts | None]]:
        """All others, each with what is kept of it, if its run will always be that."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        shared = len(self._without_summary) >= _SHARE_FROM and cores >= _HELPERS
        unfinished: list[CellFile] = []
        for done, open_cells, problems in self._by_helpers() if shared else map(self.chunk, self._starts()):
            yield from done
            unfinished += open_cells
            self.study.problems += [text for text in problems if text not in self.study.problems]
        if unfinished:
            yield from (self._of_result(result) for result in settled_results(self.study, unfinished))

    def chunk(self, start: int) -> "Chunk":
        """Some cells: the finished ones read, those that are not, and the problems met."""
        files = self.study.cell_files(self._without_summary[start : start + _CHUNK])
        read = [self._of_result(result) for result in finished(self.study, files, self._sent)]
        done = {cell.run.run_id for cell, _ in read}
        return read, [file for file in files if file.cell_id not in done], self.study.problems

    def _starts(self) -> range:
        return range(0, len(self._without_summary), _CHUNK)

    def _by_helpers(self) -> "Iterator[Chunk]":
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

    def _of_result(self, result: Result) -> tuple[Read, Texts | None]:
        """A cell, and what is kept of it where its run is made of its two files, journal and plan alone: no earlier
        attempt is in it."""
        summary = summarised(result, self._target_of(result.file))
        final = summary is not None and summary.attempt == FIRST and result.record is not None and not result.history
        texts = Texts(to_compact_json(result.file), text_of(summary)) if summary is not None and final else None
        return self._cell(result, summary), texts

    def _cell(self, result: Result, summary: Summary | None, planned: Run | None = None) -> Read:
        name, target = result.file.cell_id, self._target_of(result.file)
        profile = self._profiles.get(name)
        peak = profile.peak_tflops.get(result.file.cell.precision.products.value) if profile is not None else None
        run = run_of(
            result,
            peaks={} if peak is None else {name: peak},
            submitted=self._submitted,
            profile=profile,
            summary=summary,
            planned=planned,
        )
        reached = summary.reached if summary is not None and target is not None else None
        if summary is None and target is not None and result.cause == Cause.DIVERGED:
            # It counts among the seeds that never got there: left out, the others would look better than they are.
            reached = (target, Reached(seconds=None, epoch=None, reason="diverged", diverged=True))
        extra = extra_columns(result, summary)
        columns = tuple(extra)
        return Read(run, self._layouts.setdefault(columns, columns), tuple(extra.values()), reached)


Chunk = tuple[list[tuple[Read, Texts | None]], list[CellFile], list[str]]
"""Cells that were read, with what is kept of them; those that have not ended; problems."""


def in_order(reads: Iterable[Read]) -> list[Read]:
    """Smallest first, as `Study.cell_files` has the cells."""
    runs = ((read.run, read) for read in reads)
    keyed = [((run.gpus, run.nodes or 0, run.micro_batch or 0, run.accum or 0, run.run_id), read) for run, read in runs]
    return [read for _, read in sorted(keyed, key=lambda pair: pair[0])]


_helper_reader: list[Reader] = []
"""In a helper: whose cells it reads."""


def _set_reader(reader: Reader) -> None:
    _helper_reader[:] = [reader]


def _chunk(start: int) -> Chunk:
    return _helper_reader[0].chunk(start)
