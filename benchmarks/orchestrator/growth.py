"""How the cost of each verb grows with the cells of a study: processor time, memory, and what the file system is asked.

    python benchmarks/orchestrator/growth.py [--sizes 10,100,1000] [--steps plan,report] [--seconds 120] [--figure FILE]
        [--studies FOLDER]

Each turn is a verb as a process of its own, interleaved in rounds: `plan` (a dry run: composed, planned, rendered,
written), and of a study whose cells all have records `status` (nothing noted), `status again`, `collect` (figures off,
nothing kept), `collect again` and `report` (of at most 1,000). `--studies` keeps the made studies there and uses them
again. The A/A control is `status` of the largest study once more. Growth is the exponent k
in (cost - cost of the smallest study) ~ cells^k between the two largest sizes; goal: at most 1 plus what the
control shows. `strace`, where it is installed, counts the calls with a path, and the writes to disk (fsync), of the
two sizes below 1,000.
"""

import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count, cycle, pairwise
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.orchestrator.collecting import make
from benchmarks.provenance import Table, options, report
from benchmarks.ratios import paired, text_of
from benchmarks.rounds import Took, interleaved, ran, verb

STEPS = ("plan", "status", "status again", "collect", "collect again", "report")
_LEFT = {"status": (".done-*",), "collect": (".runs-*", ".collected-*")}
"""What a verb leaves for its next time."""
MOST_REPORTED, MOST_TRACED = 1_000, 999
GOAL = 1.1
_CALL = re.compile(r"\b(\w+)\(")
CALLS = {
    "open": ("open", "openat"),
    "stat": ("stat", "lstat", "statx", "newfstatat", "access", "faccessat2"),
    "mkdir": ("mkdir", "mkdirat"),
    "rename": ("rename", "renameat", "renameat2"),
    "unlink": ("unlink", "unlinkat"),
    "fsync": ("fsync", "fdatasync"),
}
_KINDS = {call: kind for kind, calls in CALLS.items() for call in calls}
"""What a file server sees of a system call."""


class Studies:
    """A study of each size, and a place for plans."""

    def __init__(self, folder: Path, sizes: Iterable[int]) -> None:
        """Make them."""
        self._folder, self._plans = folder, count()
        self._made = {size: folder / f"cells{size}" for size in sizes}
        for size, study in self._made.items():
            if not (study / "jobs.jsonl").is_file():
                make(study, size)

    def command(self, step: str, size: int) -> list[str | Path]:
        """What a person types. Each plan has a new place: ext4 makes files slowly where many were just removed."""
        match step:
            case "plan":
                grid = ("gpus=1,2", f"seed=range({size // 2})", "partition=vector_t4v2", "study=plan")
                return verb("-m", *grid, "dry_run=true", f"outputs={self._folder / f'plans-{next(self._plans)}'}")
            case "report":
                return verb("report", self._made[size], "--quiet")
            case _:
                return verb(step.split(maxsplit=1)[0], self._made[size])

    def take(self, step: str, size: int, run: Callable[..., Took] = ran) -> Took:
        """One turn."""
        name, _, repeated = step.partition(" ")
        if repeated:
            self._run(ran, name, size)  # what lies there may be another verb's: a report leaves its own
        else:
            for path in (path for pattern in _LEFT.get(name, ()) for path in self._made[size].glob(pattern)):
                path.unlink()
        return self._run(run, step, size)

    def _run(self, run: Callable[..., Took], step: str, size: int) -> Took:
        figures = "on" if step == "report" else "off"
        return run(self.command(step, size), cwd=self._folder, VIT_SWEEP_FIGURES=figures, COLUMNS="100")

    def traced(self, step: str, size: int) -> dict[str, int]:
        """How often its processes asked the file system for something."""
        counts = dict.fromkeys(CALLS, 0)
        trace = self._folder / "trace"

        def run(command: Sequence[str | Path], **options: Any) -> Took:
            filter_ = f"trace={','.join(_KINDS)}"
            return ran(["strace", "-f", "--seccomp-bpf", "-qq", "-e", filter_, "-o", trace, *command], **options)

        self.take(step, size, run)
        for line in trace.read_text(errors="replace").splitlines():
            call = _CALL.search(line)
            if call and call[1] in _KINDS and "resumed" not in line.partition("(")[0]:
                counts[_KINDS[call[1]]] += 1
        return counts


def exponent(costs: Sequence[tuple[int, float]]) -> float | None:
    """k of what the two largest sizes cost above the smallest; None where that is nothing, or there are fewer than 3.

    >>> exponent([(10, 1.0), (100, 1.9), (1000, 10.9)])
    1.0
    """
    if len(costs) < 3:
        return None
    (n0, c0), (n1, c1), (n2, c2) = costs[0], costs[-2], costs[-1]
    if c1 <= c0 or c2 <= c0:
        return None
    return round(math.log((c2 - c0) / (c1 - c0)) / math.log((n2 - n0) / (n1 - n0)), 3)


def a_cell(costs: Sequence[tuple[int, float]]) -> float:
    """What one cell more costs, between the two largest sizes."""
    (n1, c1), (n2, c2) = costs[-2], costs[-1]
    return (c2 - c1) / (n2 - n1)


Costs = dict[str, list[tuple[int, Took]]]
"""By step: size and the median turn."""


