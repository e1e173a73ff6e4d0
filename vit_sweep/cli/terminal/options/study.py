"""Words that several verbs take."""

from typing import Annotated

import typer

from vit_sweep.cli.terminal.options.completing import studies

Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run what the study's plan names, though you did not plan it here; it is remembered."),
]
_STUDY = typer.Argument(metavar="STUDY", help="A study's folder, or its name below outputs/.", autocompletion=studies)
StudyName = Annotated[str, _STUDY]
MaybeStudy = Annotated[str | None, _STUDY]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print where the results are and what went wrong, nothing else.")]
