"""A sweep from Python is the sweep of the command: the same words, plan and scripts, and the same study."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

import vit_sweep as vs
from launchers.backend import TaskState, TaskStatus
from launchers.checked import to_json
from tests.unit.builders import record
from tests.unit.submit.test_submission import Slurm
from vit_sweep.__main__ import main
from vit_sweep.config.python_words import words_of
from vit_sweep.study import polling, status
from vit_sweep.study.store import Study
from vit_sweep.submit import batches, submission, tending

TEXTS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
NESTED = st.lists(PLAIN, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), PLAIN, max_size=3)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@settings(deadline=None)
@given(st.lists(PLAIN | NESTED, min_size=1, max_size=3))
def test_a_word_says_to_hydra_what_the_value_is(values):
    (word,) = words_of({"model.arguments": values})
    parsed = OverridesParser.create().parse_override(word)
    choices = list(parsed.sweep_iterator()) if parsed.is_sweep_override() else [parsed.value()]
    again = OverridesParser.create()
    read = (
        [again.parse_override(f"x={each}").value() for each in parsed.sweep_string_iterator()]
        if len(choices) > 1
        else choices
    )
    assert [_bare(value) for value in read] == [_bare(value) for value in values]


def _bare(value):
    if isinstance(value, dict):
        return {str(key): _bare(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_bare(part) for part in value]
    return getattr(value, "text", value)


@pytest.mark.parametrize(
    ("given_value", "word"),
    [
        (range(1, 9, 3), "1,4,7"),
        ((1, 2), "1,2"),
        (np.array([1, 2]), "1,2"),
        (np.int64(4), "4"),
        ([np.int64(1), np.float32(0.5), np.bool_(True)], "1,0.5,true"),
        (pd.Series([8, 16]), "8,16"),
        (True, "true"),
        (None, "null"),
        (1e-5, "1e-05"),
        ("vit_b_16", "vit_b_16"),
        (["a", "b c"], "a,'b c'"),
        ([[1, 2], [3]], "[1,2],[3]"),
    ],
    ids=str,
)
def test_values_of_numpy_and_pandas_are_taken_for_what_they_hold(given_value, word):
    assert words_of({"gpus": given_value}) == [f"gpus={word}"]


def test_a_list_is_the_value_of_a_key_that_takes_a_list():
    words = words_of({"exclude": ["gpus==8"], "zip": [["gpus", "batch"]], "logging": ("wandb",)})
    assert words == ["exclude=['gpus==8']", "zip=[[gpus,batch]]", "logging=[wandb]"]


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("partition", "local,tesla", "['local', 'tesla']"),
        ("gpus", "1, 2", "[1, 2]"),
        ("gpus", "[1,2]", "[1, 2]"),
        ("gpus", "range(1,3)", "[VALUE, VALUE]"),
        ("data", "a/b,c/d", "['a/b', 'c/d']"),
        ("precision", ["fp32", "bf16,fp16"], "['bf16', 'fp16']"),
    ],
)
def test_several_values_of_an_axis_in_one_text_are_answered_by_the_list_to_write(key, value, instead):
    with pytest.raises(vs.UserError) as told:
        words_of({key: value})
    assert str(told.value).endswith(f": a text is one value, and several are a list: {key}={instead}")


@pytest.mark.parametrize("key", ["until", "study", "data.path", "model.arguments"])
def test_a_comma_in_a_text_that_may_have_one_stays(key):
    assert words_of({key: "a,b"}) == [f"{key}='a,b'"]


def test_a_path_is_a_data_set_of_ones_own(here):
    (here / "photos").mkdir()
    assert words_of({"data": Path("photos")}) == ["data=imagefolder", "data.path='./photos'"]
    assert words_of({"outputs": here}) == [f"outputs='{here}'"]


@pytest.mark.parametrize("value", [{1, 2}, b"1", object(), 1j], ids=lambda value: type(value).__name__)
def test_what_is_no_value_of_a_sweep_is_said_to_be_none(value):
    with pytest.raises(vs.UserError, match="gpus="):
        words_of({"gpus": value})


@pytest.mark.parametrize("values", [range(10**30), itertools.count()], ids=["range", "endless"])
def test_more_values_than_a_study_holds_points_are_not_waited_for(values):
    with pytest.raises(vs.UserError, match="seed: more than 100,000 values"):
        words_of({"seed": values})


@pytest.mark.parametrize("key", ["a b", "gpus=1,batch", "", "gpus,"])
def test_what_is_no_key_is_said_to_be_none(key):
    with pytest.raises(vs.UserError, match="there is no such key"):
        words_of({key: 1})


def files_of(folder):
    """What a sweep leaves, but for the time of the command and its own words."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name not in ("study.json", ".lock.owner")}


