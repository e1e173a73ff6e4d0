"""All trackers of a run, and what becomes of their errors: a note in the record, never a failure of the run."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from vit_sweep.job.rank_log import say
from vit_sweep.job.train.trackers.tracker import TrackedRun, Tracker
from vit_sweep.outcome.failure import one_line
from vit_sweep.plan.cell import Logger


class Trackers:
    """Every library that was asked for; the first error of one is its last call."""

    def __init__(self, loggers: Sequence[Logger], run: TrackedRun) -> None:
        """Nothing is imported or written yet. Ranks other than 0 give no `loggers`."""
        self._wanted = tuple(dict.fromkeys(loggers))
        self._run = run
        self._trackers: dict[Logger, Tracker] = {}
        self.notes: tuple[str, ...] = ()
        """Which library stopped where, and why."""

    def start(self, past: Mapping[int, Mapping[str, float]]) -> None:
        """Import and start each one and tell it the epochs that earlier attempts finished, so it has them all, once."""
        for logger in self._wanted:
            self._guard(logger, "nothing was logged", lambda name=logger: self._begin(name))  # type: ignore[misc]
        for number, figures in past.items():
            self.epoch(number, figures)

    def epoch(self, number: int, figures: Mapping[str, float]) -> None:
        """Tell an epoch; between epochs only."""
        self._each(f"nothing was logged from epoch {number} on", lambda tracker: tracker.epoch(number, figures))

    def finish(self, epochs: int, figures: Mapping[str, float]) -> None:
        """Tell the whole run's figures and end."""
        self._each("the end of the run was not logged", lambda tracker: tracker.finish(epochs, figures))
        self._trackers.clear()

    def abandon(self) -> None:
        """End early those that `finish` has not ended."""
        self._each("its end was not logged", lambda tracker: tracker.abandon())
        self._trackers.clear()

    def _begin(self, logger: Logger) -> None:
        self._trackers[logger] = import_module(f"vit_sweep.job.train.trackers.{logger.value}").start(self._run)

    def _each(self, lost: str, call: Callable[[Tracker], None]) -> None:
        for logger, tracker in list(self._trackers.items()):
            self._guard(logger, lost, lambda target=tracker: call(target))  # type: ignore[misc]

    def _guard(self, logger: Logger, lost: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # each library has its own, and none of them is worth a training
            note = f"{logger.value}: {lost}: {one_line(error)}"
            self.notes += (note,)
            self._trackers.pop(logger, None)
            say(note)
