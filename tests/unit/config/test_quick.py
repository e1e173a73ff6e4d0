"""A sweep that needs no Hydra: the same configurations, and nothing of what Hydra alone can judge."""

import datetime
import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launchers.errors import UserError
from tests.conftest import LONG
from vit_sweep.config.compose import composed_groups, expand
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.quick import quick
from vit_sweep.config.quick.cache import CompositionCache
from vit_sweep.config.quick.words import plain_word

PARSER = OverridesParser.create()
PIECES = (
    "0 1 12 007 - + . e 5 1e5 _ a Z / \\ true False null NaN inf vit_b_16 range( choice( ) [ ] { : , ' \" $ = @ % ~ *"
)
pieces = st.sampled_from([*PIECES.split(), " ", "\n", "é"])
texts = st.lists(pieces, max_size=5).map("".join)


@settings(max_examples=3000 if LONG else 400)
@given(key=st.sampled_from(["gpus", "model.layers", "+seed", "a b", "1x", "a.b.c", "data@x", ""]) | texts, text=texts)
@example(key="seed", text="range(2,5)")
@example(key="seed", text="range(5)")
@example(key="outputs", text="/scratch/me/a-b.c")
@example(key="lr", text="1e-3,0.50,-2,007")
@example(key="study", text="inf-1,a/true")
def test_a_plain_word_says_what_hydra_reads_in_it(key, text):
    word = plain_word(f"{key}={text}")
    if word is None:
        return
    read = PARSER.parse_override(f"{key}={text}")
    values = list(read.sweep_iterator()) if read.is_sweep_override() else [read.value()]
    assert not (read.is_add() or read.is_force_add() or read.is_delete()) and read.package is None
    assert (word.key, [*word.values]) == (read.key_or_group, values)
    assert [type(value) for value in word.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    "text",
    [
        "gpus=1,2",
        "lr=0.1,1e-3",
        "model=vit_b_16",
        "outputs=/a/b-c",
        "x=true,null",
        "seed=range(3)",
        "study=a-b",
        "x=../y",
    ],
)
def test_what_people_type_is_plain(text):
    assert plain_word(text) is not None


