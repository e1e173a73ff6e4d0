"""Completion of a shell's line: verbs, studies, keys and their values. An edge; typer speaks to the shells."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from typer._completion_classes import completion_init
from typer.core import TyperGroup

VARIABLE = "_VIT_SWEEP_COMPLETE"
"""How a shell says that it wants completions, not a run."""


def begin() -> None:
    """Let typer know the shells, as it does by itself where its own options install completion."""
    completion_init()


class Item(NamedTuple):
    """A completion, with the names of typer's own."""

    value: str
    type: str = "plain"
    help: str | None = None


class Root(TyperGroup):
    """The verbs, and the words of a sweep, which has none."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """What may follow: verbs only at the first place, keys and values everywhere."""
        before, prefix = _line(os.environ, incomplete)
        verbs = [] if before else super().shell_complete(ctx, incomplete)
        return [*verbs, *map(Item, words(prefix, completed=incomplete))]


def words(prefix: str, *, completed: str) -> list[str]:
    """Completions of a sweep's word, without that beginning of it which the shell takes for a word of its own.

    `completed`: what the shell completes.
    """
    from vit_sweep.config.completing import complete

    cut = len(prefix) - len(completed)
    return [word[cut:] for word in complete(prefix)]


def sweep_words(incomplete: str) -> list[str]:
    """The same behind a verb that takes a sweep's words."""
    _, prefix = _line(os.environ, incomplete)
    return words(prefix, completed=incomplete)


def studies(incomplete: str) -> list[str]:
    """Names of the studies that lie here."""
    return sorted(
        path.parent.name for path in Path("outputs").glob("*/study.json") if path.parent.name.startswith(incomplete)
    )


def profiles(incomplete: str) -> list[str]:
    """Names of partitions."""
    from vit_sweep.config.completing import menu

    return [name for name in menu("partition") if name.startswith(incomplete)]


def _line(environ: Mapping[str, str], incomplete: str) -> tuple[list[str], str]:
    """The whole words before the one that is completed, and as much of that as is there.

    Bash cuts `model=vit` into three words, and completes the last of them.
    """
    if "COMP_WORDS" not in environ:
        before = environ.get("_TYPER_COMPLETE_ARGS", "").split()[1:]
        return (before[:-1] if incomplete and before[-1:] == [incomplete] else before), incomplete
    cut = environ["COMP_WORDS"].split("\n")[1 : int(environ["COMP_CWORD"]) + 1]
    if cut[-1:] == ["="] or cut[-2:-1] == ["="]:
        start = -2 if cut[-1] == "=" else -3
        return cut[:start], f"{''.join(cut[start:-1])}={incomplete}".replace("==", "=")
    return cut[:-1], incomplete
