"""Turns of several ways in interleaved rounds, what each took, and the table that compares them.

    ways = {"ours": lambda: ran([python, "-m", "vit_sweep", "status", study]), "floor": lambda: ran([python, "-c", ""])}
    found = interleaved(with_control(ways, "floor"), rounds=7, seconds=60)
    report({"ways": summary(found, "floor")}, given, compared("Start", found, "floor", goals={"ours": 1.5}))

A round gives every way one turn in an order drawn anew, so that a busy machine hurts all alike; ratios are paired
within a round. `AGAIN` is the same way once more, the A/A control: what two measurements of one thing differ by. To
compare with an earlier version of the code, give each way the checkout that it runs (`code=`).
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple, TypeVar

from benchmarks.provenance import ROOT, Table
from benchmarks.ratios import paired, spread, text_of

T = TypeVar("T")
AGAIN = "again"
"""What the A/A control is called."""


class Took(NamedTuple):
    """What a piece of work took."""

    wall: float
    """Seconds by the clock."""
    cpu: float
    """Seconds of the processor, those of its ended children with them: other work on the machine hurts them less."""
    peak_mib: float = 0.0
    """Most resident memory of one of its processes; 0 where nobody looked."""

    def __str__(self) -> str:
        peak = f", {self.peak_mib:.0f} MiB" if self.peak_mib else ""
        return f"{self.wall:.2f} s (CPU {self.cpu:.2f}{peak})"


Turn = Callable[[], Took]


def timed(work: Callable[[], T]) -> tuple[Took, T]:
    """What `work` took in this process and its children, and what it returned."""
    begun, cpu = time.perf_counter(), _cpu_s()
    result = work()
    return Took(time.perf_counter() - begun, _cpu_s() - cpu), result


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def ran(
    command: Sequence[str | Path],
    *,
    code: Path = ROOT,
    cwd: Path | None = None,
    may_exit: Sequence[int] = (0,),
    output: int | None = subprocess.DEVNULL,
    **environment: str,
) -> Took:
    """Run a command to its end as a process of its own, on the packages of the checkout `code`.

    Raises `RuntimeError` with the end of what it said on stderr if it ends with another code than those of `may_exit`.
    """
    # Safe: else the packages of the folder in which a benchmark is run come before those of `code`.
    variables = os.environ | {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"} | environment
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as numbers:
        wrapped = [sys.executable, "-I", "-S", "-c", _STARTER, str(numbers.fileno()), *command]
        inherited = (numbers.fileno(),)
        subprocess.run(wrapped, cwd=cwd, env=variables, stdout=output, stderr=errors, pass_fds=inherited, check=False)
        numbers.seek(0)
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - 2000))
        said_wrong, measured = errors.read().decode(errors="replace"), json.loads(numbers.read() or "null")
    if measured is None or measured[0] not in may_exit:
        code_of = measured[0] if measured else "no process"
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {code_of}\n{said_wrong}")
    return Took(*measured[1:])


_STARTER = """
import json, os, sys, time
begun = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
took = [time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**10]
os.write(int(sys.argv[1]), json.dumps([os.waitstatus_to_exitcode(status), *took]).encode())
"""
"""Starts the command and waits for it: Linux counts the memory of whoever starts a process as its own peak, and this is
small."""


def verb(*words: str | Path) -> list[str | Path]:
    """The command of a verb, or of a sweep, in this Python."""
    return [sys.executable, "-m", "vit_sweep", *words]


def with_control(ways: Mapping[str, T], name: str) -> dict[str, T]:
    """The ways, and one of them once more as the A/A control."""
    return {**ways, AGAIN: ways[name]}


def interleaved(
    ways: Mapping[str, Callable[[], T]], *, rounds: int, seconds: float = float("inf")
) -> dict[str, list[T]]:
    """What the turns of each way returned, one of each a round.

    At most so many rounds; none is begun that would end later than `seconds` after the first began, by the longest
    so far. What should be warm is warmed by the caller.
    """
    results: dict[str, list[T]] = {name: [] for name in ways}
    order, names, begun, longest = random.Random(0), list(ways), time.perf_counter(), 0.0
    for _ in range(rounds):
        started = time.perf_counter()
        if longest and started - begun + longest > seconds:
            break
        for name in order.sample(names, len(names)):
            results[name].append(ways[name]())
        longest = max(longest, time.perf_counter() - started)
    return results


Clock = Literal["wall", "cpu"]


def summary(turns_by_way: Mapping[str, Sequence[Took]], base: str) -> dict[str, dict[str, Any]]:
    """Of each way: median and interval of its seconds, its peak, and its ratios to `base` paired within rounds."""
    return {
        name: {
            "wall_s": spread([turn.wall for turn in turns], 4),
            "cpu_s": spread([turn.cpu for turn in turns], 4),
            "peak_mib": round(max(turn.peak_mib for turn in turns), 1),
            "wall_ratio": paired([t.wall for t in turns], [t.wall for t in turns_by_way[base]]),
            "cpu_ratio": paired([t.cpu for t in turns], [t.cpu for t in turns_by_way[base]]),
        }
        for name, turns in turns_by_way.items()
    }


def compared(
    title: str,
    turns_by_way: Mapping[str, Sequence[Took]],
    base: str,
    *,
    by: Clock = "wall",
    goals: Mapping[str, float] | None = None,
) -> Table:
    """The ways beside one another; `goals`: the largest ratio to `base` by the clock `by` that a way should have."""
    rows = []
    for name, turns in turns_by_way.items():
        goal = (goals or {}).get(name)
        ratio = paired([getattr(t, by) for t in turns], [getattr(t, by) for t in turns_by_way[base]])
        rows.append(
            (
                name if name != AGAIN else f"{base}, again (A/A)",
                f"{median(turn.wall for turn in turns):.3g}",
                f"{median(turn.cpu for turn in turns):.3g}",
                f"{max(turn.peak_mib for turn in turns):.0f}" if any(turn.peak_mib for turn in turns) else "",
                "1" if name == base else text_of(ratio),
                "" if goal is None else f"{goal:.3g}, {'met' if ratio['ratio'] <= goal else 'not met'}",
            )
        )
    rounds = len(turns_by_way[base])
    head = ("", "wall s", "CPU s", "peak MiB", f"{'CPU' if by == 'cpu' else 'wall'} time over {base}", "goal: at most")
    return Table(f"{title} ({rounds} round{'s' * (rounds != 1)})", head, rows)
