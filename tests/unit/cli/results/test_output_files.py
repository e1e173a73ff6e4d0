"""Where a file that a verb is to write cannot be, it says so before the work and names the place as typed."""

import pytest

from tests.unit.cli.results.test_gate import write_study
from vit_sweep.__main__ import main

GATE = ("gate", "mine", "--against", "mine")
VERBS = {
    "audit": ("audit", "mine", "--output", ".json"),
    "compare": ("compare", "mine", "mine", "--output", ".csv"),
    "history": ("gate", "mine", "--history", ".jsonl"),
    "junit": (*GATE, "--junit", ".xml"),
    "markdown": (*GATE, "--markdown", ".md"),
    "baseline": ("gate", "mine", "--write-baseline", ".json"),
}


@pytest.fixture(autouse=True)
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study("mine", seeds=1)
    return tmp_path


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_is_not_there_is_made(verb, study):
    *words, suffix = VERBS[verb]
    assert main([*words, f"new/one/file{suffix}"]) in (0, 1)
    assert (study / f"new/one/file{suffix}").stat().st_size


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("outputs{}", "a folder stands there"),
        ("a_file/x{}", "a_file: "),
        ("/proc/x/x{}", "/proc/x: "),
        ("pipe{}", "no reg"),
    ],
)
def test_a_place_where_no_file_can_be_is_named_as_typed_before_the_work(verb, place, why, study, capsys):
    *words, suffix = VERBS[verb]
    (study / f"outputs{suffix}").mkdir()
    (study / "a_file").touch()
    (study / f"pipe{suffix}").symlink_to("/dev/null")
    given = place.format(suffix)
    assert main([*words, given]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {words[-1]} {given}: "), said.err
    assert why in said.err
    assert not said.out


def test_a_summary_that_is_no_text_is_added_to_and_kept(study):
    (study / "summary.md").write_bytes(b"\xff old\n")
    assert main([*GATE, "--markdown", "summary.md"]) == 0
    assert (study / "summary.md").read_bytes().startswith(b"\xff old\n#")


@pytest.mark.parametrize("verb", [GATE, ("compare", "mine", "mine")])
def test_a_name_of_nothing_is_no_condition_that_may_differ(verb, capsys):
    assert main([*verb, "--across", "patition"]) == 2
    assert "across=patition: the runs state nothing of this name – did you mean partition?" in capsys.readouterr().err
    assert main([*verb, "--across", "machine", "--across", "engine"]) in (0, 1)
