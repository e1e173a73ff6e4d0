"""The one way in which a signal leaves this program for another process. An edge."""

import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


def send(process: "subprocess.Popen[bytes] | psutil.Process", number: signal.Signals) -> None:
    """Signal a process that is proven to be the one that was started; one that has ended gets none.

    `Popen` asks first, and nobody else can have the number of a child that was not waited for. `psutil` compares
    number and start time, and raises `psutil.NoSuchProcess` where they are another process's.
    """
    process.send_signal(number)
