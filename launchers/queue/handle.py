"""A queue's process by its handle, `host/pid/birth`: named, and found again by any client on its host. An edge."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil  # only where a process is looked for: it takes long to import


def handle_of(pid: int) -> str:
    """Name a living process; the birth tells it from a later process with the same number.

    Raises `psutil.NoSuchProcess`.
    """
    import psutil

    return f"{socket.gethostname()}/{pid}/{_birth(psutil.Process(pid))}"


def no_process() -> str:
    """A handle of this host that no process has or ever had."""
    return f"{socket.gethostname()}/0/unknown"


def host_of(handle: str) -> str:
    """Host that the queue runs or ran on; raises `ValueError` for what is no handle."""
    return _parts(handle)[0]


def process_of(handle: str) -> "psutil.Process | None":
    """The queue's process; None if it ended, if its number was given to another process, or on another host."""
    host, pid, birth = _parts(handle)
    if host == socket.gethostname():
        import psutil

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            # Earlier versions wrote the time of birth.
            births = (_birth(process), f"{process.create_time():.2f}")
            if birth in births and process.status() != psutil.STATUS_ZOMBIE:
                return process
    return None


def _parts(handle: str) -> tuple[str, int, str]:
    """Host, process, birth. Handles of earlier versions end with `|FOLDER`."""
    host, pid, birth = handle.split("|", 1)[0].rsplit("/", 2)
    return host, int(pid), birth


def _birth(process: "psutil.Process") -> str:
    """Clock ticks since the machine started. A time of day would change when the clock is put right."""
    try:
        after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2]
        return after_name.split()[19]
    except (FileNotFoundError, ProcessLookupError):  # no Linux, or gone, between opening too: the next line says so
        return f"{process.create_time():.2f}"
