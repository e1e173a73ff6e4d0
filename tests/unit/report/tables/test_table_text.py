"""Tables as text and files: what people read is rounded by its interval, what programs read is whole."""

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from launchers.text import visible
from tests.unit.analysis.builders import run, without_time
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_intervals
from vit_sweep.cli.terminal import show
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.table_files import kind_of, to_parquet, write_tables
from vit_sweep.report.tables.form.table import Column, Table, table
from vit_sweep.report.tables.form.text import latex, to_csv, to_latex, to_markdown
from vit_sweep.report.tables.scaling import scaling_table


def printed(*runs, width=160):
    """What a terminal shows of them."""
    console = Console(file=io.StringIO(), width=width)
    console.print(show.scaling(strong(*runs)))
    return console.file.getvalue()


def strong(*runs):
    """The strong table of these runs, intervals included."""
    return scaling_table([with_intervals(curve) for curve in group(runs, Scaling.STRONG)], (), Scaling.STRONG)


REPEATED = strong(*(run(gpus, (10.0 / gpus + seed / 10,), seed=seed) for gpus in (1, 2) for seed in range(3)))
SINGLE = strong(run(1, (10.0,)), run(2, (6.0,), note="50 % & more_words #1 {x} $5 ~ ^ \\ <a|b>"))


def test_csv_holds_every_column_in_full_precision():
    read = list(csv.DictReader(io.StringIO(to_csv(REPEATED))))
    assert list(read[0]) == [column.name for column in REPEATED.columns]
    for line, row in zip(read, REPEATED.rows, strict=True):
        for name in ("epoch_s", "epoch_s_low", "speedup", "efficiency_high"):
            assert line[name] == ("" if row[name] is None else repr(row[name]))


@given(st.lists(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), min_size=2, max_size=2)))
def test_csv_is_what_the_standard_library_writes(rows):
    made = Table(
        name="t",
        title="T",
        columns=(Column(name="a"), Column(name="b")),
        values={"a": [r[0] for r in rows], "b": [r[1] for r in rows]},
    )
    told = [[guarded(value) if isinstance(value, str) else value for value in row] for row in rows]
    expected = io.StringIO()
    csv.writer(expected, lineterminator="\n").writerows([["a", "b"], *told])
    assert to_csv(made) == expected.getvalue()


@given(st.lists(st.floats() | st.none(), min_size=1))
def test_numbers_in_csv_are_as_python_says_them(numbers):
    made = Table(name="t", title="T", columns=(Column(name="a"), Column(name="b")), values={"a": numbers, "b": numbers})
    read = list(csv.reader(io.StringIO(to_csv(made))))[1:]
    assert [row[0] for row in read] == ["" if number is None else repr(number) for number in numbers]


