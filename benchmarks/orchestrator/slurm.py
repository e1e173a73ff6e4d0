"""How fast cells reach a real Slurm and end there, and what it is asked meanwhile, against Hydra's submitit launcher.

    python benchmarks/orchestrator/slurm.py [--cells 400] [--rounds 1] [--before CHECKOUT] [--grow 10,100,1000]

Starts the tests' one-machine Slurm with its database (root on Debian; `tests/install.sh`) and makes the peer's
environment from `peer/requirements.txt`. The cells have four shapes (1 and 2 GPUs on two partitions) and ranks that do
not train; the peer, which knows one shape a command, is run once a shape, as its documentation says. Three questions:

- `submit`: partitions that start nothing; from the command to the return of the last sbatch. A command of the peer
  stays until its jobs have ended, so it is ended once its sbatch has returned: its time is the sum over the shapes.
- `repeat`: a client of each is killed half-way and its command given again: how many tasks does Slurm have then?
- `end_to_end`: partitions that start; from the command to its end, the peer's commands one after another; ours once
  with a job a cell, as the peer has it, and once with each shape in two jobs (`pack=`). What Slurm's daemons are asked
  by clients is counted by stand-ins for its programs on PATH, and by `sdiag`. `floor` is what Slurm takes for as many
  jobs of these shapes whose steps do nothing.

Rounds take turns, every other one from the last to the first: ours, the peer's, ours packed, the floor, and ours of an
earlier checkout (`--before`). `--grow` submits so many cells of ours to the partitions that start nothing.
"""

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.orchestrator.lab import (
    PARTITIONS,
    PATIENCE_S,
    SHAPES,
    Site,
    calls,
    client,
    empty_jobs,
    last_record_at,
    make_conf,
    make_peer,
    ours,
    ours_packed,
    stand_ins,
    theirs,
    wait_for_sbatches,
)
from benchmarks.provenance import ROOT, Table, options, report
from tests.slurm.conftest import running_cluster

OURS, PEER, PACKED, FLOOR, BEFORE = "ours", "peer", "packed", "floor", "before"


class Traffic(NamedTuple):
    """What a client asked of Slurm while it waited."""

    calls: Counter[str]
    seconds: float
    rpcs: int
    """What slurmctld counted meanwhile, jobs' and nodes' own messages included."""

    @property
    def per_minute(self) -> float:
        """Questions of the client, a minute."""
        return 60 * sum(self.calls.values()) / self.seconds if self.seconds else 0.0


def in_queue(site: Site) -> int:
    """Tasks that wait in Slurm's queue."""
    return len(site.ask("squeue", "--noheader", "--array", "--states=pending").splitlines())


def empty(site: Site) -> None:
    """End all jobs."""
    site.ask("scancel", "--user=root")
    while site.ask("squeue", "--noheader").strip():
        time.sleep(0.2)


def open_partitions(site: Site, *, start: bool) -> None:
    """Let the partitions start jobs, or only take them."""
    for partition in PARTITIONS.values():
        site.ask("scontrol", "update", f"partitionname={partition}", f"state={'UP' if start else 'DOWN'}")


def submit_ours(site: Site, name: str, cells: int) -> tuple[float, int]:
    """Seconds from the command to the return of its last sbatch, and how many there were."""
    log, begun = site.folder / f"{name}.log", time.time()
    with client(site, ours(site, name, cells, "wait=false"), log) as process:
        if process.wait(PATIENCE_S):
            raise SystemExit(f"it failed: see {log.with_suffix('.out')}")
    sbatches = [call for call in calls(log) if call.program == "sbatch"]
    return sbatches[-1].ended - begun, len(sbatches)


def submit_theirs(site: Site, name: str, cells: int) -> tuple[float, int]:
    """The same of the peer, whose commands are ended once their sbatch has returned."""
    seconds = 0.0
    for shape in SHAPES:
        log, begun = site.folder / f"{name}-{shape[0]}-{shape[1]}.log", time.time()
        with client(site, theirs(site, name, cells, shape), log) as process:
            seconds += wait_for_sbatches(log, 1, process) - begun
    return seconds, len(SHAPES)


