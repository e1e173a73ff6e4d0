"""Looking at a study until its cells have ended, and tending it meanwhile. An edge that prints nothing."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from launchers.errors import UserError
from launchers.invocation import called
from launchers.profile import Scheduler
from launchers.queue.wakeup import Watches
from vit_sweep.outcome.result import Result, Status
from vit_sweep.study.polling import Poller
from vit_sweep.study.status import ENDING, Watcher
from vit_sweep.study.store import Study
from vit_sweep.submit import interrupt
from vit_sweep.submit.tending import Keeper

_LOCAL_PERIOD_S = 0.5
_LOCAL_LONGEST_S = 5.0
"""Between two looks while nothing changes; what a queue here says of a cell wakes at once."""
_SLURM_PERIOD_S = 2.0
_SLURM_LONGEST_S = 25.0
"""Between two looks at the files while nothing changes."""
_CELLS_A_SECOND = 20
"""That are looked at on a file system which many clients share, so that few are looked at sooner again."""
_NO_ROOM = "not submitted yet: it waits for room in the queue"


def follow(study: Study, keeper: Keeper, *, only: set[str] | None = None) -> Iterator[list[Result]]:
    """Yield, look by look, what became of the cells (of `only`, if given), until none is queued or running any more.

    `keeper` acts on each look. A look reads the study's files; the controller is asked only when it may know more than
    they do (`Poller`). Ctrl-C ends it as `KeyboardInterrupt`, between two looks; the jobs do not notice. Raises
    `UserError` once the study is gone.
    """
    poller = Poller(study)
    watcher = Watcher(study, poller=poller)
    slurm = any(entry.scheduler == Scheduler.SLURM for entry in study.jobs())
    longest_s = _SLURM_LONGEST_S if slurm else _LOCAL_LONGEST_S
    quiet, previous = 0, dict[str, str]()
    with closing(Watches()) as news:
        while True:
            results = _look(study, watcher, keeper, only)
            yield results
            left = sum(result.status.under_way for result in results)
            if not left and not keeper.postponed:
                break
            # Steps are followed here only: each look reads files that many clients may share there.
            now = {r.file.cell_id: f"{r.status} {r.detail} {'' if slurm else r.progress}" for r in results}
            # An end that is seen and not believed yet is looked at again soon.
            stirs = now != previous or any(result.detail == ENDING for result in results)
            quiet, previous = 0 if stirs else quiet + 1, now
            for batch in {entry.batch for entry in study.jobs() if entry.scheduler != Scheduler.SLURM}:
                news.folder(study.batch_dir(batch))  # again and again, since another client may add some
            period_s = min(_SLURM_PERIOD_S, max(_LOCAL_PERIOD_S, left / _CELLS_A_SECOND)) if slurm else _LOCAL_PERIOD_S
            pause_s = min(longest_s, period_s * 1.2**quiet)
            interrupt.pause(min(pause_s, max(_LOCAL_PERIOD_S, poller.due_in_s())), news.descriptors)
            news.forget()
    keeper.end_needless(results)


def _look(study: Study, watcher: Watcher, keeper: Keeper, only: set[str] | None) -> list[Result]:
    if not (study.folder / "study.json").is_file():
        raise UserError(
            f"{study.folder} is no study any more: it was deleted or moved while this command waited – its jobs "
            f"may go on; a moved study: {called()} status NEW_FOLDER; a deleted one on Slurm: "
            f"scancel --me --name=vit_sweep-{study.name}"
        )
    results = watcher.results()
    # What is handed over now was not yet the scheduler's when it was asked.
    waited, added = keeper.waiting, len(keeper.added)
    keeper.tend(results, only)
    if len(keeper.added) > added:
        results = watcher.results()
    waiting = waited | keeper.waiting
    results_shown = (r for r in results if r.file.cell_id in waiting or keeper.follows(r, only))
    return [_as_kept(r, keeper, waiting) for r in results_shown]


def _as_kept(result: Result, keeper: Keeper, waiting: frozenset[str]) -> Result:
    """What this client knows better than the study's files: what it has not submitted yet, or cannot."""
    cell = result.file.cell_id
    if cell in waiting:
        return replace(result, status=Status.QUEUED, detail=_NO_ROOM)
    if result.status == Status.RETRY and cell in keeper.given_up:
        return replace(result, status=Status.FAILED, detail=f"{result.detail}; but {keeper.given_up[cell]}")
    return result
