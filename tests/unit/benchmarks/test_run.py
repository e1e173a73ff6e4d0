"""`make bench`: one that fails or hangs is named and stops no other; tables find their places in a page."""

import json

import pytest

from benchmarks import run

WRITES = """
import sys
from pathlib import Path
words = dict(zip(sys.argv[2::2], sys.argv[3::2]))
Path(words["--json"]).write_text(sys.argv[1])
Path(words["--markdown"]).write_text("| a |\\n")
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    monkeypatch.setattr(run, "HERE", folder)
    (folder / "kind").mkdir(parents=True)
    (folder / "kind/good.py").write_text(WRITES)
    (folder / "kind/bad.py").write_text("print('why'); raise SystemExit(3)")
    (folder / "kind/silent.py").write_text("")
    (folder / "other").mkdir()
    (folder / "other/good.py").write_text(WRITES)
    monkeypatch.setattr(run, "SHORT", {"kind/bad": (), "kind/silent": (), "kind/good": ("5",), "other/good": ("6",)})
    return folder


def test_what_fails_is_named_and_the_others_go_on(programs, tmp_path, capsys):
    out = tmp_path / "out"
    assert run.main(["--folder", str(out)]) == 1
    printed = capsys.readouterr().out
    assert f"failed: kind/bad; see {out}/kind/bad.log" in printed
    assert "failed: kind/silent" in printed, "what writes no figures has not measured"
    assert (out / "kind/bad.log").read_text() == "why\n"
    assert json.loads((out / "kind/good.json").read_text()) == 5
    assert json.loads((out / "other/good.json").read_text()) == 6


def test_figures_of_an_earlier_time_do_not_pass_for_new_ones(programs, tmp_path):
    assert run.main(["kind/good", "--folder", str(tmp_path)]) == 0
    (programs / "kind/good.py").write_text("")
    assert run.main(["kind/good", "--folder", str(tmp_path)]) == 1
    assert not (tmp_path / "kind/good.json").exists()


def test_a_name_stands_for_one_or_for_its_kind_and_an_unknown_one_shows_the_menu(programs, tmp_path, capsys):
    assert run.main(["other", "--folder", str(tmp_path)]) == 0
    assert {file.name for file in tmp_path.rglob("*.json")} == {"good.json"}
    with pytest.raises(SystemExit):
        run.main(["kind/god"])
    assert "kind/god: no such benchmark; there are kind/bad, kind/silent" in capsys.readouterr().err


def test_one_that_hangs_is_ended_and_counts_as_failed(programs, tmp_path, monkeypatch):
    (programs / "kind/silent.py").write_text("import signal\nwhile True:\n    signal.pause()")
    monkeypatch.setattr(run, "MOST_S", 0.1)
    assert run.main(["kind/silent", "--folder", str(tmp_path)]) == 1


def test_a_page_gets_the_tables_it_has_places_for_and_keeps_the_rest(programs, tmp_path):
    page = tmp_path / "page.md"
    place = "before\n<!-- bench: {} -->\n{}<!-- end -->\nafter\n"
    page.write_text(place.format("kind/good", "old\n") + place.format("kind/bad", "old\n"))
    run.main(["--folder", str(tmp_path / "out"), "--page", str(page)])
    assert page.read_text() == place.format("kind/good", "| a |\n") + place.format("kind/bad", "old\n")
