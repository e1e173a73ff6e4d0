"""Room for the sockets of Python's multiprocessing, which lie in the temporary folder. An edge: it sets that folder."""

import os
import tempfile
from contextlib import suppress

_MOST = 107 - len("/pymp-12345678/listener-12345678")
"""Bytes of a folder in whose folders a socket can lie: its whole path has room for 107 (sun_path of unix(7))."""


def make_room_for_sockets() -> None:
    """Let this process have another temporary folder where the path of its own is too long for a socket.

    Sites give jobs folders such as `/scratch/tmp/PROJECT/USER/JOB`.
    """
    for folder in (os.environ.get("XDG_RUNTIME_DIR"), "/tmp", "/var/tmp"):
        if len(os.fsencode(tempfile.gettempdir())) <= _MOST:
            return
        with suppress(OSError):
            tempfile.TemporaryFile(dir=folder).close()
            tempfile.tempdir = folder
