"""A file is whole or not there, whenever its writer stops; what a killed writer leaves is taken for no file of ours."""

import errno
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.atomic import read, replacing, temporary, write, write_bytes, write_first, write_of_many
from tests.conftest import ROOT

OLD, NEW = b"old and whole", b"new and longer, and whole"


class CrashError(Exception):
    """Whatever stops a writer."""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "plan.json").write_bytes(OLD)
    return tmp_path / "plan.json"


def only(path):
    """The content of `path`, beside which nothing lies."""
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return path.read_bytes()


@settings(deadline=None)  # it waits for the disk
@given(content=st.binary(max_size=200), cut=st.integers(0, 200), durable=st.booleans(), locked=st.booleans())
def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path_factory, content, cut, durable, locked):
    path = tmp_path_factory.mktemp("crash") / "plan.json"
    write_bytes(path, OLD)
    with pytest.raises(CrashError), replacing(path, durable=durable, locked=locked) as file:
        file.write(content[:cut])
        file.flush()
        assert path.read_bytes() == OLD, "a reader comes by"
        raise CrashError
    assert only(path) == OLD
    write_bytes(path, content)
    assert only(path) == content


@pytest.mark.parametrize("place", [(os, "fsync"), (os, "replace")], ids=["full disk", "no rename"])
def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(path, monkeypatch, place):
    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*place, fails)
    with pytest.raises(OSError, match="No space left"):
        write(path, "new")
    assert only(path) == OLD


def test_what_is_durable_is_on_disk_before_it_has_its_name(path, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(path.read_bytes()), sync(file)))
    write_bytes(path, NEW)
    assert write_first(path.with_name("claim.json"), "me")
    assert synced == [OLD, NEW]
    with replacing(path, durable=False) as file:
        file.write(OLD)
    assert len(synced) == 2


@pytest.mark.parametrize("locked", [False, True])
def test_a_killed_writer_leaves_the_old_file_and_what_no_reader_looks_for(path, locked):
    code = f"""
import os
from pathlib import Path
from launchers.atomic import replacing
with replacing(Path({str(path)!r}), locked={locked}) as file:
    file.write({NEW!r})
    file.flush()
    os._exit(9)
"""
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 9
        assert path.read_bytes() == OLD
    left = [file.name for file in path.parent.iterdir() if file != path]
    assert len(left) == (1 if locked else 2), "under a lock the next one writes over it"
    assert all(name.startswith(".plan.json.") and name.endswith(".tmp") for name in left)
    assert list(path.parent.glob("*.json")) == [path]
    with replacing(path, locked=locked) as file:
        file.write(NEW)
    assert path.read_bytes() == NEW


def test_writers_at_the_same_time_do_not_disturb_each_other(path):
    assert temporary(path) != temporary(path)
    with replacing(path) as first, replacing(path) as second:
        first.write(OLD)
        second.write(NEW)
    assert only(path) == OLD, "the last one to finish"


def test_of_several_first_writers_one_writes(tmp_path):
    path, start, first = tmp_path / "claim.json", threading.Barrier(4), []

    def claim(name):
        start.wait()
        if write_first(path, name):
            first.append(name)

    threads = [threading.Thread(target=claim, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first == [only(path).decode()]
    assert not write_first(path, "late")


def test_a_file_that_says_the_same_is_left_alone(path):
    before = path.stat()
    assert not write_of_many(path, OLD.decode())
    assert path.stat() == before
    assert write_of_many(path, NEW.decode())
    assert only(path) == NEW


def test_what_found_no_room_is_named(tmp_path, monkeypatch):
    """The system says only that there is none: it knows an open file by its number."""

    def full(_file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        write(tmp_path / "plan.json", "text")
    assert error.value.filename == str(tmp_path / "plan.json")
    assert list(tmp_path.iterdir()) == []


def test_of_a_file_without_end_no_more_is_read_than_may_be(tmp_path):
    path = tmp_path / "record.json"
    path.touch()
    os.truncate(path, 1 << 42)  # in holes, without a byte on disk
    with pytest.raises(OSError, match="more than"):
        read(path, max_bytes=1000)


def test_a_link_with_the_name_of_the_file_aside_is_not_written_through(tmp_path):
    """Who writes under a lock gives it always the same name."""
    (tmp_path / "diary").write_text("not ours")
    (tmp_path / ".x.tmp").symlink_to(tmp_path / "diary")
    with pytest.raises(OSError, match="symbolic links"), replacing(tmp_path / "x", locked=True) as file:
        file.write(b"x")
    assert (tmp_path / "diary").read_text() == "not ours"