def repeated(site: Site, name: str, cells: int) -> dict[str, int]:
    """Tasks in the queue after a client was killed half-way and its commands were given again."""
    log = site.folder / f"{name}-ours.log"
    with client(site, ours(site, f"{name}-ours", cells), log) as process:
        wait_for_sbatches(log, len(SHAPES) // 2, process)
    with client(site, ours(site, f"{name}-ours", cells, "wait=false"), log) as process:
        process.wait(PATIENCE_S)
    tasks = {"cells": cells, "ours": in_queue(site)}
    empty(site)
    if site.peer is None:
        return tasks
    for times, shapes in enumerate((SHAPES[: len(SHAPES) // 2], SHAPES)):
        for shape in shapes:
            log = site.folder / f"{name}-{times}-{shape[0]}-{shape[1]}.log"
            with client(site, theirs(site, f"{name}-theirs", cells, shape), log) as process:
                wait_for_sbatches(log, 1, process)
    tasks["peer"] = in_queue(site)
    empty(site)
    return tasks


def rpcs(site: Site) -> int:
    """How many messages slurmctld has had so far."""
    by_type = site.ask("sdiag").partition("by message type")[2].partition("by user")[0]
    return sum(map(int, re.findall(r"count:(\d+)", by_type)))


def to_the_end(
    site: Site, name: str, commands: Sequence[Sequence[str]], sbatches: int, code: Path
) -> tuple[float, Traffic]:
    """Seconds that the commands take one after another, and what Slurm was asked from their last sbatch on.

    `sbatches`: of each command.
    """
    begun, calls_by_program, waited, messages = time.time(), Counter[str](), 0.0, 0
    for number, command in enumerate(commands):
        log = site.folder / f"{name}-{number}.log"
        with client(site, command, log, code) as process:
            submitted_s = wait_for_sbatches(log, sbatches, process)
            rpcs_before = rpcs(site)
            if process.wait(PATIENCE_S):
                raise SystemExit(f"it failed: see {log.with_suffix('.out')}")
            messages += rpcs(site) - rpcs_before
            waited += time.time() - submitted_s
        calls_by_program.update(call.program for call in calls(log) if call.begun > submitted_s)
    return time.time() - begun, Traffic(calls_by_program, waited, messages)


def plain(traffic: Traffic) -> dict[str, Any]:
    """For the JSON."""
    calls_by_program = {"calls": sum(traffic.calls.values())} | dict(traffic.calls)
    return {
        "waited_s": traffic.seconds,
        "per_minute": traffic.per_minute,
        "slurmctld_rpcs": traffic.rpcs,
    } | calls_by_program


def floor(site: Site, name: str, cells: int) -> float:
    """Seconds that Slurm takes for as many jobs of these shapes that do nothing."""
    log, begun = site.folder / f"{name}.log", time.time()
    with client(site, empty_jobs(cells), log) as process:
        if process.wait(PATIENCE_S):
            raise SystemExit(f"it failed: see {log.with_suffix('.out')}")
    return time.time() - begun


def one_round_to_the_end(site: Site, number: int, args: argparse.Namespace) -> dict[str, Any]:
    """Each way once, and what Slurm takes by itself."""
    cells, figures = args.end_cells, dict[str, Any](cells=args.end_cells)
    name, shapes = f"e{number}", len(SHAPES)
    packed, jobs = ours_packed(site, f"{name}-{PACKED}", cells)
    ways: dict[str, tuple[list[list[str]], int, Path]] = {
        OURS: ([ours(site, f"{name}-{OURS}", cells)], shapes, ROOT),
        PEER: ([theirs(site, name, cells, shape) for shape in SHAPES if site.peer is not None], 1, ROOT),
        PACKED: ([packed], jobs, ROOT),
        FLOOR: ([], 0, ROOT),
        BEFORE: ([ours(site, f"{name}-{BEFORE}", cells)] if args.before else [], shapes, args.before or ROOT),
    }
    for system, (commands, sbatches, code) in list(ways.items())[:: -1 if number % 2 else 1]:
        begun = time.time()
        if system == FLOOR:
            figures[f"{system}_s"] = floor(site, f"{name}-{system}", cells)
        elif commands:
            figures[f"{system}_s"], traffic = to_the_end(site, f"{name}-{system}", commands, sbatches, code)
            figures[system] = plain(traffic)
            if system != PEER:
                figures[system]["last_cell_s"] = last_record_at(site.folder / "outputs" / f"{name}-{system}") - begun
        print(
            f"to the end: {system} {figures.get(f'{system}_s', 'left out')} s, asked {figures.get(system)}", flush=True
        )
    return figures


def measure(site: Site, args: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    figures: dict[str, Any] = {"cells": args.cells, "submit": [], "end_to_end": [], "growth": []}
    open_partitions(site, start=False)
    for number in range(args.rounds):
        row: dict[str, float] = {}
        row["ours_s"], row["ours_sbatch"] = submit_ours(site, f"s{number}", args.cells)
        if site.peer is not None:
            row["peer_s"], row["peer_sbatch"] = submit_theirs(site, f"s{number}", args.cells)
        figures["submit"].append(row)
        print(f"submitted: {row}", flush=True)
        empty(site)
    figures["repeat"] = repeated(site, "again", args.end_cells)
    print(f"killed half-way and repeated, tasks in the queue: {figures['repeat']}", flush=True)
    for cells in args.grow:
        seconds, arrays = submit_ours(site, f"grow{cells}", cells)
        figures["growth"].append(
            {"cells": cells, "s": seconds, "ms_per_cell": 1000 * seconds / cells, "sbatch": arrays}
        )
        print(f"growth: {figures['growth'][-1]}", flush=True)
        empty(site)
    open_partitions(site, start=True)
    for number in range(args.rounds):
        figures["end_to_end"].append(one_round_to_the_end(site, number, args))
    return figures


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """The figures for people; without a peer its columns are empty."""
    cells, repeat = figures["cells"], figures["repeat"]
    rows = [
        (
            f"{cells} cells of {len(SHAPES)} shapes, all submitted",
            f"{row['ours_s']:.1f} s, {row['ours_sbatch']} sbatch",
            f"{row['peer_s']:.1f} s, {row['peer_sbatch']} sbatch" if "peer_s" in row else "",
            _ratio(row, goal=5),
        )
        for row in figures["submit"]
    ]
    tasks = f"tasks of {repeat['cells']} cells, killed half-way and repeated"
    rows.append((tasks, str(repeat["ours"]), str(repeat.get("peer", "")), ""))
    for row in figures["end_to_end"]:
        theirs_s = f"{row['peer_s']:.0f} s" if "peer_s" in row else ""
        for who, label in (
            (OURS, "a job a cell"),
            (PACKED, "each shape in two jobs"),
            (FLOOR, "jobs that do nothing"),
            (BEFORE, "a job a cell, before"),
        ):
            if f"{who}_s" in row:
                ratio = f"{row['peer_s'] / row[f'{who}_s']:.1f}" if theirs_s else ""
                goal = " (goal 2)" if ratio and who in (OURS, PACKED) else ""
                last = f", the last cell after {row[who]['last_cell_s']:.0f} s" if who in row else ""
                took = f"{row[f'{who}_s']:.0f} s{last}"
                rows.append((f"{row['cells']} cells to the end, {label}", took, theirs_s, f"{ratio}{goal}"))
        rows += [
            (
                f"questions to Slurm while waiting, {who}",
                _traffic_text(row[OURS]),
                _traffic_text(row[who]),
                _fewer(row, who),
            )
            for who in (PEER, BEFORE)
            if who in row
        ]
    grown = [
        (f"{row['cells']:,}", f"{row['s']:.2f}", f"{row['ms_per_cell']:.1f}", str(row["sbatch"]))
        for row in figures["growth"]
    ]
    growth = Table("From the command to the last sbatch", ("cells", "s", "ms a cell", "sbatch"), grown)
    return [
        Table("A real slurmctld", ("what", "ours", "peer, or ours as it was", "ratio"), rows),
        *([growth] if grown else []),
    ]


def _ratio(row: Mapping[str, Any], *, goal: float) -> str:
    return f"{row['peer_s'] / row['ours_s']:.1f} (goal {goal:g})" if "peer_s" in row else ""


def _traffic_text(traffic: Mapping[str, Any]) -> str:
    return f"{traffic['calls']} in {traffic['waited_s']:.0f} s, {traffic['per_minute']:.2f} a minute"


def _fewer(row: Mapping[str, Any], other: str) -> str:
    our_rate = row["ours"]["per_minute"]
    return f"{row[other]['per_minute'] / our_rate:.1f} (goal 10)" if our_rate else "none asked (goal 10)"


def main() -> None:
    """Measure and print."""
    words = options(__doc__)
    words.add_argument("--cells", type=int, default=400)
    words.add_argument("--end-cells", type=int, help="cells that are repeated and run to the end; --cells unless told")
    words.add_argument("--rounds", type=int, default=1)
    words.add_argument("--grow", type=lambda text: [int(n) for n in text.split(",") if n], default=[10, 100, 1000])
    words.add_argument("--peer", type=Path, help="an interpreter that has the peer already")
    words.add_argument("--without-peer", action="store_true", help="and without the database that it needs")
    words.add_argument("--folder", type=Path, help="keep everything there")
    words.add_argument("--before", type=Path, help="a checkout of an earlier version")
    args = words.parse_args()
    args.end_cells = args.end_cells or args.cells
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).absolute()
        (folder / "slurm").mkdir(parents=True)
        peer = None if args.without_peer else args.peer or make_peer(folder / "peer")
        with running_cluster(folder / "slurm", DB="0" if args.without_peer else "1") as cluster:
            site = Site(cluster, peer, folder, make_conf(folder / "conf"), stand_ins(folder / "programs"))
            figures = measure(site, args)
    report(figures, args, *tables(figures))


if __name__ == "__main__":
    main()
