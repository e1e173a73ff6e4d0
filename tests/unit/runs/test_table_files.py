"""Tables as researchers have them are read where they are unambiguous, said aloud, else refused with the flag."""

import gzip
import os
import zipfile

import pandas as pd
import pytest
from openpyxl import Workbook

from launchers.errors import UserError
from vit_sweep.runs import decoding
from vit_sweep.runs.imported import read_csv
from vit_sweep.runs.reshaping import by_epoch, reading_of
from vit_sweep.runs.sources import from_csv

PLAIN = "gpus,batch,accum,epoch,epoch_time_s,note\n1,16,1,1,30.5,é\n1,16,1,2,20.25,\n2,16,1,1,15.5,\n2,16,1,2,10.5,\n"
TIMES = [(30.5, 20.25), (15.5, 10.5)]


def read(tmp_path, data, name="theirs.csv", **options):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_csv(path, reading=reading_of(**options))


def times(imported):
    return [run.epoch_all_s for run in imported.runs]


def semicolons(text):
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (PLAIN.encode("utf-8-sig"), ""),
        (PLAIN.encode("utf-16"), ""),
        (PLAIN.encode("latin-1"), "by detection"),
        (gzip.compress(PLAIN.encode(), mtime=0), "read through gzip"),
        (semicolons(PLAIN).encode(), "columns are separated by semicolons"),
        (semicolons(PLAIN).encode(), "read with decimal commas: 10,5"),
        (PLAIN.replace(",", "\t").encode(), "columns are separated by tabs"),
        (PLAIN.replace(",", " , ").encode(), ""),
        (("sep=;\n" + semicolons(PLAIN)).encode("cp1252"), "columns are separated by semicolons"),
        (("# by their script\n" + PLAIN.replace("2,16", "# 2 GPUs\n2,16", 1)).encode(), "2 comment lines"),
        (PLAIN.replace("\n", "\r\n").encode(), ""),
    ],
)
def test_the_same_table_in_another_dress_is_the_same_table(tmp_path, data, note):
    imported = read(tmp_path, data)
    assert times(imported) == TIMES
    assert not imported.problems
    assert note in "; ".join(imported.notes)
    if not note:
        assert imported.notes == read(tmp_path, PLAIN, "plain.csv").notes


def test_a_sheet_of_a_workbook_is_read_and_several_are_asked_for(tmp_path):
    rows = [line.split(",") for line in PLAIN.splitlines()]
    frame = pd.DataFrame(rows[1:], columns=rows[0])
    path = tmp_path / "theirs.xlsx"
    frame.to_excel(path, index=False)
    assert times(read_csv(path)) == TIMES
    with pd.ExcelWriter(path) as book:
        frame.to_excel(book, sheet_name="runs", index=False)
        pd.DataFrame([["by", "me"]]).to_excel(book, sheet_name="about", index=False)
    imported = read_csv(path)
    assert times(imported) == TIMES
    assert "sheet runs of a workbook" in imported.notes
    with pd.ExcelWriter(path) as book:
        frame.to_excel(book, sheet_name="old", index=False)
        frame.to_excel(book, sheet_name="new", index=False)
    with pytest.raises(UserError, match=r"2 sheets may be meant \(old, new\); name one with --sheet"):
        read_csv(path)
    assert times(read_csv(path, reading=reading_of(sheet="new"))) == TIMES


def test_a_line_keeps_its_number_below_comments_and_blank_lines(tmp_path):
    imported = read(tmp_path, "# theirs\n\ngpus,epoch,epoch_time_s\n\n1,1,30\n1,2,nan\n")
    assert imported.problems[0].startswith("line 6: epoch_time_s=nan")


def test_short_and_long_rows_are_read(tmp_path):
    imported = read(tmp_path, "gpus,epoch,epoch_time_s,note\n1,1,30\n1,2,20,x,y,z\n")
    assert times(imported) == [(30.0, 20.0)]


def test_columns_are_mapped_and_set(tmp_path):
    text = "Num_GPUs,Ep,Seconds\n1,1,30\n1,2,20\n"
    imported = read(
        tmp_path, text, maps=["gpus=num_gpus", "epoch=Ep", "epoch_time_s=seconds"], constants=["data=cifar10"]
    )
    assert times(imported) == [(30.0, 20.0)]
    assert imported.runs[0].condition("data") == "cifar10"
    with pytest.raises(UserError, match=r"no column gpus .*--map gpus=THEIRS or give it with --set gpus=VALUE"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"maps": ["gpus"]}, "--map gpus: write COLUMN=THEIRS"),
        ({"maps": ["gpu=n"]}, "no column is called gpu – did you mean gpus?"),
        ({"maps": ["gpus=nope"]}, "has no such column"),
        ({"constants": ["scaling=both"]}, "--set scaling=both: must be one of strong, weak"),
        ({"decimal": "coma"}, "did you mean comma?"),
    ],
)
def test_a_wrong_option_is_a_sentence(tmp_path, options, reason):
    with pytest.raises(UserError) as caught:
        read(tmp_path, PLAIN, **options)
    assert reason in str(caught.value)