AXES = {
    "gpus": ["1", "2", "4,8", "range(1,4)", "choice(1,3)"],
    "nodes": ["null", "1,2"],
    "batch": ["16", "64,16,16"],
    "scaling": ["strong,weak"],
    "model": ["vit_b_16", "vit_b_16,vit_tiny_32"],
    "data": ["digits,synthetic"],
    "engine": ["zero1,zero2"],
    "partition": ["local", "local,vector_t4v2"],
    "model.layers": ["2,3"],
    "optimizer.learning_rate": ["1e-3,0.01"],
    "optimizer": ["sgd"],
    "grid": ["paper_fig8", "none"],
    "data.pipeline": ["loader"],
    "outputs": ["/a/b"],
    "epochs": ["7"],
    "zero": ["0,1", "null"],
    "nothing": ["1"],
    "model.nothing": ["1"],
    "exclude": ["['gpus==1']"],
}
grids = st.dictionaries(st.sampled_from(sorted(AXES)), st.integers(0, 4), max_size=4).map(
    lambda picks: [f"{key}={AXES[key][i % len(AXES[key])]}" for key, i in picks.items()]
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory, hydra):
    """What is kept, of compositions by the Hydra that is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("vit_sweep.config.compose.initialize_config_dir", lambda **_: nullcontext())
        yield CompositionCache([conf_dir()], os.environ)


def outcome(make):
    try:
        return list(make())
    except (UserError, HydraException) as error:
        return str(error)


@settings(max_examples=60 if LONG else 10)
@given(overrides=grids)
@example(overrides=["grid=paper_fig8", "gpus=1,2", "engine=zero1"])
@example(overrides=["zero=0,1", "engine=zero1"])
@example(overrides=["model=vit_b_16", "model.layers=2,3", "optimizer.learning_rate=1e-3,0.01"])
def test_configurations_are_those_of_the_long_way(hydra, kept, overrides):
    @cache
    def long():
        master = hydra.compose_config("config", list(overrides), run_mode=RunMode.MULTIRUN)
        return list(expand(overrides, loader=hydra.config_loader, master=master))

    def short():
        found = quick(["-m", *overrides], kept, composed_groups)
        return long() if found is None else found.configurations

    first, again, right = outcome(short), outcome(short), outcome(long)
    assert first == again == right


@pytest.mark.parametrize(
    "words",
    [
        ["gpus=1,2"],  # no grid without -m
        ["-m", "gpus=1", "gpus=2"],
        ["-m", "+epochs=1"],
        ["-m", "exclude=['gpus==1']"],
        ["-m", "nothing=1"],
        ["-m", "model.nothing=1"],
        ["-m", "model=1"],
        ["-m", "--config-dir", "x", "gpus=1"],
        ["--cfg", "job"],
        ["grid=paper_fig8"],
        ["hydra.verbose=true"],
    ],
)
def test_what_hydra_alone_can_judge_goes_to_it(kept, words):
    assert quick(words, kept, composed_groups) is None


# --- what is kept -----------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of configurations, and what keeps compositions of it; each look is as of a new process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "conf"
    (folder / "model").mkdir(parents=True)
    (folder / "model/a.yaml").write_text("layers: 1\nroot: ${oc.env:PLACE,here}\n")
    return folder


def look(site, chosen=("model=a",), **environ):
    return CompositionCache([site], environ).read(tuple(chosen))


def keep(site, config, chosen=("model=a",), **environ):
    CompositionCache([site], environ).write(tuple(chosen), config)


def test_what_is_kept_is_found_by_the_next_process(site):
    assert look(site) is None
    keep(site, {"gpus": 1, "model": {"layers": [1, 2.5, None, True, "x"]}})
    assert look(site) == {"gpus": 1, "model": {"layers": [1, 2.5, None, True, "x"]}}


@pytest.mark.parametrize(
    "change",
    [
        lambda site: (site / "model/a.yaml").write_text("layers: 2\nroot: ${oc.env:PLACE,here}\n"),
        lambda site: (site / "model/b.yaml").write_text(""),
        lambda site: (site / "model/a.yaml").rename(site / "model/c.yaml"),
        lambda site: shutil.copytree(site / "model", site / "data"),
    ],
)
def test_any_change_of_a_file_is_another_composition(site, change):
    keep(site, {"gpus": 1})
    about = (site / "model/a.yaml").stat()
    change(site)
    if (site / "model/a.yaml").exists():  # its time says nothing
        os.utime(site / "model/a.yaml", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert look(site) is None


def test_another_choice_or_variable_is_another_composition(site):
    keep(site, {"gpus": 1}, PLACE="there")
    assert look(site, PLACE="there") == {"gpus": 1}
    assert look(site, PLACE="elsewhere") is look(site) is look(site, ["model=b"], PLACE="there") is None
    assert look(site, PLACE="there", OTHER="1") == {"gpus": 1}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"of": 1}', '{"of": ["x", ["model=a"]], "config": {}}', "\xff"]
)
def test_what_is_broken_or_of_something_else_is_not_there(site, tmp_path, text):
    keep(site, {"gpus": 1})
    [file] = (tmp_path / "cache").rglob("*.json")
    file.write_text(text, encoding="latin-1")
    assert look(site) is None
    keep(site, {"gpus": 2})
    assert look(site) == {"gpus": 2}


def test_a_file_of_another_choice_under_this_ones_name_is_not_taken(site, tmp_path):
    keep(site, {"gpus": 1})
    [file] = (tmp_path / "cache").rglob("*.json")
    keep(site, {"gpus": 2}, ["model=b"])
    other = next(path for path in (tmp_path / "cache").rglob("*.json") if path != file)
    shutil.copy(other, file)
    assert look(site) is None


def test_nothing_is_kept_in_a_folder_that_others_may_write(site, tmp_path):
    folder = tmp_path / "cache/vit_sweep/composed"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    keep(site, {"gpus": 1})
    assert not list(folder.iterdir())


def test_where_nothing_can_be_kept_a_command_works_as_before(site, tmp_path):
    (tmp_path / "cache").write_text("a file")
    keep(site, {"gpus": 1})
    assert look(site) is None


def test_what_json_cannot_hold_is_not_kept(site):
    for odd in ({1: 2}, {"day": datetime.date(2026, 1, 1)}, {"x": float("nan")}, {"x": (1,)}):
        keep(site, odd)
        assert look(site) is None


def test_the_newest_are_kept(site, tmp_path, monkeypatch):
    monkeypatch.setattr("vit_sweep.config.quick.cache._MOST", 3)
    for number in range(6):
        keep(site, {"gpus": number}, [f"model={number}"])
        for age, path in enumerate((tmp_path / "cache").rglob("*.json")):
            os.utime(path, ns=(age, path.stat().st_mtime_ns - 10**9))
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 3
    assert look(site, ["model=5"]) == {"gpus": 5}


@pytest.mark.parametrize("text", ["at: ${now:%H}\n", "at: ${oc.select:x,1}\n", "at: ${oc.env:${oc.env:A}}\n"])
def test_files_whose_values_are_made_when_asked_are_left_to_hydra(site, text):
    assert CompositionCache([site], {}).known
    (site / "model/b.yaml").write_text(text)
    assert not CompositionCache([site], {}).known


def test_a_sites_own_word_to_hydra_is_left_to_it(site, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "x.yaml").write_text("hydra: {mode: MULTIRUN}\n")
    assert not CompositionCache([site, own], {}).known


COUNT = """
import json, sys
from vit_sweep.__main__ import main
sys.argv = ["vit_sweep"]
assert main(json.load(sys.stdin)) == 0
print("LOADED", json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_the_second_of_two_equal_commands_imports_no_hydra(tmp_path):
    words = ["-m", "gpus=1,2", "partition=vector_t4v2", "study=s", "dry_run=true"]
    loaded = []
    for _ in range(2):
        answer = subprocess.run(
            [sys.executable, "-c", COUNT],
            input=json.dumps(words),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        )
        assert answer.returncode == 0, answer.stderr
        loaded.append(set(json.loads(answer.stdout.rpartition("LOADED ")[2])))
    assert "hydra" in loaded[0]
    assert not {"hydra", "omegaconf", "antlr4", "yaml"} & loaded[1]
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1
    assert Path(tmp_path / "outputs/s/plan.json").is_file()
