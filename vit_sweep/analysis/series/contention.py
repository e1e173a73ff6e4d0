"""Runs of contended hosts: the one sentence of tables, fits, answers and comparisons. Pure."""

from collections.abc import Callable, Iterable

from launchers.text import plural, some
from vit_sweep.record.flags import CONTENDED_HOST
from vit_sweep.runs.run import Run

_ALIKE = ("model", "data", "partition", "gpu_model")


def workload_of(run: Run) -> str:
    """What times must share to be pooled or compared: workload and machine, in words."""
    conditions = dict(run.conditions)
    return ", ".join(filter(None, (conditions.get(name, "") for name in _ALIKE)))


def contention(runs: Iterable[Run], *, alike: Callable[[Run], str] = workload_of) -> tuple[str, ...]:
    """Name the runs that waited for a core, and how many did not, for each workload; empty if none waited.

    `runs`: all whose times are pooled or compared, any number of times. `alike`: what only those share.
    """
    groups: dict[str, dict[str, Run]] = {}
    timed = [run for run in runs if run.timed and not run.oversubscribed]
    for run in timed if any(is_contended(run) for run in timed) else ():
        groups.setdefault(alike(run), {})[run.run_id] = run
    notes = []
    for name in sorted(groups):
        contended = sorted(run.run_id for run in groups[name].values() if is_contended(run))
        quiet = len(groups[name]) - len(contended)
        if not contended:
            continue
        where = f" ({name})" if len(groups) > 1 else ""
        among = f"; pooled or compared with {plural(quiet, 'run')} without this flag" if quiet else " (every run here)"
        notes.append(
            f"{CONTENDED_HOST}{where}: {some(contended)} waited for cores that others had{among}: repeat "
            f"{'them' if len(contended) > 1 else 'it'} on a quiet host"
        )
    return tuple(notes)


def without_contended(runs: list[Run]) -> list[Run]:
    """Without the runs that waited for a core, unless all did."""
    return [run for run in runs if not is_contended(run)] or runs


def is_contention(note: str) -> bool:
    """Whether it is what `contention` says."""
    return note.startswith(CONTENDED_HOST)


def is_contended(run: Run) -> bool:
    """Whether its ranks waited for cores that others had."""
    return any(flag.startswith(CONTENDED_HOST) for flag in run.flags)
