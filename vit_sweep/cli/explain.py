"""The verb `explain`: what a key of a command means. An edge."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vit_sweep.cli.terminal.console import console as the_console

if TYPE_CHECKING:
    # It imports Hydra, which other verbs do not need.
    from vit_sweep.config.explain import Key

_NARROW = 80
"""Characters of a terminal from which on a meaning has room beside its key."""


def explain(
    keys: Annotated[list[str] | None, typer.Argument(help="Keys: gpus, model.layers, partition. Default: all.")] = None,
) -> None:
    """Say what a key means, what it takes, its default and its unit; without one, a line for each key."""
    from vit_sweep.config.explain import all_keys
    from vit_sweep.config.explain import explain as explain_key

    console = the_console()
    if not keys and console.width < _NARROW:
        for key in all_keys():
            console.print(Text(key.name, "bold"), Padding(Text(key.meaning), (0, 0, 0, 4)), sep="\n")
        return
    if not keys:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column()
        for key in all_keys():
            table.add_row(key.name, key.meaning)
        console.print(table)
        return
    for explained in [explain_key(name) for name in keys]:
        console.print(Text.assemble((explained.name, "bold"), f"  {explained.meaning}"))
        console.print(_details(explained))
        console.print()


def _details(key: "Key") -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for value, meaning in key.values:
        table.add_row(value, meaning)
    for title, text in (("takes", "" if key.values else key.takes), ("unit", key.unit), ("default", key.default)):
        if text:
            table.add_row(title, text)
    return table