def test_a_dry_run_writes_what_the_command_writes_and_prints_nothing(here, capsys):
    words = ["gpus=1,2", "batch=16", "partition=vector_t4v2", "study=s", "optimizer.learning_rate=0.001"]
    study = vs.sweep(
        gpus=range(1, 3),
        batch=[16],
        partition="vector_t4v2",
        study="s",
        dry_run=True,
        **{"optimizer.learning_rate": 1e-3},
    )
    assert capsys.readouterr() == ("", "")
    assert study.folder == here / "outputs" / "s"
    assert set(study.status().state) == {"missing"}
    ours = files_of(study.folder)
    (command,) = json.loads((study.folder / "study.json").read_text())["commands"]
    assert command["arguments"] == ["-m", *command["overrides"]]
    study.folder.rename(here / "kept")
    assert main(["-m", *words, "dry_run=true"]) == 0
    theirs = files_of(here / "outputs" / "s")
    assert [name for name in ours if "/job.sbatch" in name]
    assert ours == theirs


def test_a_sites_own_folder_is_looked_into(here):
    (here / "conf" / "partition").mkdir(parents=True)
    (here / "conf" / "partition" / "mine.yaml").write_text("defaults: [local]\nname: mine\n")
    study = vs.sweep(partition="mine", config_dir=here / "conf", dry_run=True)
    assert study.name == "vit_tiny_32-digits-mine"
    (command,) = json.loads((study.folder / "study.json").read_text())["commands"]
    assert command["arguments"][1] == f"--config-dir={here / 'conf'}"
    with pytest.raises(vs.UserError, match="config_dir=nowhere: there is no such folder"):
        vs.sweep(config_dir="nowhere")


def test_a_program_that_uses_hydra_itself_keeps_it(here):
    from hydra import initialize
    from hydra.core.global_hydra import GlobalHydra

    with initialize(version_base="1.3", config_path=None):
        before = GlobalHydra.instance().hydra
        vs.sweep(dry_run=True)
        assert GlobalHydra.instance().hydra is before


class Instant(Slurm):
    """Jobs that leave their record as soon as they are submitted."""

    def submit(self, rendered):
        files = {file.cell_id: file.cell for file in self.study.cell_files()}
        for name in [task.name for item in rendered for task in item.batch.tasks]:
            (self.study.cell_dir(name) / "record.json").write_text(to_json(record(files[name])))
        yield from super().submit(rendered)


GRID = {"gpus": [1, 2], "partition": "vector_t4v2", "study": "s"}


@pytest.fixture
def on(here, monkeypatch):
    """Put a made-up scheduler in the place of Slurm."""

    def choose(scheduler):
        slurm = scheduler(Study(here / "outputs" / "s"))
        for module in (status, polling, submission, batches):
            monkeypatch.setattr(module, "launcher_of", lambda _: slurm)
        monkeypatch.setattr(tending, "launcher_of", lambda _: slurm)
        return slurm

    return choose


def test_a_sweep_that_does_not_wait_is_submitted_once(on, capsys):
    slurm = on(Slurm)
    slurm.states = lambda submissions: pytest.fail("nothing has run, so nobody is asked")
    study = vs.sweep(**GRID, wait=False)
    assert sum(len(tasks) for tasks in slurm.jobs.values()) == 2
    assert len({entry.batch for entry in Study(study.folder).jobs()}) == 2
    assert capsys.readouterr() == ("", "")


def test_a_sweep_that_waits_comes_back_with_its_runs_and_runs_nothing_twice(on, capsys):
    slurm = on(Instant)
    slurm.states = lambda submissions, **_how: {
        (s.batch_name, i): TaskStatus(state=TaskState.ENDED) for s in submissions for i in range(s.tasks)
    }
    study = vs.sweep(**GRID)
    assert set(study.status().state) == {"done"}
    assert sorted(study.runs.gpus) == [1, 2]
    assert study.runs.epoch_s.notna().all()
    vs.sweep(**GRID)
    assert sum(len(tasks) for tasks in slurm.jobs.values()) == 2
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_ends_the_waiting_and_not_the_jobs(on, monkeypatch):
    slurm = on(Slurm)
    monkeypatch.setattr(polling, "SOON_S", 0.0)
    monkeypatch.setattr(polling, "LONGEST_S", 0.0)  # it is asked at once, not after ten seconds of silence

    def interrupted(submissions, **_how):
        raise KeyboardInterrupt

    slurm.states = interrupted
    with pytest.raises(KeyboardInterrupt):
        vs.sweep(**GRID)
    slurm.states = lambda submissions, **_how: {
        (s.batch_name, i): TaskStatus(state=TaskState.RUNNING) for s in submissions for i in range(s.tasks)
    }
    assert set(vs.open("s").status().state) == {"running"}
    assert sum(len(tasks) for tasks in slurm.jobs.values()) == 2
