"""Tables fit terminals of any width: no number and no word is broken, no line is longer, what leaves is named."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vit_sweep.cli.terminal.fit_width import Column, Fitted, Role

WORDS = st.text("abc", min_size=1, max_size=8)


def printed(table, width):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@st.composite
def tables(draw):
    """A key and some columns of each role, of two to five rows."""
    rows = draw(st.integers(2, 5))

    def values(kind):
        return tuple(draw(st.lists(kind, min_size=rows, max_size=rows)))

    numbers, sentences = st.integers(0, 99_999).map(str), st.lists(WORDS, max_size=8).map(" ".join)
    columns = [Column("key", values(WORDS), Role.KEY, is_text=True)]
    for number in range(draw(st.integers(0, 6))):
        columns.append(Column(f"m{number} and unit", values(numbers), rank=number))
    for number in range(draw(st.integers(0, 2))):
        columns.append(Column(f"condition{number}", values(st.sampled_from(["x", "y"])), Role.CONDITION, is_text=True))
    for number in range(draw(st.integers(0, 2))):
        columns.append(Column(f"remarks{number}", values(sentences), Role.REMARK))
    return columns


@given(tables(), st.integers(40, 200))
def test_every_value_is_whole_or_its_column_is_named_as_left_out(columns, width):
    lines = printed(Fitted(tuple(columns), left_out="LEFT {}"), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    gone = re.search(r"^LEFT ((?:.|\n)*)", text, re.MULTILINE)
    left_out = " ".join(gone[1].split()) if gone else ""
    words = text.split()
    for column in columns:
        if column.heading not in left_out:
            for value in " ".join(column.values).split():
                assert value in words or f"{value}," in words, (column.heading, value)


def test_headings_are_broken_before_intervals_leave_and_these_before_any_column():
    columns = (
        Column("GPUs", ("1", "2"), Role.KEY),
        Column("epoch time", ("10.5 [10.1, 10.9]", "5.2 [5.1, 5.4]"), short=("10.5", "5.2"), role=Role.KEY),
        Column("speedup", ("1", "2.02")),
    )
    assert printed(Fitted(columns), 80)[0] == "GPUs        epoch time speedup"
    assert [printed(Fitted(columns), width)[0].split() for width in (31, 20)] == [
        ["GPUs", "epoch", "time", "speedup"],
        ["epoch"],
    ]
    assert "[10.1, 10.9]" not in "".join(printed(Fitted(columns), 20))
    assert "a wider terminal shows speedup" in " ".join(printed(Fitted(columns), 12))


def test_conditions_become_headings_above_their_rows_in_columns_that_stand_below_each_other():
    columns = (
        Column("engine", ("zero0", "zero0", "zero1"), Role.CONDITION, is_text=True),
        Column("precision", ("fp32",) * 3, Role.CONDITION, is_text=True),
        Column("GPUs", ("1", "16", "2"), Role.KEY),
        Column("epoch", ("1000.5", "70.5", "500.5"), Role.KEY),
    )
    assert printed(Fitted(columns), 22) == [
        "engine zero0,",
        "precision fp32",
        "GPUs  epoch",
        "   1 1000.5",
        "  16   70.5",
        "engine zero1,",
        "precision fp32",
        "   2  500.5",
    ]


def test_long_remarks_become_notes_each_said_once():
    remark = "oversubscribed: 4 ranks on 2 cores"
    columns = (
        Column("cell", ("n1-g4-mb16", "n1-g4-mb32", "n1-g1"), Role.KEY, is_text=True),
        Column("remarks", (remark, remark, ""), Role.REMARK),
    )
    lines = printed(Fitted(columns), 30)
    assert sum("1)" in line for line in lines) == 3
    assert " ".join(lines).count("oversubscribed") == 1
    assert lines[-2:] == ["1) oversubscribed: 4 ranks on", "2 cores"]


@pytest.mark.parametrize("width", [30, 60])
def test_a_table_of_sentences_becomes_blocks_of_lines(width):
    columns = (
        Column("", ("wrong",), Role.KEY, is_text=True),
        Column("seen", ("no torch in this interpreter",), Role.REMARK),
        Column("what to do", ("pip install 'vit_sweep[train]'",), Role.REMARK),
    )
    lines = printed(Fitted(columns, stacks=True), width)
    assert (lines[0] == "wrong") == (width == 30)
    assert "pip install" in " ".join(lines)