def test_a_comma_that_may_be_decimal_or_thousands_is_not_guessed(tmp_path):
    text = "gpus;epoch;epoch_time_s\n1;1;1,234\n1;2;1,100\n"
    with pytest.raises(UserError, match="1,100 may be a decimal number or thousands; say which with --decimal comma"):
        read(tmp_path, text)
    assert times(read(tmp_path, text, decimal="comma")) == [(1.234, 1.1)]
    assert times(read(tmp_path, text, decimal="point")) == [(1234.0, 1100.0)]


def test_thousands_are_known_by_their_decimal_point(tmp_path):
    imported = read(tmp_path, 'gpus,epoch,epoch_time_s\n1,1,"1,234.5"\n1,2,"1,100.0"\n')
    assert times(imported) == [(1234.5, 1100.0)]
    german = read(tmp_path, "gpus;epoch;epoch_time_s\n1;1;1.234,5\n1;2;1.100,0\n")
    assert times(german) == [(1234.5, 1100.0)]


def test_a_table_with_one_column_per_epoch_becomes_one_row_per_epoch(tmp_path):
    imported = read(tmp_path, "gpus,epoch_1,epoch_2,epoch_3,test_accuracy_2\n1,30,20,21,0.5\n2,16,10,,\n")
    assert times(imported) == [(30.0, 20.0, 21.0), (16.0, 10.0)]
    assert imported.runs[0].test_accuracy == (None, 0.5, None)
    assert any("one column per epoch" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("names", "wide"),
    [
        (["gpus", "1", "2"], True),
        (["gpus", "epoch 1 (s)", "epoch 2 (s)"], True),
        (["gpus", "epoch1_time_s", "epoch2_time_s"], True),
        (["gpus", "e1", "e2"], True),
        (["gpus", "epoch_time_s_1", "epoch_time_s_2"], True),
        (["gpus", "epoch", "1", "2"], False),
        (["gpus", "16", "32"], False),
        (["gpus", "layer_1", "layer_2"], False),
    ],
)
def test_columns_of_epochs_are_known_by_their_numbers(names, wide):
    assert bool(by_epoch(names)) is wide


def test_files_of_different_ranks_are_one_run_and_files_of_one_count_each_are_compared(tmp_path):
    for rank in (0, 1):
        (tmp_path / f"rank{rank}.csv").write_text(
            f"gpus,rank,epoch,epoch_time_s\n2,{rank},1,30\n2,{rank},2,{20 + rank}\n"
        )
    source = from_csv([str(tmp_path / "rank*.csv")])
    assert [run.epoch_all_s for run in source.runs] == [(30.0, 21.0)]
    assert not source.runs[0].flags
    assert any("2 files of different ranks are read as one table" in note for note in source.notes)
    for gpus in (1, 2):
        (tmp_path / f"on{gpus}.csv").write_text(f"gpus,epoch,epoch_time_s\n{gpus},1,{30 / gpus}\n")
    source = from_csv([str(tmp_path / "on*.csv")])
    assert len(source.runs) == 2
    assert not any("there is no baseline" in note for note in source.notes)


def far_apart(path):
    """A workbook of two cells, between which lie 17 thousand million."""
    book = Workbook()
    for row, column in ((1_048_576, 1), (1, 16_384)):
        book.active.cell(row, column, "gpus")
    book.save(path)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("x.csv", os.mkfifo, "cannot read .*: not a regular file"),
        ("x.csv", lambda path: path.symlink_to("/dev/zero"), "cannot read .*: not a regular file"),
        ("x.csv.gz", lambda path: path.write_bytes(gzip.compress(bytes(2 << 20))), "unpacked .* more than 1 MiB"),
        ("x.xlsx", lambda path: zipped(path, bytes(2 << 20)), "unpacked .* more than 1 MiB"),
        ("x.xlsx", far_apart, "1,048,576 rows of up to 16,384 columns"),
        ("x.csv", lambda path: path.write_text("gpus\n1\n" * 6 + "," * 10**7), "13 rows of up to 10,000,001 columns"),
        ("x.csv", lambda path: path.write_text("a," * 10**6 + "\n1\n"), "its first line has 2,000,000 ch"),
    ],
    ids=["a pipe", "a device", "gzip", "zip", "cells far apart", "one long row", "a million columns"],
)
@pytest.mark.usefixtures("bounded")
def test_a_file_that_would_not_end_or_not_fit_is_a_sentence(tmp_path, name, make, reason, monkeypatch):
    monkeypatch.setattr(decoding, "LARGEST", 1 << 20)
    make(tmp_path / name)
    with pytest.raises(UserError, match=reason):
        read_csv(tmp_path / name)


