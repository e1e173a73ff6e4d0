"""The verb `next`: what a study knows of a question by now, and which cells would narrow it most. It runs nothing."""

import json
from typing import Annotated

import typer

from launchers.checked import to_plain
from launchers.errors import UserError
from launchers.invocation import called
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.options.study import StudyName
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.store import open_study
from vit_sweep.submit.deciding import lines


def next_cells(
    study: StudyName,
    *,
    until: Annotated[
        str | None, typer.Option(help='A question, "efficiency(64) +- 3 %"; default: the one that the study was asked.')
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="GPU-hours of the whole study; default: its own.")] = None,
    most: Annotated[int | None, typer.Option(min=1, max=1000, help="Runs of a cell at most; default: its own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
) -> None:
    """Propose the cells that narrow a study's answer most for their GPU-hours, and say why. Nothing is run."""
    from vit_sweep.submit.question import propose

    require_extra("report")
    opened = open_study(study)
    proposal = propose(opened, until=until, budget=budget, most=most)
    if proposal.entry is None:
        raise UserError(f"study {opened.name}: some of its cells have not ended; {called()} status {study}")
    if as_json:
        typer.echo(json.dumps(to_plain(proposal.entry), indent=1, allow_nan=False))
        return
    console = show.console()
    for line in lines(proposal.entry):
        console.print(line, soft_wrap=not console.is_terminal)
    rule = opened.decide_rule()
    if not proposal.entry.settled and rule is not None and rule == proposal.entry.rule:
        console.print(f"  to run them: {called()} resume {study}", soft_wrap=True)
