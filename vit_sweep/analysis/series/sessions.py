"""Sessions: runs that were made without a long pause between them; and those that shared nodes. Pure.

What differs from day to day (other nodes and neighbours, another room temperature, a new driver) is between sessions.
What differs from node to node is between jobs: a run with a job of its own has it in its own spread, but runs that
shared a job (`pack`, `allocation=shared`) have it in common.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from vit_sweep.runs.run import Run

PAUSE = timedelta(hours=6)
"""A longer pause without a run begins another session: another night, other neighbours, another allocation."""


def sessions_of(runs: Iterable[Run], *, undated: Callable[[Run], str] = lambda _: "") -> dict[str, int]:
    """The session of each run by its id, numbered from 0 in the order of time.

    Runs without a start come last; those with the same `undated` share a session.
    """
    by_id = {run.run_id: run for run in runs}
    dated = sorted((datetime.fromisoformat(run.started_at), name) for name, run in by_id.items() if run.started_at)
    numbers: dict[str, int] = {}
    session, busy_until = -1, None
    for start, name in dated:
        if busy_until is None or start - busy_until > PAUSE:
            session += 1
        numbers[name] = session
        end = start + timedelta(seconds=by_id[name].job_s or 0.0)
        busy_until = end if busy_until is None else max(busy_until, end)
    keys = {name: undated(run) for name, run in by_id.items() if name not in numbers}
    later = {key: number for number, key in enumerate(sorted(set(keys.values())), session + 1)}
    return numbers | {name: later[key] for name, key in keys.items()}


def together(runs: Iterable[Run], sessions: Mapping[str, int]) -> dict[str, int]:
    """Number, for each run by its id, what it has in common with others: its shared job, else its session.

    From 0 without a gap, in the order of sessions.
    """
    groups = {run.run_id: (sessions[run.run_id], run.shared_job) for run in runs}
    numbers = {group: number for number, group in enumerate(sorted(set(groups.values())))}
    return {name: numbers[group] for name, group in groups.items()}


def days_of(runs: Sequence[Run]) -> str:
    """First and last day (UTC) of runs, as a sentence names them; empty where no run has a start."""
    days = sorted({run.started_at[:10] for run in runs if run.started_at})
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
