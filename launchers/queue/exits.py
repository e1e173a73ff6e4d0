"""How a task of a queue ended: one code and one sentence from those of its ranks. Pure.

Codes are a shell's: 128 + N for a process that died of signal N.
"""

import signal
from collections.abc import Mapping


def shell_code(returncode: int) -> int:
    """Turn the return code of Python's `subprocess` or `multiprocessing`, negative for a signal, into a shell's."""
    return 128 - returncode if returncode < 0 else returncode


def signal_of(code: int) -> str | None:
    """Name of the signal that a process with this code died of; None if it died of none."""
    return signal.Signals(code - 128).name if code - 128 in set(signal.Signals) else None


def job_code(codes: Mapping[int, int]) -> int:
    """One code from those of the ranks: the first rank's that died of a signal, else the highest; 0 without ranks."""
    died = [code for _, code in sorted(codes.items()) if signal_of(code)]
    return died[0] if died else max(codes.values(), default=0)


def sentence(codes: Mapping[int, int]) -> str:
    """Say how ranks ended, those that died of a signal first: they are the cause, not the echo. Empty when well."""
    died = [f"rank {r} died of signal {signal_of(c)}" for r, c in sorted(codes.items()) if signal_of(c)]
    failed = [f"rank {r} ended with code {c}" for r, c in sorted(codes.items()) if c and not signal_of(c)]
    return "; ".join(died or failed)
