"""Where every command prints, apart from what it prints: to import that takes as long as some verbs do. An edge."""

import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from launchers.text import visible

_PLAIN_WIDTH = 160
_BAR_FROM = 500
"""Cells or records from which on they take long enough for a progress bar."""
_T = TypeVar("_T")


class _Console(Console):
    """Prints what stands in files: their control characters are shown and never reach the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            plain = segment.control or segment.text.isprintable()
            yield segment if plain else segment._replace(text=visible(segment.text))


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """The console of every command: a log has the width that COLUMNS says, or else enough for a table.

    `stderr`: where stdout holds an object for programs and nothing else. `quiet`: it prints nothing.
    """
    # No markup, no emoji: paths have square brackets of their own, and `my_models:tiger:` is no animal.
    make_console = partial(_Console, markup=False, emoji=False, highlight=False, stderr=stderr, quiet=quiet)
    terminal = make_console()
    has_width = terminal.is_terminal or os.environ.get("COLUMNS", "").isdigit()
    return terminal if has_width else make_console(width=_PLAIN_WIDTH)


def with_bar(console: Console, doing: str, items: Iterable[_T], total: int) -> Iterable[_T]:
    """Pass `total` items on; while they last, a terminal shows how many are done and how long the rest takes."""
    if not console.is_terminal or total < _BAR_FROM:
        return items
    from rich.progress import track

    return track(items, doing, total=total, console=console, transient=True)
