"""Whatever stands in the files of a study: its reading verbs say so in words and go on, and write nothing elsewhere.

A study may come from anybody. Every leaf of every JSON of it, and every file as a whole, is changed in turn; a sample
of that is always looked at, all of it with VIT_SWEEP_LONG_TESTS=1.
"""

import io
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import LONG, OLD_STUDY
from vit_sweep.__main__ import main
from vit_sweep.report import assemble

SAMPLE = 60
VALUES = [
    None, True, False, 0, 1, -1, 7.5, -0.18, float("nan"), float("inf"), 1e308, 2**70, "", "..", "../../outside",
    "/outside", "a\nb", "a\rb", "\x1b[2J", "\x00", "--me", "=1+1", "2025-13-45T99:99:99", "2025-01-01T00:00:00",
    "x" * 9999, [], [[]], {}, [None], {"..": 1}, ["../x"],
]  # fmt: skip
VERBS = ("status", "audit", "collect")


def leaves(value, path=()) -> Iterator[tuple]:
    """Paths of everything inside a JSON value, containers included."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def documents(path):
    """The JSON values of a file: one, or one a line."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    return [json.loads(line) for line in lines]


def write(path, values):
    text = "\n".join(json.dumps(value) for value in values)
    path.write_text(text + "\n" if path.suffix == ".jsonl" else text)


JSON_FILES = sorted(
    path.relative_to(OLD_STUDY) for pattern in ("*.json", "*.jsonl") for path in OLD_STUDY.rglob(pattern)
)


def places():
    return [
        (file, line, path)
        for file in JSON_FILES
        for line, value in enumerate(documents(OLD_STUDY / file))
        for path in leaves(value)
    ]


def of_places(count, seed):
    """A sample that every file has its part in; all places once in the long test."""
    generator = random.Random(seed)
    by_file = {}
    for place in places():
        by_file.setdefault(place[0], []).append(place)
    chosen = places() if LONG else [generator.choice(by_file[file]) for file in generator.choices(JSON_FILES, k=count)]
    return [(*place, generator.choice(VALUES)) for place in chosen]


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "off")
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(OLD_STUDY, tmp_path / "around" / "old")


def beside(study):
    """All that lies around a study, which nobody may change."""
    return sorted(path for path in study.parent.parent.rglob("*") if study not in (path, *path.parents))


def look(study, verb, capsys):
    """Run a reading verb here; returns what it printed. A traceback is an exception."""
    code = main([verb, str(study)])
    printed = capsys.readouterr()
    assert code in (0, 1, 2, 3), code
    text = printed.out + printed.err
    assert not any(char in text for char in "\x1b\x00\r"), "a control character reached the terminal"
    return text


def test_every_leaf_of_every_json_may_be_anything(study, capsys):
    around = beside(study)
    for number, (file, line, path, value) in enumerate(of_places(SAMPLE, seed=1)):
        values = documents(OLD_STUDY / file)
        values[line] = changed(values[line], path, value)
        write(study / file, values)
        verb = VERBS[number % len(VERBS)]
        try:
            look(study, verb, capsys)
        except Exception as error:
            raise AssertionError(f"{verb}: {file} line {line} {path} = {value!r}") from error
        assert beside(study) == around, (file, path, value)
        shutil.copy(OLD_STUDY / file, study / file)


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def link_to(target):
    def make(path):
        path.unlink()
        path.symlink_to(target)

    return make


def folder(path):
    path.unlink()
    path.mkdir()


WHOLE = {
    "empty": lambda path: path.write_text(""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "in UTF-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "no text": lambda path: path.write_bytes(bytes(range(256))),
    "deep": lambda path: path.write_text("[" * 200_000 + "]" * 200_000),
    "a pipe": fifo,
    "an endless device": link_to("/dev/zero"),
    "a folder": folder,
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("how", WHOLE)
def test_every_file_may_be_no_file_of_ours(study, how, capsys):
    one_of_each = {file.name: file for file in JSON_FILES}
    for file in JSON_FILES if LONG else one_of_each.values():
        if file.name == "study.json":
            continue  # without it the folder is no study
        copy = shutil.copytree(OLD_STUDY, study.with_name("copy"))
        WHOLE[how](copy / file)
        for verb in VERBS if LONG else VERBS[:1]:
            try:
                look(copy, verb, capsys)
            except Exception as error:
                raise AssertionError(f"{verb}: {file} is {how}") from error
        shutil.rmtree(copy)


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("words", "part", "make"),
    [
        (["render-diff", "old", "old"], "jobs/n1-g1-00000000/job.sh", lambda path: path.symlink_to("/dev/zero")),
        (["cancel", "old"], ".lock", os.mkdir),
        (["collect", "old"], "tables", os.mkfifo),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_what_stands_in_place_of_a_part_of_a_study_is_a_sentence(words, part, make, study, capsys):
    """Neither a traceback nor, within what memory there is, a hang."""
    os.chdir(study.parent)  # the fixture goes back
    if part == "tables":
        shutil.rmtree(study / part)
    (study / part).parent.mkdir(exist_ok=True)
    (study / part).unlink(missing_ok=True)
    make(study / part)
    assert main(words) == 2
    assert str(study / part) in capsys.readouterr().err


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_terminal_that_knows_ascii_only_shows_a_study_all_the_same(errors, study, monkeypatch):
    """`surrogateescape` is Python's choice where the locale says nothing."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors)
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["status", str(study)]) == 1
    screen.flush()
    assert b"n1-g1-mb16-ga1-206c45b2" in screen.buffer.getvalue()


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "a\udcff"])
@pytest.mark.parametrize("verb", ["status", "resume", "collect"])
def test_a_study_in_a_folder_that_no_line_can_name_is_refused(name, verb, study, capsys):
    """It would be lines of a script."""
    odd = study.rename(study.with_name(name))
    assert main([verb, str(odd)]) == 2
    assert "rename the folder" in capsys.readouterr().err


@pytest.mark.usefixtures("bounded")
def test_the_digest_of_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    assert assemble._sha256(tmp_path / "x.csv") == "gone"
