"""How often a plan waits for the disk: once for all new files of its cells, and for each that takes another's place."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers import atomic
from launchers.checked import parse_json, to_json
from launchers.text import indented
from vit_sweep.__main__ import main
from vit_sweep.plan.cell import CellFile
from vit_sweep.plan.engine.ds_config import ds_config
from vit_sweep.plan.engine.kinds import machinery
from vit_sweep.plan.specs import DEEPSPEED


@pytest.fixture
def waits(monkeypatch, tmp_path):
    """What is waited for: the file system, or the name of a file."""
    synced, fsync, on_disk = [], os.fsync, atomic.on_disk
    monkeypatch.setattr(
        os,
        "fsync",
        lambda number: (synced.append(Path(f"/proc/self/fd/{number}").readlink().name), fsync(number)),
    )
    monkeypatch.setattr("vit_sweep.study.store.on_disk", lambda folder: (synced.append("all"), on_disk(folder)))
    monkeypatch.setattr("sys.argv", ["vit_sweep"])
    monkeypatch.chdir(tmp_path)
    return synced


def planned(waits, *words):
    waits.clear()
    assert main(["-m", "partition=vector_t4v2", "gpus=1,2", "dry_run=true", *(words or ["study=s"])]) == 0
    return list(waits)


def test_the_disk_is_waited_for_as_often_for_many_cells_as_for_few(waits):
    planned(waits)  # from now on what Hydra composes is kept
    few = planned(waits, "seed=range(2)", "study=r")
    many = planned(waits, "seed=range(30)", "study=t")
    assert len(few) == len(many)
    assert few.count("all") == many.count("all") == 1
    assert not any("cell.json" in name or "ds_config" in name for name in many)


def test_it_is_waited_for_before_the_plan_names_the_cells(waits):
    planned_cells = planned(waits)
    assert planned_cells.index("all") < min(place for place, name in enumerate(planned_cells) if "plan.json" in name)


def test_a_file_that_takes_the_place_of_another_is_on_disk_before(waits, tmp_path):
    planned(waits)
    file = next((tmp_path / "outputs/s/cells").glob("*/ds_config.json"))
    file.write_text("{}")
    again = planned(waits)
    assert sum("ds_config.json" in name for name in again) == 1
    assert json.loads(file.read_text()) != {}


def test_what_is_there_already_is_not_waited_for(waits):
    planned(waits)
    assert "all" not in planned(waits)


@pytest.mark.parametrize("words", [["engine=zero0,ddp"], ["optimizer=sgd", "model.layers=2,3"]])
def test_files_of_repeats_are_those_that_each_would_have_alone(waits, tmp_path, words):
    """Their texts are put together from those of the first; the seed and the name are all that differs."""
    planned(waits, "seed=4,11,300", "study=s", *words)
    files = {file.parent.name: file for file in (tmp_path / "outputs/s/cells").glob("*/cell.json")}
    assert len(files) == 3 * 2 * 2
    for name, file in files.items():
        read = parse_json(CellFile, file.read_text(), source=name)
        assert read.cell.cell_id == read.cell_id == name
        assert file.read_text() == to_json(read)
        config = file.with_name("ds_config.json")
        is_deepspeed = machinery(read.cell.engine) == DEEPSPEED
        assert config.exists() == is_deepspeed
        assert not is_deepspeed or config.read_text() == indented(ds_config(read.cell)) + "\n"
    assert {parse_json(CellFile, file.read_text(), source="").cell.seed for file in files.values()} == {4, 11, 300}


def test_a_folder_that_is_there_is_not_filled(tmp_path):
    with atomic.new_folders(tmp_path / "cells") as make:
        assert make("a", ["attempts"], {"cell.json": "1"})
        assert not make("a", ["attempts"], {"cell.json": "2"})
        (tmp_path / "cells/link").symlink_to(tmp_path)
        assert not make("link", [], {"cell.json": "3"})
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")} >= {
        "cells/a/attempts",
        "cells/a/cell.json",
    }
    assert (tmp_path / "cells/a/cell.json").read_text() == "1"
    assert not list(tmp_path.rglob("*.tmp")) and not (tmp_path / "cell.json").exists()


def test_where_a_system_cannot_wait_for_one_file_system_it_waits_for_all(monkeypatch, tmp_path):
    synced = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    atomic.on_disk(tmp_path)
    assert not synced
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    atomic.on_disk(tmp_path)
    assert synced == [True]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=6)),
)


@given(value=values)
def test_indented_json_is_pythons_own(value):
    assert indented(value) == json.dumps(value, indent=1)
    assert indented(value, sort_keys=True) == json.dumps(value, indent=1, sort_keys=True)


@pytest.mark.parametrize("value", [{1: 2, None: (3,), False: {}, 2.5: []}, (1, ()), [float("inf")]])
def test_so_it_is_of_odd_keys_and_tuples(value):
    assert indented(value) == json.dumps(value, indent=1)
