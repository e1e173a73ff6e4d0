"""The verbs: look at a study, rebuild its tables, end its jobs, fetch data. An edge; typer reads the words.

Only the file of the verb that was typed is imported: to import and inspect all of them takes three times as long.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import typer

from vit_sweep.cli.terminal.help_text import examples
from vit_sweep.cli.terminal.options.as_typed import take_text_as_typed
from vit_sweep.cli.terminal.options.completing import Root
from vit_sweep.cli.verbs import APP, VERBS, Verb


def app_with(names: Iterable[str] = tuple(VERBS)) -> typer.Typer:
    """The command with these verbs; without `names` with all of them."""
    take_text_as_typed()
    app = typer.Typer(
        cls=Root,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Scaling studies of Vision Transformers. A grid runs with: vit_sweep -m gpus=1,2 batch=16,32",
    )
    app.callback()(_root)
    for name in names:
        _add(app, name, VERBS[name])
    return app


def _add(app: typer.Typer, name: str, verb: Verb) -> None:
    function: Any = getattr(import_module(f"vit_sweep.cli.{verb.file}"), verb.function or name.replace("-", "_"))
    if verb.function == APP:
        app.add_typer(function, name=name)
        return
    settings = {"allow_extra_args": True, "ignore_unknown_options": True} if verb.takes_words else None
    app.command(name, epilog=examples(*verb.examples), context_settings=settings)(function)


def _root() -> None:
    """Scaling studies of Vision Transformers."""
