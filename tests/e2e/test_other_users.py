"""A study of another user: read by whoever may read it, shared by a group, and never a traceback."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from launchers.errors import UserError
from tests.conftest import OLD_STUDY
from tests.users import COLLEAGUE, GROUP, OWNER, act_as
from vit_sweep.__main__ import main
from vit_sweep.cli import sweep
from vit_sweep.report.figure import SWITCH
from vit_sweep.runs import reading
from vit_sweep.study.cache import done_cells
from vit_sweep.study.store import Study

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]


@pytest.fixture
def place(monkeypatch):
    """A folder that every user may enter, unlike pytest's own; in it the colleague's, the current one."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "here").mkdir()
        os.chown(folder / "here", COLLEAGUE, GROUP)
        monkeypatch.chdir(folder / "here")
        monkeypatch.setenv(SWITCH, "off")
        yield folder


def give(folder, uid, *, folders, files):
    """Make all of `folder` a user's, with these modes."""
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, uid, GROUP)
        path.chmod(folders if path.is_dir() else files)


@pytest.fixture(scope="module")
def _imported(tmp_path_factory):
    """Import what the verbs need, which another user may not be able to read."""
    folder = tmp_path_factory.mktemp("imported")
    shutil.copytree(OLD_STUDY, folder / "old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "svg")
        main(["report", str(folder / "old")])


@pytest.fixture
def study(place, _imported):
    shutil.copytree(OLD_STUDY, place / "old")
    shutil.rmtree(place / "old/tables")
    give(place / "old", OWNER, folders=0o755, files=0o644)
    return place / "old"


def command(place, *words, uid=COLLEAGUE):
    return act_as(uid, lambda: main([str(word) for word in words]), output=place / "screen")


def test_whoever_may_only_read_a_study_gets_its_tables_elsewhere(study, place, monkeypatch):
    before = {path: path.lstat().st_mtime_ns for path in study.rglob("*")}
    for words in (["status", study], ["audit", study], ["compare", study, study, "--across", "seed"]):
        code, text = command(place, *words)
        assert code in (0, 1, 2, 3), text
        assert "Traceback" not in text
    monkeypatch.setenv(SWITCH, "svg")
    code, text = command(place, "report", study)
    assert code == 0, text
    assert (place / "here/old-tables/report.html").is_file()
    monkeypatch.setenv(SWITCH, "off")
    code, text = command(place, "collect", study)
    assert code == 0, text
    assert f"uid {OWNER}'s and yours to read only, so this goes to {place}/here/old-tables" in text
    assert (place / "here/old-tables/tables/runs.csv").is_file()
    code, text = command(place, "collect", study, "--output", "there")
    assert code == 0, text
    assert (place / "here/there/tables/runs.csv").is_file()
    monkeypatch.setenv(SWITCH, "svg")
    code, text = command(place, "report", study, "--output", "there/page.html")
    assert code == 0, text
    assert (place / "here/there/page.html").is_file()
    assert {path: path.lstat().st_mtime_ns for path in study.rglob("*")} == before


@pytest.mark.parametrize(("uid", "keeps"), [(OWNER, {".done", ".runs"}), (COLLEAGUE, set())])
def test_whoever_looks_keeps_nothing_in_the_study_of_another_user(uid, keeps, study, place, monkeypatch):
    """Its owner finds what was read; a colleague who may write there, too, leaves no file."""
    give(study, OWNER, folders=0o2775, files=0o664)
    monkeypatch.setattr(done_cells, "NOTE_FROM", 1)
    monkeypatch.setattr(reading, "KEEP_FROM", 1)
    for module in (done_cells, reading):
        monkeypatch.setattr(module, "YOUNG_NS", -(2**62))
    (place / "aside").mkdir()
    (place / "aside").chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(place / "aside"))
    before = set(study.rglob("*"))
    for words in (["list", study.parent], ["status", study], ["audit", study], ["compare", study, study]):
        code, text = command(place, *words, uid=uid)
        assert code in (0, 1, 3), text
    hidden = {path.name for path in set(study.rglob("*")) - before if path.name.startswith(".")}
    assert hidden == {f"{name}-{uid}" for name in keeps}