def costs_of(turns_by_pair: Mapping[tuple[str, int], Sequence[Took]]) -> Costs:
    """The median turn of each step and size, smallest first."""
    costs: Costs = {}
    for (step, size), turns in sorted(turns_by_pair.items(), key=lambda one: one[0][1]):
        middle = Took(*(median(turn[i] for turn in turns) for i in range(3)))
        costs.setdefault(step, []).append((size, middle))
    return costs


def table_of(costs: Costs, sizes: Sequence[int], rounds: int) -> Table:
    """Processor time and memory by size, what a cell costs, how that grows."""
    rows = []
    for step, turns in costs.items():
        cpu, peak = [(n, took.cpu) for n, took in turns], [(n, took.peak_mib) for n, took in turns]
        by_size = dict(turns)
        k = exponent(cpu)
        rows.append(
            (
                step,
                *(f"{by_size[n].cpu:.2f} s, {by_size[n].peak_mib:.0f} MiB" if n in by_size else "" for n in sizes),
                f"{1000 * a_cell(cpu):.2f} ms",
                f"{1024 * a_cell(peak):.1f} KiB",
                "" if k is None else f"{k:.2f} ({'met' if k <= GOAL else 'not met'})",
            )
        )
    head = ("CPU time, peak memory", *(f"{n:,} cells" for n in sizes), "a cell more", "and", f"exponent (goal {GOAL})")
    title = f"Growth of a verb's cost with the cells of a study ({rounds} round{'s' * (rounds != 1)}, medians)"
    return Table(title, head, rows)


def calls_table(calls: Mapping[str, Mapping[str, float]]) -> Table:
    """Calls a cell."""
    rows = [(step, *(f"{of[name]:.1f}" for name in CALLS)) for step, of in calls.items()]
    return Table("What the file system is asked for a cell more (strace)", ("a cell", *CALLS), rows)


def calls_a_cell(studies: Studies, steps: Iterable[str], sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """Calls of each kind for one cell more, between two sizes."""
    (small, large) = sizes
    slopes: dict[str, dict[str, float]] = {}
    for step in steps:
        small_calls, large_calls = studies.traced(step, small), studies.traced(step, large)
        slopes[step] = {name: round((large_calls[name] - small_calls[name]) / (large - small), 2) for name in CALLS}
    return slopes


def draw(costs: Costs, file: Path) -> None:
    """Processor time by cells, with a line that grows as they do."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    figure, (times, memory) = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for (step, turns), marker in zip(costs.items(), cycle("osD^vP"), strict=False):
        counts = [n for n, _ in turns]
        times.plot(counts, [took.cpu for _, took in turns], marker=marker, label=step)
        memory.plot(counts, [took.peak_mib for _, took in turns], marker=marker, label=step)
    largest = max(n for turns in costs.values() for n, _ in turns)
    times.plot([largest / 100, largest], [0.1, 10], "k:", label="as the cells")
    for axes, label in ((times, "processor time (s)"), (memory, "peak memory (MiB)")):
        axes.set(xscale="log", yscale="log", xlabel="cells", ylabel=label)
    figure.legend(*times.get_legend_handles_labels(), loc="outside right center", fontsize="small")
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main() -> None:
    """Measure, print, and write what is asked for."""
    words = options(__doc__)
    words.add_argument("--sizes", default="10,100,1000")
    words.add_argument("--steps", default=",".join(STEPS))
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--seconds", type=float, default=150, help="of the rounds; one is always made")
    words.add_argument("--studies", type=Path)
    words.add_argument("--figure", type=Path, help="draw the growth there, .svg or .png")
    args = words.parse_args()
    sizes, steps = [int(size) for size in args.sizes.split(",")], args.steps.split(",")
    with tempfile.TemporaryDirectory() as folder:
        studies = Studies((args.studies or Path(folder)).absolute(), sizes)
        pairs = [(step, n) for step in steps for n in sizes if step != "report" or n <= MOST_REPORTED]
        ways = {f"{step} {n}": partial(studies.take, step, n) for step, n in pairs}
        ways["control"] = ways[f"status {sizes[-1]}"] if "status" in steps else next(iter(ways.values()))
        results = interleaved(ways, rounds=args.rounds, seconds=args.seconds)
        control = results.pop("control")
        traced = [n for n in sizes if n <= MOST_TRACED][-2:]
        counted = len(traced) == 2 and shutil.which("strace") is not None
        calls = calls_a_cell(studies, steps, traced) if counted else {}
    costs = costs_of({pair: results[f"{pair[0]} {pair[1]}"] for pair in pairs})
    status = results.get(f"status {sizes[-1]}", control)
    noise = paired([turn.cpu for turn in control], [turn.cpu for turn in status])
    print(f"A/A control (status of {sizes[-1]:,} cells, twice): {text_of(noise)} by processor time")
    figures = {
        "sizes": sizes,
        "control": noise,
        "steps": {
            step: {
                "cpu_s": {n: round(took.cpu, 3) for n, took in turns},
                "wall_s": {n: round(took.wall, 3) for n, took in turns},
                "peak_mib": {n: round(took.peak_mib, 1) for n, took in turns},
                "cpu_ms_a_cell": [round(1000 * (b.cpu - a.cpu) / (m - n), 3) for (n, a), (m, b) in pairwise(turns)],
            }
            for step, turns in costs.items()
        },
        "calls_a_cell": calls,
    }
    if args.figure:
        draw(costs, args.figure)
    rounds = len(control)
    tables = [table_of(costs, sizes, rounds), *([calls_table(calls)] if calls else [])]
    report(figures, args, *tables)


if __name__ == "__main__":
    main()
