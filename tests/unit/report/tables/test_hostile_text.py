"""Names and notes of others stay text: in a spreadsheet, in Markdown, in LaTeX, on a terminal."""

import csv
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.table import Table

from launchers.text import visible
from vit_sweep.__main__ import main
from vit_sweep.cli.terminal import show
from vit_sweep.report.tables.form.table import Column, table
from vit_sweep.report.tables.form.text import latex, markdown, to_csv, to_latex, to_markdown

LATEX = re.compile(
    r"""(?: \\text(?:backslash|asciitilde|asciicircum|less|greater|bar|mu)\{\} | \\[&%$\#_{}] | \{\}
          | \$(?:\\times|\\pm|-|\\infty)\$ | \$\^\{-?[-0-9]+\}\$ | [^\\&%$\#_{}~^<>|\x00-\x1f\x7f] )*""",
    re.VERBOSE,
)
"""Text that LaTeX reads as text: every character with a meaning is the macro that prints it."""


@given(st.text())
@example("\\input{/etc/passwd}")
@example("[2cm] option of a line break")
@example("*\x1b[2J 世界 ⁻¹²")
def test_latex_is_text_by_grammar(text):
    escaped = latex(text)
    assert LATEX.fullmatch(escaped), escaped
    assert not escaped.startswith(("[", "*"))
    assert escaped.replace("–", "").isascii() or all(char < "\u0100" for char in escaped)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", '=HYPERLINK("http://evil")'])
def test_no_text_of_a_csv_file_is_a_formula(text):
    row = {"a": text, "b": -1.5, "c": "plain"}
    made = table("t", "", tuple(row), [row], known={name: Column(name=name) for name in row})
    _, (first, number, plain) = csv.reader(io.StringIO(to_csv(made)))
    assert (first, number, plain) == (f"'{visible(text)}", "-1.5", "plain")


@pytest.mark.parametrize(
    "text", ["[click](http://evil)", "![x](http://evil)", "`rm -rf`", "<script>", "[1, 2](http://evil)", "**x**"]
)
def test_markdown_of_others_is_no_markup(text):
    assert not re.search(r"(?<!\\)[\[`<*]", markdown(text))


def test_title_cells_and_notes_of_a_table_are_escaped_in_every_form():
    evil = r"=1+1 [x](http://evil) \input{y}"
    known = {name: Column(name=name) for name in ("run", "note")}
    rows = [dict.fromkeys(known, evil), dict.fromkeys(known, "a")]
    made = table("t", f"of {evil}", [*known], rows, known=known, notes=[evil])
    assert list(csv.reader(io.StringIO(to_csv(made))))[1] == [f"'{evil}"] * 2
    assert (to_markdown(made).count(r"\[x](http"), to_markdown(made).count("[x](http")) == (4, 4)
    assert to_latex(made).count(r"\textbackslash{}input\{y\}") == 4
    assert r"\input" not in to_latex(made)


def test_an_interval_keeps_its_brackets():
    assert markdown("12.34 [12.11, 12.56]") == "12.34 [12.11, 12.56]"
    assert markdown("1 234 [n=1]") == "1 234 [n=1]"


@given(st.text())
@example("\u061c\u200e\u200f\u202e\u2066")
def test_no_control_character_reaches_the_terminal(text):
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", visible(text))


def test_the_words_of_an_error_show_escapes_as_signs(capsys):
    assert main(["status", "no study \x1b[2J"]) == 2
    assert "no study ␛[2J is not a study" in capsys.readouterr().err


def test_tables_and_lines_of_a_command_show_escapes_as_signs(capsys):
    console = show.console()
    console.print("my_models:tiger: line \x1b]0;title\x07 \x9b2J")
    show.problems(console, ["file \x1b[2J"])
    table = Table(title="t \x1b[1m")
    table.add_column("a")
    table.add_row("\x1b[31mred")
    console.print(table)
    printed = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed)
    assert "␛[31m" in printed
    assert "my_models:tiger: line" in printed, "as it was given, no drawing of an animal"