@pytest.fixture
def resumed(monkeypatch):
    """What is resumed or tended once its user has agreed, instead of running it."""

    def run(extra):
        raise UserError(f"it runs with {extra}")

    monkeypatch.setattr(sweep, "require_extra", run)


def consent(place, uid, monkeypatch):
    """A user's own state folder."""
    folder = place / f"state-{uid}"
    folder.mkdir(exist_ok=True)
    os.chown(folder, uid, GROUP)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.mark.usefixtures("resumed")
@pytest.mark.parametrize("words", [["resume"], ["status", "--watch"]], ids=lambda words: words[0])
def test_a_study_of_another_user_runs_only_after_consent_which_is_kept_outside_it(words, study, place, monkeypatch):
    give(study, OWNER, folders=0o2775, files=0o664)
    rule = json.loads((study / "plan.json").read_text())
    rule["repeat"] = {"half_width": 0.1, "most": 3}  # so that whoever watches may start cells
    rule["profiles"][0] |= {"setup": ["module load cuda"], "environment": {"API_KEY": "planted"}}
    (study / "plan.json").write_text(json.dumps(rule))
    before = sorted(study.rglob("*"))
    state = consent(place, COLLEAGUE, monkeypatch)
    code, text = command(place, *words, study)
    assert code == 2, text
    assert f"if they may run as you: vit_sweep {words[0]}" in text
    assert text.rstrip().endswith("--trust")
    assert "setup: module load cuda" in text
    assert "environment: API_KEY=***" in text
    assert "Traceback" not in text
    assert "it runs" not in text
    for more in (["--trust"], []):
        code, text = command(place, *words, study, *more)
        assert "it runs" in text, text
    assert sorted(study.rglob("*")) == before
    assert {path.stat().st_uid for path in state.rglob("*") if path.is_file()} == {COLLEAGUE}
    # The owner has agreed to nothing here, and the colleague to nothing elsewhere.
    consent(place, OWNER, monkeypatch)
    assert "--trust" in command(place, *words, study, uid=OWNER)[1]
    consent(place, COLLEAGUE, monkeypatch)
    study.rename(place / "moved")
    assert "--trust" in command(place, *words, place / "moved")[1]


@pytest.mark.parametrize("verb", ["cancel", "resume"])
def test_whoever_may_not_write_a_study_hears_who_may_and_what_to_type(verb, study, place):
    code, text = command(place, verb, study)
    assert code == 2, text
    assert "Traceback" not in text
    assert f"in the hands of uid {OWNER}, who would type: vit_sweep {verb} {study}" in text


@pytest.mark.parametrize("part", ["plan.json", "jobs.jsonl", "study.json", "cells", "cells/*/record.json", "cells/*"])
def test_parts_that_may_not_be_read_are_named(part, study, place):
    for path in study.glob(part):
        path.chmod(0)
    texts = []
    for words in (["status", study], ["audit", study], ["collect", study]):
        code, text = command(place, *words)
        assert code in (0, 1, 2, 3), text
        assert "Traceback" not in text
        texts.append(text)
    if part != "study.json":  # what it says is for people
        assert "Permission denied" in "".join(texts)


def test_a_study_of_a_group_is_changed_by_its_users_in_turn(study, place):
    give(study, OWNER, folders=0o2775, files=0o664)

    def change():
        opened = Study(study)
        with opened.changing():
            opened.write_command(["-m"], [], code="1")
            entry = opened.jobs()[0]
            opened.journal(entry)
        return 0

    lines = len(Study(study).jobs())
    for turn, uid in enumerate((OWNER, COLLEAGUE, OWNER, COLLEAGUE), start=1):
        code, text = act_as(uid, change, output=place / "screen", umask=0o002)
        assert code == 0, text
        assert len(Study(study).jobs()) == lines + turn
    for uid in (OWNER, COLLEAGUE):
        code, text = act_as(uid, lambda: main(["collect", str(study)]), output=place / "screen", umask=0o002)
        assert code == 0, text
        assert (study / "tables/runs.csv").stat().st_uid == uid
