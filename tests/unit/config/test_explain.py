"""Every key has a meaning, a menu and a default, from the one place that checks its values."""

import ast
import re

import pytest
import yaml

from launchers.checked import words_under
from launchers.errors import UserError
from tests.conftest import ROOT
from vit_sweep.__main__ import main
from vit_sweep.config.explain import all_keys, explain
from vit_sweep.config.folders import VARIABLES
from vit_sweep.config.groups import composed_words
from vit_sweep.config.plain_yaml import known_keys
from vit_sweep.config.settings import Settings


def test_every_key_has_a_meaning_and_says_what_it_takes():
    keys = list(all_keys())
    assert [key.name for key in keys] == known_keys()
    assert [key.name for key in keys if not key.meaning or not key.takes] == []
    assert [key.name for key in keys if "None" in f"{key.meaning} {key.default}"] == []


def test_a_default_is_what_a_command_that_says_nothing_gets(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    composed = composed_words([])
    for key in all_keys():
        group, _, last = key.name.rpartition(".")
        if group or isinstance(composed.get(last), dict) or "VIT_SWEEP" in key.default:
            continue
        # As it is typed: what YAML of old reads as false is a word in a command.
        assert composed[last] in (key.default, yaml.safe_load(key.default)), key.name


def test_a_menu_says_each_words_meaning():
    told = explain("batch_per")
    assert [value for value, _ in told.values] == ["gpu", "global"]
    assert all(meaning for _, meaning in told.values)
    assert explain("minutes").unit == "min"
    assert explain("weak_fraction").takes == "number, above 0, at most 1"
    assert "VIT_SWEEP_PARTITION" in explain("partition").default


def test_words_under_a_field_are_those_of_the_source():
    assert words_under(Settings)["outputs"] == "Folder that studies lie in."


def test_a_name_that_is_no_key_gets_the_likeliest(capsys):
    with pytest.raises(UserError, match="there is no such key – did you mean batch_per"):
        explain("batch_pr")
    assert main(["explain", "lr"]) == 2
    assert "optimizer.learning_rate" in capsys.readouterr().err


def test_the_verb_says_it_and_lists_all(capsys):
    assert main(["explain", "zero", "gpus"]) == 0
    output = capsys.readouterr().out
    assert "ZeRO stage by its number" in output
    assert "TOTAL GPUs" in output
    assert main(["explain"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= len(known_keys())


def test_every_variable_of_a_user_is_in_the_one_list():
    """Those of a job are in `process/environment.py`; ranks, completing shells and tests set one for themselves."""
    tree = ast.parse((ROOT / "launchers" / "process" / "environment.py").read_text())
    of_jobs = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    files = [*(ROOT / "vit_sweep").rglob("*.py"), *(ROOT / "launchers").rglob("*.py"), *(ROOT / "conf").rglob("*.yaml")]
    named = {name for file in files for name in re.findall(r"VIT_SWEEP_[A-Z]+(?:_[A-Z]+)*", file.read_text())}
    assert named - of_jobs - {*VARIABLES} == {"VIT_SWEEP_NVME", "VIT_SWEEP_COMPLETE", "VIT_SWEEP_LONG_TESTS"}
