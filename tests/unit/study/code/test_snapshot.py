"""The copy of the code that jobs run: named by its content, safe to make twice, never changed by an edit."""

import os
import py_compile
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from launchers.errors import UserError
from tests.conftest import ROOT
from tests.warm import clean_environment
from vit_sweep.study.code import snapshot

TELL = """
import sys
import vit_sweep.job.task
from vit_sweep.study.code.snapshot import running_digest
print(vit_sweep.__file__, running_digest(), getattr(vit_sweep, "EDITED", "old"), "hydra_plugins" in sys.modules)
"""
TAKE = """
import sys
from pathlib import Path
from vit_sweep.study.code.snapshot import take
print(take(Path(sys.argv[1])).folder)
"""


def code_in(folder):
    """Paths and contents of a copy."""
    return {
        **snapshot.contents_of(folder / "vit_sweep", "vit_sweep"),
        **snapshot.contents_of(folder / "launchers", "launchers"),
    }


@pytest.fixture
def checkout(tmp_path):
    """A copy of this checkout that a test may edit."""
    folder = tmp_path / "checkout"
    for name in ("vit_sweep", "launchers"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def python(*words, path, cwd, **more):
    """Run a python as a job would be run from a checkout that is installed editable; returns its output."""
    # What an editable install's .pth file adds comes after PYTHONPATH, as the copy's own checkout does here.
    environment = clean_environment() | {"PYTHONPATH": os.pathsep.join(map(str, path))} | more
    completed = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.strip()


@pytest.fixture
def edited(checkout, tmp_path):
    """A copy taken from a checkout that was edited afterwards."""
    path = Path(python("-c", TAKE, tmp_path / "study", path=[checkout], cwd=tmp_path))
    with (checkout / "vit_sweep" / "__init__.py").open("a") as file:
        file.write("\nEDITED = 'new'\n")
    return path


def test_a_copy_is_named_by_its_content_and_is_the_code_that_runs(tmp_path):
    slots_taken = snapshot.take(tmp_path / "study")
    folder = Path(slots_taken.folder)
    assert folder == tmp_path / "study" / ".code" / slots_taken.digest
    assert slots_taken.digest == snapshot.digest_of(code_in(folder)) == snapshot.running_digest()
    some = "vit_sweep/job/train/images/data.py"
    assert (folder / some).read_bytes() == (ROOT / some).read_bytes()
    assert {path.name for path in folder.iterdir()} == {"vit_sweep", "launchers"}


def test_an_edit_of_the_checkout_does_not_reach_a_job_that_runs_from_the_copy(edited, checkout, tmp_path):
    path, digest, version, plugins = python("-c", TELL, path=[edited, checkout], cwd=tmp_path).split()
    assert (Path(path).parent.parent, digest, version) == (edited, edited.name, "old")
    assert plugins == "False", "the copy has no Hydra plugin, so no job may need one"
    path, digest, version, _ = python("-c", TELL, path=[checkout], cwd=tmp_path).split()
    assert (Path(path).parent.parent, version) == (checkout, "new")
    assert digest != edited.name


def test_the_copy_is_before_an_editable_install(tmp_path):
    """Here the checkout is on sys.path by its .pth file alone, as after `pip install --editable`."""
    slots_taken = snapshot.take(tmp_path / "study")
    assert python("-c", TELL, path=[slots_taken.folder], cwd=tmp_path).startswith(slots_taken.folder)


def test_a_job_that_starts_in_the_edited_checkout_needs_safe_path_to_run_the_copy(edited, checkout, tmp_path):
    """`python -m` puts the current folder first, and sbatch starts a job where it was called."""
    probe = ["-m", "vit_sweep_probe"]
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "vit_sweep_probe.py").write_text(TELL)
    path = [edited, tmp_path / "probe"]
    assert " new " in python(*probe, path=path, cwd=checkout)
    assert f" {edited.name} old " in python(*probe, path=path, cwd=checkout, PYTHONSAFEPATH="1")


def test_the_digest_does_not_see_times_modes_caches_or_editor_files(checkout):
    before = snapshot.digest_of(code_in(checkout))
    package = checkout / "vit_sweep" / "plan"
    os.utime(package / "cell.py", (1, 1))
    (package / "cell.py").chmod(0o600)
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "cell.cpython-311.pyc").write_bytes(b"cache")
    for name in (".cell.py.swp", "cell.py~", "#cell.py#", "cell.py.orig", "old.pyc"):
        (package / name).write_text("an editor's")
    assert snapshot.digest_of(code_in(checkout)) == before
    assert snapshot.digest_of(dict(reversed(code_in(checkout).items()))) == before, "nor the order of a folder"


def test_an_installed_wheel_with_its_configurations_inside_is_the_same_code(checkout):
    before = snapshot.digest_of(code_in(checkout))
    shutil.copytree(ROOT / "conf", checkout / "vit_sweep" / "conf")
    assert snapshot.digest_of(code_in(checkout)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda package: (package / "cell.py").write_text("other"),
        lambda package: (package / "cell.py").rename(package / "cells.py"),
        lambda package: (package / "report.html").write_text("data of the package"),
        lambda package: (package / "cell.py").unlink(),
    ],
    ids=["content", "name", "new file", "removed file"],
)
def test_the_digest_sees_every_change_of_code_and_package_data(checkout, change):
    before = snapshot.digest_of(code_in(checkout))
    change(checkout / "vit_sweep" / "plan")
    assert snapshot.digest_of(code_in(checkout)) != before