def zipped(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("xl/workbook.xml", content)


DRESSES = {
    "no byte order mark": (PLAIN.replace("é", "").encode("utf-16-le"), "read as utf-16-le, by detection"),
    "big endian without one": (PLAIN.replace("é", "").encode("utf-16-be"), "read as utf-16-be, by detection"),
    "returns alone": (PLAIN.replace("\n", "\r").encode(), ""),
    "a title": (("Results of spring\n\n// run by me\n" + PLAIN).encode(), "2 lines above the names of the columns"),
    "names as people write them": (
        PLAIN.replace("gpus,batch,accum,epoch,epoch_time_s", "GPUs,Batch,Accum,Epoch,Epoch time [s]").encode(),
        "epoch time [s] is read as epoch_time_s",
    ),
    "units behind numbers": (
        PLAIN.replace("30.5", "30.5 s").replace("20.25", "20.25s").encode(),
        "numbers are read without unit and marks of thousands: 20.25s",
    ),
    "milliseconds": (
        PLAIN.replace("epoch_time_s", "epoch_time_ms")
        .replace("30.5", "30500")
        .replace("20.25", "20250")
        .replace("15.5", "15500")
        .replace("10.5", "10500")
        .encode(),
        "epoch_time_ms is read as epoch_time_s, its numbers times 0.001",
    ),
    "an index without a name": (
        "\n".join(f"{i or ''},{line}" for i, line in enumerate(PLAIN.splitlines())).encode(),
        "",
    ),
}


@pytest.mark.parametrize(("data", "note"), DRESSES.values(), ids=DRESSES.keys())
def test_more_dresses_of_the_same_table_are_the_same_table(tmp_path, data, note):
    imported = read(tmp_path, data)
    assert times(imported) == [pytest.approx(seconds) for seconds in TIMES]
    assert not imported.problems
    assert note in "; ".join(imported.notes)


@pytest.mark.parametrize(("text", "seconds"), [("1'234.5", 1234.5), ("1 234.5", 1234.5), ("1\u202f234,5", 1234.5)])
def test_marks_of_thousands_that_are_nothing_else_are_left_out_and_that_is_said(tmp_path, text, seconds):
    imported = read(tmp_path, f"gpus;epoch;epoch_time_s\n1;1;{text}\n1;2;{text}\n")
    assert times(imported) == [(seconds, seconds)]
    assert any("marks of thousands" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("accuracies", "parts"),
    [
        (("0.9", "20", "57.5", "61"), (0.009, 0.2, 0.575, 0.61)),
        (("0.9%", "1.5%", "2 %", "3%"), (0.009, 0.015, 0.02, 0.03)),
        (("0.2", "0.3", "57.5", "0.6"), (0.2, 0.3, None, 0.6)),
        (("1.1", "1.2", "1.3", "1.4"), (None, None, None, None)),
    ],
)
def test_accuracies_in_percent_are_read_as_parts_where_nothing_else_can_be_meant(tmp_path, accuracies, parts):
    rows = "".join(f"1,{epoch},20,{value}\n" for epoch, value in enumerate(accuracies, 1))
    imported = read(tmp_path, f"gpus,epoch,epoch_time_s,test_accuracy\n{rows}")
    read_as = imported.runs[0].test_accuracy or (None,) * 4
    assert [value is None for value in read_as] == [value is None for value in parts]
    assert [v for v in read_as if v is not None] == pytest.approx([v for v in parts if v is not None])
    assert any("percentages" in note for note in imported.notes) is (parts[0] == 0.009)


def test_a_workbook_with_a_title_is_read_below_it(tmp_path):
    book = Workbook()
    for row in (["Spring"], [], ["GPUs", "Epoch", "Epoch time (s)"], [1, 1, 30], [1, 2, 20]):
        book.active.append(row)
    book.save(tmp_path / "x.xlsx")
    imported = read_csv(tmp_path / "x.xlsx")
    assert times(imported) == [(30.0, 20.0)]
    assert any("1 line above the names of the columns left out" in note for note in imported.notes)


def test_what_is_no_table_is_named_as_what_it_is(tmp_path):
    with pytest.raises(UserError, match=r"JSON, not a table; write it as CSV"):
        read(tmp_path, '{"gpus": 1, "epoch": 1}\n')
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("theirs.csv", PLAIN)
    with pytest.raises(UserError, match=r"an archive of .*; unpack it first"):
        read_csv(tmp_path / "x.zip")
    # What is not understood is listed once, however many columns are missing.
    with pytest.raises(UserError) as caught:
        read(tmp_path, "a,b\n1,2\n")
    assert str(caught.value).count("a, b") == 1
