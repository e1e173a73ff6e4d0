"""The verb `render-diff`: what a change does to the scripts. An edge."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from launchers.text import visible
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.render_diff import Change
from vit_sweep.cli.terminal.render_diff import render_diff as diff_of
from vit_sweep.cli.terminal.render_diff import render_diff_of_each as diff_of_each


def render_diff(
    context: typer.Context,
    old: Annotated[str, typer.Argument(help="A study, or a git revision of this checkout.")],
    new: Annotated[str, typer.Argument(help="The other one.")],
    *,
    partitions: Annotated[
        bool,
        typer.Option("--partitions", help="Every partition of two revisions, new ones too; Markdown, for a summary."),
    ] = False,
) -> None:
    """Show what a change does to the scripts: exit 0 if nothing, 1 with a diff, 2 if something cannot be rendered.

    Revisions need the sweep's words.
    """
    console = show.console()
    if partitions:
        raise typer.Exit(_markdown(console, diff_of_each(old, new, context.args)))
    text = diff_of(old, new, context.args)
    if text and console.is_terminal:
        from rich.syntax import Syntax

        console.print(Syntax(text, "diff", background_color="default"))
    elif text:
        console.print(text, soft_wrap=True)
    else:
        console.print("the scripts are the same")
    raise typer.Exit(1 if text else 0)


def _markdown(console: Console, changes: Sequence[Change]) -> int:
    """Print a section for each partition, those that cannot be rendered first; returns the exit code."""
    for change in sorted(changes, key=lambda change: not change.problem):
        console.print(f"## {change.partition}: {change.state}\n", soft_wrap=True)
        if content := visible(change.problem) or change.diff:
            console.print(f"```{'' if change.problem else 'diff'}\n{content.rstrip()}\n```\n", soft_wrap=True)
    if any(change.problem for change in changes):
        return 2
    return 1 if any(change.diff for change in changes) else 0
