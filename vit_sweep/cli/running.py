"""The verbs that run a study or change what it runs: `plan`, `resume`, `cancel`, `drop`. An edge."""

from typing import Annotated

import typer

from launchers.text import plural
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.options.completing import sweep_words
from vit_sweep.cli.terminal.options.study import Quiet, StudyName, Trust
from vit_sweep.outcome.selection import Rerun, Retry
from vit_sweep.study.store import open_study


def plan(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(autocompletion=sweep_words, help="The sweep's words.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs: dry_run=json.")] = False,
    whole: Annotated[bool, typer.Option("--all", help="A row for each cell of a long grid too: plan=all.")] = False,
) -> None:
    """Show what a sweep would do: its words follow, and nothing is submitted. The same as dry_run=true among them."""
    options = {"--json": as_json, "--all": whole}
    overrides = [*(words or ()), *context.args, *(option for option, is_given in options.items() if is_given)]
    raise typer.Exit(context.obj(overrides))


def _retry(name: str) -> Retry:
    """Not typer's own choice of an enum, which would refuse the words of earlier versions."""
    try:
        return Retry(name)
    except ValueError:
        raise typer.BadParameter(f"{name} is not one of {', '.join(Retry)}") from None


def resume(
    study: StudyName,
    *,
    retry: Annotated[
        Retry | None,
        typer.Option(parser=_retry, metavar=f"[{'|'.join(Retry)}]", help="Ended cells that run again too."),
    ] = None,
    rerun: Annotated[Rerun | None, typer.Option(help="Finished cells that run again too.")] = None,
    minutes: Annotated[int | None, typer.Option(min=1, help="Time limit of the new jobs.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until all cells have ended.")] = True,
    quiet: Quiet = False,
    trust: Trust = False,
) -> None:
    """Run what a study still lacks, from its own files: nothing that is done or under way runs twice."""
    from vit_sweep.cli.sweep import resume as resume_study

    opened = open_study(study)
    code = resume_study(opened, retry=retry, rerun=rerun, minutes=minutes, wait=wait, quiet=quiet, trust=trust)
    raise typer.Exit(code)


def cancel(
    study: StudyName,
    cells: Annotated[
        list[str] | None, typer.Option(help="Cell ids or patterns like 'n1-g8-*'; several times. Default: all.")
    ] = None,
) -> None:
    """End queued and running jobs of a study; what has finished is kept."""
    from vit_sweep.submit.cancel import cancel as cancel_cells

    opened = open_study(study)
    count = cancel_cells(opened, cells)
    show.console().print(f"{plural(count, 'cell')} of study {opened.name} cancelled")


def drop(
    study: StudyName,
    where: Annotated[
        list[str], typer.Argument(metavar="CONDITION", help="Conditions over axes, as exclude= takes them: 'gpus==8'.")
    ],
) -> None:
    """Take points out of a study: its tables and resume know them no more. Records and journal stay; the sweep's own
    command brings them back."""
    from vit_sweep.submit.dropping import drop as drop_points

    opened = open_study(study)
    gone = drop_points(opened, where)
    kept = f", {gone.records} of them with a record, which its folder keeps" if gone.records else ""
    show.console().print(
        f"taken out of study {opened.name}: {plural(gone.points, 'point')}, {plural(gone.cells, 'cell')}{kept}",
        soft_wrap=True,
    )
