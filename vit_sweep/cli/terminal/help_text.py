"""Help as its reader can use it: examples in the words that called us, lines that fit the terminal. An edge."""

import re
import textwrap
from typing import TYPE_CHECKING, Any

from launchers.calling import SCRIPT, called

if TYPE_CHECKING:
    import typer

_OURS = re.compile(rf"(?<![\w/.-]){SCRIPT}(?= [\w-])")
_QUOTED = re.compile(r"'[^']*'")
_GLUE = "\N{NO-BREAK SPACE}"
_GAP = re.compile(r"(?<=\S)\s{2,}(?=\S)")


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
    """A text of lines, those that are too long broken between words, commands so that they can be copied; what follows
    a gap goes below as a whole.

    >>> print(fitted("  plan -m KEY=VALUES   what a sweep would do", 30))
      plan -m KEY=VALUES
            what a sweep would do
    """
    return "\n".join(piece for line in text.split("\n") for piece in _pieces(line, width))


def _pieces(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    starts = [len(line) - len(line.lstrip()), *(gap.end() for gap in _GAP.finditer(line))]
    if len(starts) > 1:
        below = starts[-2] + 6
        return [*_pieces(line[: starts[-1]].rstrip(), width), *_broken(line[starts[-1] :], width, below, below)]
    if not line.lstrip().startswith(f"{called()} "):
        return _broken(line.strip(), width, starts[0], starts[0] + 2)
    # A shell takes the lines together; what it quotes stays in one.
    whole = _QUOTED.sub(lambda quoted: quoted[0].replace(" ", _GLUE), line.strip())
    *lines, last = _broken(whole, width - 2, starts[0], starts[0] + 2)
    return [text.replace(_GLUE, " ") for text in (*(f"{text} \\" for text in lines), last)]


def _broken(text: str, width: int, first: int, rest: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * first,
        subsequent_indent=" " * rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
