"""`queue.json` of a batch: which process works it off. An edge: it writes and reads the file, and looks at processes.

The queue writes it first thing, so that a client can find a queue whose own client went away.
"""

import json
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

CARD = "queue.json"


def handle_of(pid: int) -> str:
    """`host/pid/birth` of a living process; the birth tells it from a later process with the same number.

    Raises `psutil.NoSuchProcess`.
    """
    return f"{socket.gethostname()}/{pid}/{_birth(psutil.Process(pid))}"


def write_cards(folders: Iterable[Path]) -> None:
    """Say in every batch's folder that this process works it off; written aside and renamed."""
    handle = handle_of(os.getpid())
    for folder in folders:
        partial = folder / f".{CARD}.{os.getpid()}.tmp"
        partial.write_text(json.dumps({"handle": handle}) + "\n")
        partial.replace(folder / CARD)


def read_card(folder: Path) -> str | None:
    """Handle of the batch's queue. None: no queue ever said that it has this batch.

    Of a damaged file only its existence is known: the answer is then a handle of no process.
    """
    try:
        handle = json.loads((folder / CARD).read_text())["handle"]
        _parts(handle)
        return str(handle)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return nobody()


def nobody() -> str:
    """A handle that no process has or ever had."""
    return f"{socket.gethostname()}/0/unknown"


def host_of(handle: str) -> str:
    """Host that the queue runs or ran on."""
    return _parts(handle)[0]


def process_of(handle: str) -> psutil.Process | None:
    """The queue's process; None if it ended, if its number was given to another process, or on another host."""
    host, pid, birth = _parts(handle)
    if host == socket.gethostname():
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            # Earlier versions wrote the time of birth.
            known = (_birth(process), f"{process.create_time():.2f}")
            if birth in known and process.status() != psutil.STATUS_ZOMBIE:
                return process
    return None


def _parts(handle: str) -> tuple[str, int, str]:
    """Host, process, birth. Handles of earlier versions end with `|FOLDER`."""
    host, pid, birth = handle.split("|", 1)[0].rsplit("/", 2)
    return host, int(pid), birth


def _birth(process: psutil.Process) -> str:
    """Clock ticks since the machine started. A time of day would change when the clock is put right."""
    try:
        after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2]
        return after_name.split()[19]
    except FileNotFoundError:  # no Linux, or gone: then the next line says so
        return f"{process.create_time():.2f}"
