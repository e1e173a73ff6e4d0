"""Running Slurm's programs: each has its time, and its failures are exit codes. An edge."""

import os
import shutil
import subprocess
from collections.abc import Collection, Sequence

from launchers.process.environment import clean_environment

PATIENCE_S = 60.0
"""How long one command may take; without a controller Slurm's own give up after about 20 s."""


def run(
    command: Sequence[str],
    *,
    cwd: str | None = None,
    keep_open: int | None = None,
    patience_s: float | None = None,
    without: Collection[str] = (),
    also: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program without an outer job's variables, and `without` these, but `also` with those; it never raises.

    `keep_open` is a descriptor that it inherits.
    """
    if shutil.which(command[0]) is None:
        return subprocess.CompletedProcess(command, 127, "", f"no {command[0]} on this machine")
    patience_s = PATIENCE_S if patience_s is None else patience_s
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # as in paths
            check=False,
            cwd=cwd,
            pass_fds=() if keep_open is None else (keep_open,),
            start_new_session=True,  # Ctrl-C in the client's terminal must not cut it off
            env={name: v for name, v in clean_environment(os.environ).items() if name not in without}
            | dict(also or {}),
            timeout=patience_s,
        )
    except subprocess.TimeoutExpired:
        message = f"{command[0]} did not answer within {patience_s:.0f} s"
        return subprocess.CompletedProcess(command, 124, "", message)
    except OSError as error:
        return subprocess.CompletedProcess(command, 126, "", f"{command[0]}: {error}")


def printed(command: Sequence[str], *, also: dict[str, str], patience_s: float | None = None) -> tuple[str, str | None]:
    """What a program prints and None, or nothing and its last words."""
    answer = run(command, also=also, patience_s=patience_s)
    if answer.returncode == 0:
        return answer.stdout, None
    lines = answer.stderr.strip().splitlines() or [f"it ended with code {answer.returncode}"]
    return "", f"{command[0]}: {lines[-1].removeprefix(f'{command[0]}: ')}"
