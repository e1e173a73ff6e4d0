"""Whoever runs a study that they did not plan sees first what would run, and agrees. An edge: it asks a person."""

import os
import sys

from rich.console import Console

from launchers.errors import ConsentError
from vit_sweep.study.status import settled_results
from vit_sweep.study.store import Study
from vit_sweep.study.trust import Program, programs, remember, untrusted, what_runs


def agree(study: Study, console: Console, *, trust: bool) -> None:
    """Return where this user lets the study's plan run: said before, by `trust`, or now on a terminal.

    Raises `ConsentError` otherwise.
    """
    unknown = _unknown(study)
    if not unknown or not os.access(study.folder, os.W_OK):  # who may not write it runs nothing of it
        return
    console.print(f"study {study.name} was not planned by you here, or was changed since; its jobs would run:")
    for program in unknown:
        for line in what_runs(program):
            console.print(line, soft_wrap=True)
    if not trust and not _agreed(console):
        raise ConsentError(
            f"study {study.name} names programs that you have not let it run (they are listed above); if they may run "
            "as you:"
        )
    remember(study.folder, unknown)


def agree_to_tend(study: Study, console: Console, *, trust: bool) -> None:
    """The same for whoever watches: a study where no cell can be started again is only read."""
    # Only then: asking the scheduler takes a while.
    if _unknown(study) and (
        trust or study.repeat_rule() is not None or any(r.status.under_way for r in settled_results(study))
    ):
        agree(study, console, trust=trust)


def _unknown(study: Study) -> list[Program]:
    plan = study.plan_file()
    if plan is None:
        return []
    return untrusted(study.folder, programs(plan.profiles, (file.cell for file in study.cell_files())))


def _agreed(console: Console) -> bool:
    if not (sys.stdin.isatty() and console.is_terminal):
        return False
    try:
        return console.input("Run this as you? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
