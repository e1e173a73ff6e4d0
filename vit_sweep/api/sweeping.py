"""A sweep from Python: planned and submitted as the command does it. An edge."""

import logging
import os
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

from vit_sweep.api.study import Study
from vit_sweep.config.python_words import grid, words_of
from vit_sweep.config.settings import Settings, read
from vit_sweep.config.shorthand import with_default_partition
from vit_sweep.outcome.result import is_idle
from vit_sweep.plan.point import Point
from vit_sweep.study.store import Study as Store
from vit_sweep.submit.submission import Submitter
from vit_sweep.submit.sweep import feed, planned, submitter_of
from vit_sweep.submit.tending import Keeper
from vit_sweep.submit.waiting.start_forecast import foretell
from vit_sweep.submit.watching import follow

_log = logging.getLogger("vit_sweep")


def sweep(*, config_dir: str | PathLike[str] | None = None, **words: object) -> Study:
    """Plan, submit and, unless `wait=False`, watch a grid: `sweep(gpus=[1, 2], batch=[16, 32], partition="local")`.

    `words`: the keys of a command; a list, a range or an array is swept, a key with dots is given as
    **{"optimizer.learning_rate": 0.001}. `config_dir`: a folder of one's own partitions and data sets. The same words
    again run only what is missing. `dry_run=True` writes plan and scripts and submits nothing. What the command would
    remark is logged, as `vit_sweep` at INFO. Raises `UserError` for a user's mistake, before anything is submitted; an
    interrupt ends the waiting, not the jobs.
    """
    own_config = Path(fspath(config_dir)) if config_dir is not None else None
    overrides = with_default_partition(words_of(words, own_config), os.environ, own_config)
    requested, settings = read(grid(overrides, config_dir=own_config))
    arguments = ["-m", *([f"--config-dir={own_config}"] if own_config is not None else []), *overrides]
    return of_points(requested, settings, arguments=arguments, overrides=overrides)


def of_points(
    requested: list[Point], settings: Settings, *, arguments: Sequence[str], overrides: Sequence[str]
) -> Study:
    """The same of points that are there already."""
    with planned(requested, settings, arguments=arguments, overrides=overrides, say=_log.info) as ready:
        study, chosen = ready.study, ready.chosen
        for remark in (*ready.remarks, *chosen.selection.skipped.values()):
            _log.info("%s", remark)
        written = ready.write()
        foretold = foretell(study, written, chosen.todo)
        start_lines = foretold.lines if foretold.seen or not settings.dry_run else ()
        for remark in (*written.remarks, *start_lines):
            _log.info("%s", remark)
        if settings.dry_run:
            return Study(study.folder)
        submitter = submitter_of(study, chosen, written, say=_log.info, forecasts=foretold.forecasts)
        submitter.submit(idle=is_idle(chosen.results))
    if settings.wait:
        watched(study, only=set(ready.plan.cells), submitter=submitter)
    else:
        feed(study, submitter)
    return Study(study.folder)


def watched(study: Store, *, only: set[str] | None = None, submitter: Submitter | None = None) -> None:
    """Stay until no cell (of `only`, if given) is queued or running, and tend the study meanwhile."""
    for _ in follow(study, Keeper(study, say=_log.info, waiting=submitter), only=only):
        pass
