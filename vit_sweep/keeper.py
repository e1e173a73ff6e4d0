"""Who watches a study also tends it: feeds what had no room yet, and retries what is to be retried. An edge."""

import time
from collections.abc import Sequence

from launchers.errors import UserError
from vit_sweep.batches import Todo, render
from vit_sweep.journal import latest, next_attempts
from vit_sweep.scaling import Result
from vit_sweep.snapshot import take
from vit_sweep.status import ACTIVE
from vit_sweep.store import BusyError, Study
from vit_sweep.submission import Say, Submitter, resolve

_LOOKUP_PERIOD_S = 30.0
"""How often submissions in doubt are looked up while somebody watches."""


class Keeper:
    """One of them acts at a time: whoever gets the study's lock; the others only look."""

    def __init__(self, study: Study, *, say: Say, waiting: Submitter | None = None) -> None:
        """Tend `study`; `waiting` holds what could not be submitted yet."""
        self._study, self._say = study, say
        self._waiting: list[Submitter] = [waiting] if waiting is not None and waiting.waiting else []
        self._next_lookup = 0.0
        self.given_up: dict[str, str] = {}
        """Cells that cannot be retried, with the scheduler's reason: no other node is left, say."""

    @property
    def waiting(self) -> frozenset[str]:
        """Cells that are still to be submitted by this process."""
        return frozenset(cell for submitter in self._waiting for cell in submitter.waiting)

    def tend(self, results: Sequence[Result]) -> None:
        """Do what is to be done after a look. Raises `UserError` where the scheduler refuses."""
        again = [r for r in results if r.status == "retry" and r.file.cell_id not in self.given_up]
        doubts = any(result.status == "unknown" for result in results) and time.monotonic() > self._next_lookup
        if not again and not self._waiting and not doubts:
            return
        try:
            with self._study.changing():
                if doubts:
                    resolve(self._study)
                    self._next_lookup = time.monotonic() + _LOOKUP_PERIOD_S
                self._retry(again)
                alive = any(result.status in ACTIVE - {"retry"} for result in results)
                for submitter in self._waiting:
                    submitter.submit(alone=not alive)
                self._waiting = [submitter for submitter in self._waiting if submitter.waiting]
        except BusyError:
            return

    def _retry(self, results: Sequence[Result]) -> None:
        if not results:
            return
        entries = self._study.jobs()
        sent, free, planned = latest(entries), next_attempts(entries), self._study.planned()
        todo = {}
        for result in results:
            cell_id = result.file.cell_id
            before = sent.get(cell_id)
            if before is None or before.cancelled or cell_id not in planned:
                continue
            # Somebody else may have been faster between our look and our lock.
            if str(before.attempt) != result.attempt.split(".")[0]:
                continue
            todo[cell_id] = Todo(
                planned=planned[cell_id], attempt=free[cell_id], since=before.since, exclude=result.exclude
            )
            self._say(f"{cell_id} runs again: {result.detail}")
        if not todo:
            return
        try:
            rendered = render(self._study, todo, take(self._study.folder))
            for item in rendered:
                self._study.write_rendered(item)
            submitter = Submitter(self._study, rendered, say=self._say, asked=False)
            submitter.submit(alone=False)
        except UserError as error:
            # The other cells are still to be watched.
            self.given_up |= dict.fromkeys(todo, str(error))
            return
        self._waiting.append(submitter)
