"""Slots of this machine: taken all or none, and never by two."""

import os

import pytest

from launchers.profile import Device
from launchers.queue.slots import Slots, slot_folder, slots_of
from tests.unit.builders import profile

NAMES = ["core-0", "core-1", "core-2"]


def test_slots_are_taken_all_or_none(tmp_path):
    slots, other = Slots(NAMES, tmp_path), Slots(NAMES, tmp_path)
    assert slots.take(2) == ["core-0", "core-1"]
    assert other.take(2) is None
    assert slots.take(2) is None
    assert other.take(1) == ["core-2"]


def test_two_holders_never_share_a_slot(tmp_path):
    holders = [Slots(NAMES, tmp_path) for _ in range(4)]
    slots_taken = [holder.take(1) for holder in holders]
    assert sorted(names[0] for names in slots_taken if names) == NAMES
    assert slots_taken.count(None) == 1


def test_slots_given_back_are_free_for_everyone(tmp_path):
    slots, other = Slots(NAMES, tmp_path), Slots(NAMES, tmp_path)
    slots_taken = slots.take(3)
    assert other.take(1) is None
    slots.release(slots_taken[1:])
    assert other.take(2) == ["core-1", "core-2"]


def test_more_than_there_are_means_all_of_them(tmp_path):
    slots = Slots(NAMES, tmp_path)
    assert slots.take(8) == NAMES
    assert len(slots) == 3


@pytest.mark.parametrize(
    ("script", "gpus"),
    [
        ("printf '0\\n1\\n'", ["gpu-0", "gpu-1"]),
        ("printf '0\\n1\\n2\\n3\\n4\\n'", ["gpu-0", "gpu-1", "gpu-2", "gpu-3"]),
        ("echo no devices were found; exit 6", ["gpu-0", "gpu-1", "gpu-2", "gpu-3"]),
    ],
    ids=["fewer than the profile's", "more", "it cannot say"],
)
def test_gpus_are_those_of_this_machine_up_to_the_profiles_number(*, tmp_path, monkeypatch, script, gpus):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    on_gpus = profile(device=Device.CUDA, gpus_per_node=4)
    assert slots_of(on_gpus) == gpus
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert slots_of(on_gpus) == ["gpu-5", "gpu-7"]


@pytest.fixture
def lock_folder(tmp_path, monkeypatch):
    """Where locks lie unless somebody else was there first."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / f"vit_sweep-{os.getuid()}"


@pytest.mark.parametrize("how", ["another user's", "open to all", "a link", "a file"])
def test_locks_lie_elsewhere_where_another_user_has_taken_their_name(*, lock_folder, tmp_path, how, capsys):
    if how == "another user's":
        if os.geteuid() != 0:
            pytest.skip("only root can make a folder for another user")
        lock_folder.mkdir()
        os.chown(lock_folder, 65534, 65534)
    elif how == "open to all":
        lock_folder.mkdir()
        lock_folder.chmod(0o777)
    elif how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        lock_folder.symlink_to(tmp_path / "elsewhere")
    else:
        lock_folder.write_text("")
    assert slot_folder() == tmp_path / "runtime" / lock_folder.name
    (tmp_path / "runtime" / lock_folder.name).chmod(0o770)
    assert (tmp_path / "home/.cache") in slot_folder().parents
    error = capsys.readouterr().err
    assert f"{lock_folder} " in error
    assert "not a folder that only you can write" in error
    assert not list(tmp_path.glob("elsewhere/*"))


def test_the_folder_of_locks_is_for_its_user_alone_and_found_again(lock_folder, capsys):
    assert slot_folder() == slot_folder() == lock_folder
    assert lock_folder.stat().st_mode & 0o777 == 0o700
    assert capsys.readouterr().err == ""


def test_a_lock_follows_no_link(tmp_path):
    target = tmp_path / "kept"
    target.write_text("text")
    (tmp_path / "core-0.lock").symlink_to(target)
    with pytest.raises(OSError, match=r"core-0\.lock"):
        Slots(NAMES, tmp_path).take(1)
    assert target.read_text() == "text"


def test_who_waits_reads_whose_slots_are_missing_and_nobody_once_they_are_free(tmp_path):
    slots, other = Slots(NAMES, tmp_path), Slots(NAMES, tmp_path)
    slots_taken = slots.take(2, "study /s (process 7) since noon")
    assert other.take(2) is None
    assert other.waits_for == ("study /s (process 7) since noon",)
    slots.release(slots_taken)
    assert other.take(2) == ["core-0", "core-1"]
    assert other.waits_for == ()


def test_slots_are_taken_also_where_their_owners_name_finds_no_room(tmp_path):
    (tmp_path / "core-0.owner").mkdir()
    assert Slots(["core-0"], tmp_path).take(1, "study s") == ["core-0"]
