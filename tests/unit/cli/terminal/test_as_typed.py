"""Text reaches a verb as it was typed, and nothing as nothing, as typer itself would hand it over."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest
import typer
import typer.core
from typer.testing import CliRunner

from vit_sweep.cli.terminal.options import as_typed


class Colour(StrEnum):
    RED = "red"


def answer(words, *, ours):
    """What a verb is given, and how the command ends."""
    app, seen = typer.Typer(), []

    @app.command()
    def verb(
        first: str,
        more: Annotated[list[str] | None, typer.Argument()] = None,
        *,
        name: str = "none",
        names: Annotated[list[str] | None, typer.Option("--of")] = None,
        size: Annotated[int | None, typer.Option(min=1)] = None,
        place: Path | None = None,
        places: Annotated[list[Path] | None, typer.Option("--at")] = None,
        there: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
        most: Annotated[int, typer.Option(min=1)] = 9,
        part: float = 0.5,
        home: Path = Path("home"),
        shade: Colour = Colour.RED,
        colour: Colour | None = None,
        on: bool = False,
        parsed: Annotated[str | None, typer.Option(parser=str.upper)] = None,
    ) -> None:
        seen.append((first, more, name, names, size, place, colour, on, parsed, places, there, most, part, home, shade))

    with pytest.MonkeyPatch.context() as patch:
        real = typer.core.build_runtime_param
        judge = real.args[0] if isinstance(real, partial) else real
        patch.setattr(typer.core, "build_runtime_param", judge)
        if ours:
            as_typed.take_text_as_typed()
            assert typer.core.build_runtime_param is not judge
        result = CliRunner().invoke(app, words)
    return seen, result.exit_code, result.output


WORDS = [
    ["a"],
    ["a", "b", "c"],
    ["", "--name", ""],
    ["1", "--name", "2", "--of", "x", "--of", "y", "--on"],
    ["a", "--size", "3", "--place", "here", "--colour", "red", "--parsed", "abc"],
    ["a", "--at", "here", "--at", "", "--most", "7", "--part", "1", "--home", "~"],
    ["a", "--there", "here"],
    ["a", "--there", "."],
    ["a", "--place", ".", "--home", "/dev/null"],
    ["a", "--most", "0"],
    ["a", "--part", "x"],
    ["a", "--size", "0"],
    ["a", "--size", "many"],
    ["a", "--colour", "green"],
    [],
    ["a", "--name"],
    ["--help"],
]


@pytest.mark.skipif(not hasattr(typer.core, "build_runtime_param"), reason="this typer imports no pydantic")
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_verb_gets_what_typer_would_give_it(words):
    assert answer(words, ours=True) == answer(words, ours=False)