def guarded(text):
    """No formula, and nothing that moves a cursor."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@", "\t")) else shown


def test_markdown_is_a_table_of_equally_many_fields_with_the_intervals_in_it():
    text = to_markdown(SINGLE)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 4
    assert "model=vit_b_16" in text
    assert "6 [n=1]" in text
    assert "\\<a\\|b\\>" in text
    assert re.search(r"5\.10 \[4\.97, 5\.23\]", to_markdown(REPEATED))


def test_latex_has_booktabs_rules_a_caption_a_label_and_equally_many_fields():
    text = to_latex(SINGLE)
    for command in ("\\toprule", "\\midrule", "\\bottomrule", "\\label{tab:strong}", "\\caption{Strong scaling"):
        assert text.count(command) == 1
    columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1])
    body = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(body) == 3
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {columns - 1}
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")


def test_latex_escapes_whatever_means_something_to_it():
    assert latex("50 % & a_b #1 {x} $5 ~ ^ \\") == (
        r"50 \% \& a\_b \#1 \{x\} \$5 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert "more\\_words" in to_latex(SINGLE)


def test_parquet_comes_back_with_types_values_and_units(tmp_path):
    (tmp_path / "t.parquet").write_bytes(to_parquet(REPEATED))
    read = pq.read_table(tmp_path / "t.parquet")
    assert read.to_pylist() == [dict(row) for row in REPEATED.rows]
    assert str(read.schema.field("epoch_s").type) == "double"
    assert str(read.schema.field("gpus").type) == "int64"
    assert str(read.schema.field("oversubscribed").type) == "bool"
    for column in REPEATED.columns:
        about = read.schema.field(column.name).metadata
        assert about[b"unit"].decode() == column.unit
        assert about[b"meaning"].decode() == column.meaning
    assert read.schema.metadata[b"title"].decode() == REPEATED.title
    assert json.loads(read.schema.metadata[b"notes"]) == list(REPEATED.notes)


def test_a_column_of_several_kinds_is_text_in_parquet():
    known = {"mixed": Column(name="mixed", title="mixed", meaning="Anything.")}
    made = table("runs", "Mixed", ["mixed"], [{"mixed": 1}, {"mixed": "one"}, {"mixed": None}], known=known)
    assert pq.read_table(io.BytesIO(to_parquet(made))).to_pylist() == [
        {"mixed": "1"},
        {"mixed": "one"},
        {"mixed": None},
    ]


_VALUES = st.one_of(
    st.lists(st.none() | st.booleans()),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)),
    st.lists(st.none() | st.text(st.characters(codec="utf-8"))),
)


@given(_VALUES)
def test_a_parquet_file_is_what_arrow_makes_of_the_values_itself(values):
    kind = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}[kind_of(values)]
    made = Table(name="t", title="T", columns=(Column(name="c"),), values={"c": values})
    read = pq.read_table(io.BytesIO(to_parquet(made))).column("c")
    assert read.type == kind
    assert read.combine_chunks().equals(pa.array(values, type=kind))


def test_tables_are_written_without_pandas(tmp_path):
    probe = (
        "import sys; from pathlib import Path; from tests.unit.report.tables.test_table_text import REPEATED\n"
        "from vit_sweep.report.table_files import write_tables\n"
        "write_tables([REPEATED], Path(sys.argv[1])); sys.exit('pandas' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", probe, tmp_path], check=True)


def test_files_of_a_table_that_is_no_more_are_removed_and_no_others(tmp_path):
    first = write_tables([REPEATED], tmp_path)
    assert sorted(path.name for path in first) == ["strong.csv", "strong.md", "strong.parquet", "strong.tex"]
    (tmp_path / "mine.csv").write_text("kept")
    assert write_tables([], tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]


def test_a_table_without_rows_is_none():
    assert scaling_table((), (), Scaling.STRONG) is None


def test_the_terminal_shows_intervals_and_says_what_is_equal_once():
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(show.scaling(REPEATED))
    text = console.export_text()
    assert "5.10 [4.97, 5.23]" in text
    assert text.count("vit_b_16") == 1


def test_no_number_is_broken_on_a_narrow_terminal():
    """What says nothing row by row stands above; a note gives way first."""
    runs = [
        run(
            gpus,
            (1478.3 / gpus,),
            nodes=gpus,
            micro_batch=batch,
            images=images,
            test_accuracy=(0.7 + gpus / 100,),
            train_accuracy=(0.8 + gpus / 100,),
        )
        for gpus in (1, 2, 4)
        for batch, images in ((16, 51_200), (128, 12_800))
    ]
    console = Console(width=72, record=True, file=io.StringIO())
    drawn = strong(*runs)
    noted = drawn.values | {"note": ["11% repeated images"] * drawn.height}
    console.print(show.scaling(replace(drawn, values=noted)))
    text = console.export_text()
    assert text.count("n=1") == 1 and "[n=1]" not in text and "11%" in text
    for row in drawn.rows:
        assert f" {row['images_per_s']:.4g} " in text and f" {row['epoch_s']:.4g} " in text


def test_the_terminal_says_why_nothing_is_compared():
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(show.scaling(strong(without_time(1), run(2, (5.0,)))))
    assert "no baseline: gpus=1" in console.export_text()


def test_a_terminal_marks_rows_by_the_names_of_their_flags():
    """Efficiency 125 %: far beyond what repeats differ by."""
    flags = ("host contended: rank 0 on node0 (no core for 23% of the time, load 13.0 on 8 cores)",)
    text = printed(run(1, (10.0,)), run(2, (4.0,), note="11% repeated images"), run(4, (3.0,), flags=flags))
    assert "superlinear; 11% repeated images" in text and "23%" not in text
    assert re.search(r"4 .* host contended", text)
    assert "img/s" in printed(run(1, (10.0,)), run(2, (4.0,)), width=80)
