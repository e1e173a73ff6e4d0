"""`states.json` of a batch: what a queue process of ours tells its clients. An edge: it writes and reads the file."""

import json
from collections.abc import Mapping
from pathlib import Path

from launchers.backend import TaskState, TaskStatus


def write_states(folder: Path, states: Mapping[int, TaskStatus]) -> None:
    """Write the state of every task of a batch, aside and renamed, so that no client reads a part."""
    path = folder / "states.json"
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps({i: {"state": s.state.value, "detail": s.detail} for i, s in states.items()}))
    partial.replace(path)


def read_states(folder: Path) -> dict[int, TaskStatus]:
    """Read the states by task index; empty before the queue has begun, or when the file is damaged."""
    try:
        written = json.loads((folder / "states.json").read_text())
        return {int(i): TaskStatus(state=TaskState(s["state"]), detail=s["detail"]) for i, s in written.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
