"""Files between a queue's process and its clients, all in the batch's folder. An edge: it writes and reads them.

`queue.json` names the process; a queue writes it first, so that a client can find a queue that another one started.
`states.json` has the state of every task; `cancel/<index>` is a client's request to end a task;
`starts/<index>` counts the starts of a task, for the next process of a queue that is itself started again.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from launchers.atomic import make_folder, opened, read, remove, write
from launchers.backend import Ended, TaskState, TaskStatus
from launchers.checked import Handle, checked, parse_json
from launchers.errors import UserError
from launchers.queue.handle import handle_of, host_of, no_process

STATES = "states.json"
_QUEUE = "queue.json"
_CANCEL = "cancel"
_STARTS = "starts"


@checked
class _QueueFile:
    """`queue.json`."""

    handle: Handle


def write_handle(folders: Iterable[Path]) -> None:
    """Say in every batch's folder that this process works it off."""
    handle = handle_of(os.getpid())
    for folder in folders:
        write(folder / _QUEUE, json.dumps({"handle": handle}) + "\n")


def read_handle(folder: Path) -> str | None:
    """Handle of the batch's queue. None: no queue ever had this batch.

    Of a damaged file only its existence is known: the answer is then a handle of no process.
    """
    try:
        handle = parse_json(_QueueFile, read(folder / _QUEUE), source=_QUEUE).handle
        host_of(handle)
        return handle
    except FileNotFoundError:
        return None
    except (OSError, UserError, ValueError):
        return no_process()


def write_states(folder: Path, states: Mapping[int, TaskStatus]) -> None:
    """Write the state of every task of a batch."""
    write(folder / STATES, json.dumps({index: _plain(status) for index, status in states.items()}))


def read_states(folder: Path) -> dict[int, TaskStatus]:
    """Read the states by task index; empty before the queue has begun, or when the file is damaged."""
    try:
        written = from_json(read(folder / STATES))
        return {int(i): _status(fields) for i, fields in written.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def cancel_folder(folder: Path) -> Path:
    """The folder in which clients ask the queue of a batch to end tasks; made if it is not there."""
    make_folder(folder / _CANCEL)
    return folder / _CANCEL


def ask_to_cancel(folder: Path, indices: Iterable[int]) -> None:
    """Ask the queue of a batch to end tasks; asking twice does no harm."""
    cancel_folder(folder)
    for index in indices:
        os.close(opened(folder / _CANCEL / str(index), os.O_WRONLY | os.O_CREAT))


def asked_to_cancel(folder: Path) -> set[int]:
    """Task indices that clients have asked to end."""
    try:
        return {int(path.name) for path in (folder / _CANCEL).iterdir() if path.name.isdecimal()}
    except OSError:
        return set()


def note_start(folder: Path, index: int, restart: int) -> None:
    """Note that a task is being started for the time `restart` (0: the first); the number is used up."""
    make_folder(folder / _STARTS)
    write(folder / _STARTS / str(index), f"{restart + 1}\n")


def starts(folder: Path, index: int) -> int:
    """How often a task of a batch has been started."""
    try:
        return int(read(folder / _STARTS / str(index), max_bytes=100))
    except (OSError, ValueError):
        return 0


def forget(folder: Path) -> None:
    """Remove what an earlier queue of the same batch and its clients wrote."""
    for name in (_QUEUE, STATES):
        remove(folder / name, pattern=r"\w+\.json")
    for index in asked_to_cancel(folder):
        remove(folder / _CANCEL / str(index), pattern=r"\d+")


def _plain(status: TaskStatus) -> dict[str, str | None]:
    return {
        "state": status.state.value,
        "detail": status.detail,
        "ended": status.ended.value if status.ended else None,
        "hosts": status.hosts,
    }


def _status(fields: Mapping[str, Any]) -> TaskStatus:
    """Earlier versions wrote neither `ended` nor `hosts`."""
    ended = fields.get("ended")
    return TaskStatus(
        state=TaskState(fields["state"]),
        detail=fields["detail"],
        ended=Ended(ended) if ended else None,
        hosts=fields.get("hosts", ""),
    )
