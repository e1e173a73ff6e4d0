"""Help as its reader can use it: examples in the words that called us, lines that fit the terminal. An edge."""

import re
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any

from launchers.invocation import SCRIPT, called

if TYPE_CHECKING:
    import typer

_OURS = re.compile(rf"(?<![\w/.-]){SCRIPT}(?= [\w-])")
_QUOTED = re.compile(r"'[^']*'")
_GLUE = "\N{NO-BREAK SPACE}"
_GAP = re.compile(r"(?<=\S)\s{2,}(?=\S)")
_NARROWEST = 30
"""Characters of a column that text is broken in."""


def examples(*commands: str) -> str:
    """The last lines of a verb's help: commands that can be copied, one a line."""
    return "\n\n".join([f"{'Example' if len(commands) == 1 else 'Examples'}:", *(f"{SCRIPT} {c}" for c in commands)])


def verbs_of(app: "typer.Typer") -> Any:
    """The verbs, their help in the words that called us."""
    import typer

    root = typer.main.get_command(app)
    if called() != SCRIPT:
        _respell(root)
    return root


def _respell(command: Any) -> None:
    command.epilog = as_called(command.epilog) if command.epilog else command.epilog
    command.help = as_called(command.help) if command.help else command.help
    for child in getattr(command, "commands", {}).values():
        _respell(child)


def as_called(text: str) -> str:
    """The commands of a text as this process was called; the name of the project stays."""
    return _OURS.sub(called(), text)


def fitted(text: str, width: int) -> str:
    """A text of lines, those that are too long broken between words, commands so that they can be copied.

    Lines in a row that have a gap are a table: where one is too long, what follows the gaps is broken in its column,
    or goes below, of all of them alike.

    >>> print(fitted("  plan -m KEY=VALUES   what a sweep would do\\n  list                 studies", 30))
      plan -m KEY=VALUES
          what a sweep would do
      list
          studies
    """
    return "\n".join(
        piece
        for is_table, lines in groupby(text.split("\n"), key=lambda line: _GAP.search(line) is not None)
        for piece in (_table([*lines], width) if is_table else (p for line in lines for p in _pieces(line, width)))
    )


def _table(lines: list[str], width: int) -> list[str]:
    if max(map(len, lines)) <= width:
        return lines
    cells = [[line[: gap.start()], line[gap.end() :]] for line in lines for gap in [[*_GAP.finditer(line)][-1]]]
    places = [[*_GAP.finditer(line)][-1].end() for line in lines]
    column = max(places, key=places.count)
    if width - column < _NARROWEST:
        column = 0
    fitting: list[str] = []
    for before, after in cells:
        gap = _GAP.search(before)
        below = column or (gap.end() if gap else len(before) - len(before.lstrip())) + 4
        pieces = _pieces(before, width)
        meaning = _broken(after, width, below, below)
        if column and len(pieces) == 1 and len(before) + 2 <= column:
            meaning[0] = pieces.pop().ljust(column) + meaning[0].lstrip()
        fitting += [*pieces, *meaning]
    return fitting


def _pieces(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = len(line) - len(line.lstrip())
    if not (indent and line.lstrip().startswith(f"{called()} ")):
        return _broken(line.strip(), width, indent, indent + 2)
    # A shell takes the lines together; what it quotes stays in one.
    glued = _QUOTED.sub(lambda quoted: quoted[0].replace(" ", _GLUE), line.strip())
    *lines, last = _broken(glued, width - 2, indent, indent + 2)
    return [text.replace(_GLUE, " ") for text in (*(f"{text} \\" for text in lines), last)]


def _broken(text: str, width: int, first: int, hanging: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * first,
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