def test_moving_bytes_from_one_file_to_the_next_is_other_code():
    assert snapshot.digest_of({"a": b"xy", "b": b""}) != snapshot.digest_of({"a": b"x", "b": b"y"})
    assert snapshot.digest_of({"a": b"1\x00b\x000\x00"}) != snapshot.digest_of({"a": b"1", "b": b""})


def test_files_are_read_only_and_a_job_may_still_cache_its_bytecode(tmp_path):
    slots_taken = snapshot.take(tmp_path / "study")
    files = [path for path in Path(slots_taken.folder).rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}
    python("-c", "import vit_sweep.job.task", path=[slots_taken.folder], cwd=tmp_path, PYTHONDONTWRITEBYTECODE="")
    assert list(Path(slots_taken.folder).glob("vit_sweep/job/__pycache__/task.*.pyc"))
    assert snapshot.digest_of(code_in(Path(slots_taken.folder))) == slots_taken.digest


def test_a_sound_copy_is_not_touched_again(tmp_path):
    slots_taken = snapshot.take(tmp_path / "study")
    files = {path: path.stat() for path in Path(slots_taken.folder).rglob("*") if path.is_file()}
    assert snapshot.take(tmp_path / "study") == slots_taken
    for path, about in files.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (about.st_ino, about.st_mtime_ns)


def test_a_damaged_copy_is_mended_file_by_file(tmp_path):
    """Jobs may be running from it: what is sound stays the very same file."""
    slots_taken = snapshot.take(tmp_path / "study")
    package = Path(slots_taken.folder) / "vit_sweep" / "plan"
    sound = (package / "point.py").stat().st_ino
    size = (package / "cell.py").stat().st_size
    for name, content in (("cell.py", b"x" * size), ("plan.py", b""), ("stray.py", b"not ours")):
        (package / name).unlink(missing_ok=True)
        (package / name).write_bytes(content)
    (package / "grid.py").unlink()
    shutil.rmtree(package.parent / "job")
    assert snapshot.take(tmp_path / "study") == slots_taken
    assert snapshot.digest_of(code_in(Path(slots_taken.folder))) == slots_taken.digest
    assert (package / "point.py").stat().st_ino == sound


@pytest.mark.parametrize(
    "planted", ["torch.py", "sitecustomize.pyc", "psutil/__init__.py", "vit_sweep/job/task.pyc", ""]
)
def test_what_lies_in_a_copy_beside_our_code_is_not_there_when_jobs_begin(tmp_path, planted):
    """Of a study from elsewhere: jobs have the copy in front of their path, and import what they find there."""
    folder = Path(snapshot.take(tmp_path / "study").folder)
    module = folder / "launchers" / "text.py"
    cache = planted or os.path.relpath(cache_from_source(str(module)), folder)
    (folder / cache).parent.mkdir(exist_ok=True)
    evil = tmp_path / "text.py"
    evil.write_text("some = 'planted'")
    # Python never compares this kind of cache with its source.
    py_compile.compile(str(evil), str(folder / cache), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    tell = ["-c", "import launchers.text as text; print(text.some)"]
    if not planted:
        assert python(*tell, path=[folder], cwd=tmp_path) == "planted", "the attack works"
    snapshot.take(tmp_path / "study")
    assert not (folder / cache).exists()
    assert {path.name for path in folder.iterdir()} == {"vit_sweep", "launchers"}


def test_clients_that_take_a_copy_at_once_all_get_the_same_whole_one(tmp_path):
    def client(_):
        return python("-c", TAKE, tmp_path / "study", path=[ROOT], cwd=tmp_path)

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(client, range(4)))
    assert len(folders) == 1
    folder = Path(folders.pop())
    assert snapshot.digest_of(code_in(folder)) == folder.name
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], "nothing aside is left"


def test_a_loser_of_the_race_uses_the_winners_copy(tmp_path, monkeypatch):
    """The other client renames its copy into place between our look and our rename."""
    look = Path.is_dir
    taken_paths = []

    def not_yet(path):
        if path.parent.name == ".code" and not taken_paths:
            taken_paths.append(path)
            shutil.copytree(snapshot.take(tmp_path / "other").folder, path)
            return False
        return look(path)

    monkeypatch.setattr(Path, "is_dir", not_yet)
    slots_taken = snapshot.take(tmp_path / "study")
    assert taken_paths == [Path(slots_taken.folder)]
    assert snapshot.digest_of(code_in(Path(slots_taken.folder))) == slots_taken.digest
    assert [path.name for path in Path(slots_taken.folder).parent.iterdir()] == [slots_taken.digest]


def test_a_study_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".code").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot write the code snapshot .*outputs=FOLDER"):
        snapshot.take(tmp_path / "study")
