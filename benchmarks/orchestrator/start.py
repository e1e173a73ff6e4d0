"""How long commands take to start, against importing hydra and submitit alone, in one run.

    python benchmarks/orchestrator/start.py [--rounds 9] [--seconds 120] [--json FILE] [--markdown FILE]

Each is a process of its own, warm: bytecode is there, what Hydra composed is kept, the study that is looked at has been
planned and never ran, so that a verb does the least that it can: a mistake, or help, where all else would be work. In
turns, interleaved, the import once more as the A/A control. CPU time is compared, since other work on the machine hurts
it less. Goal: 1.5 times the import for the dry run of 12 cells and for every verb.
"""

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.provenance import options, report
from benchmarks.rounds import compared, interleaved, ran, summary, verb, with_control

EXAMPLE = ("-m", "gpus=1,2,4,8", "batch=16,64,128")
STUDY = "vit_tiny_32-digits-local"
FLOOR = "import hydra, submitit"
GOAL = 1.5
COMMANDS: dict[str, tuple[Sequence[str], Sequence[int]]] = {
    "dry run of 12 cells": ((*EXAMPLE, "dry_run=true"), (0,)),
    "the same on Slurm": ((*EXAMPLE, "partition=vector_t4v2", "dry_run=true"), (0,)),
    "plan": (("plan", *EXAMPLE), (0,)),
    "help": (("--help",), (0,)),
    "list": (("list",), (0,)),
    "status": (("status", STUDY), (3,)),
    "check": (("check", STUDY), (0,)),
    "doctor": (("doctor",), (0, 1)),
    "explain": (("explain", "gpus"), (0,)),
    "profiles list": (("profiles", "list"), (0,)),
    "help of collect": (("collect", "--help"), (0,)),
    "audit": (("audit", STUDY), (1,)),
    "cancel": (("cancel", STUDY), (0,)),
    "capsule of nothing": (("capsule", STUDY, "--author", "Ada", "--license", "MIT"), (2,)),
    "compare": (("compare", STUDY, STUDY), (1,)),
    "completion": (("completion", "show", "bash"), (0,)),
    "data list": (("data", "list"), (0,)),
    "drop nothing": (("drop", STUDY, "gpus==16"), (2,)),
    "gate": (("gate", STUDY, "--against", STUDY), (2,)),
    "next": (("next", STUDY), (2,)),
    "open nothing": (("open", STUDY), (1,)),
    "render-diff": (("render-diff", STUDY, STUDY), (0,)),
    "report of nothing": (("report", STUDY), (1,)),
    "reproduce nothing": (("reproduce", "none.zip"), (2,)),
    "help of resume": (("resume", "--help"), (0,)),
    "simulate": (("simulate", "partition=vector_t4v2", "gpus=1,2,4", "--no-figure"), (0,)),
}
"""The words of each, and the exit codes that are right. A test holds that no verb is missing."""


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write what was asked for."""
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=120, help="no round begins that would end later")
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(COMMANDS), help="these commands alone")
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        run = partial(
            ran,
            cwd=home,
            XDG_CACHE_HOME=str(home / "cache"),
            PYTHONPYCACHEPREFIX=str(home / "bytecode"),
            PYTHONDONTWRITEBYTECODE="",
        )
        ways = {FLOOR: partial(run, [sys.executable, "-c", FLOOR])}
        ways |= {name: partial(run, verb(*COMMANDS[name][0]), may_exit=COMMANDS[name][1]) for name in args.only}
        run(verb(*EXAMPLE, "dry_run=true"))  # the study that verbs look at
        for turn in ways.values():
            turn()
        turns = interleaved(with_control(ways, FLOOR), rounds=args.rounds, seconds=args.seconds)
    table = compared("Start of a command", turns, FLOOR, by="cpu", goals=dict.fromkeys(args.only, GOAL))
    report({"ways": summary(turns, FLOOR)}, args, table)


if __name__ == "__main__":
    main()
