"""How fast a core of this machine is at best, for a first guess of how long work takes. An edge: /proc/cpuinfo."""

import re
from functools import cache
from pathlib import Path

_FLOP_A_CYCLE = {"avx512f": 32, "avx2": 32, "avx": 16, "sse2": 8}
"""Of fp32 in a clock cycle, by the widest instructions: two units, an addition and a multiplication each. Half of the
processors with AVX-512 do no more with it than with AVX2, so that counts for both."""


@cache
def core_flops() -> float | None:
    """Operations a second of one core; None where the system does not say its clock."""
    try:
        return flops_of(Path("/proc/cpuinfo").read_text())
    except OSError:
        return None


def flops_of(cpuinfo: str) -> float | None:
    """The same of what Linux says of its processors."""
    clock = re.search(r"^cpu MHz\s*:\s*([\d.]+)", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:(.*)", cpuinfo, re.MULTILINE)
    if not clock or not flags:
        return None
    has = {*flags[1].split()}
    a_cycle = next((count for name, count in _FLOP_A_CYCLE.items() if name in has), None)
    return float(clock[1]) * 1e6 * a_cycle if a_cycle else None
