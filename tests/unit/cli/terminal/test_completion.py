"""The tab key: verbs, studies, keys, the names of groups and other menus, as the shells ask for them."""

import os
import subprocess
import sys

import pytest

from tests.unit.builders import planned_study, point
from vit_sweep.__main__ import main
from vit_sweep.cli.verbs import VERBS
from vit_sweep.config.completing import complete, menu

SHELLS = ["bash", "zsh", "fish"]


@pytest.fixture
def tab(monkeypatch, capsys, tmp_path):
    """Press the tab key in bash behind these words, as bash cuts them; returns what it would show."""
    monkeypatch.chdir(tmp_path)

    def press(*words):
        monkeypatch.setenv("_VIT_SWEEP_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(("vit_sweep", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert main([]) == 0
        return capsys.readouterr().out.split()

    return press


def test_every_verb_is_completed_at_the_first_place_and_no_other(tab):
    assert {*VERBS} <= {*tab("")}
    assert tab("sta") == ["status"]
    assert "status" not in tab("gpus", "=", "1", "")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["gp"], ["gpus="]),
        (["-m", "gpus", "=", "1,2", "optimizer.l"], ["optimizer.learning_rate="]),
        (["model", "=", "vit_b"], ["vit_b_16", "vit_b_4_32"]),
        (["-m", "scaling", "=", "strong,"], ["strong,weak"]),
        (["-m", "zero", "=", "1", "engine", "="], menu("engine")),
        (["plan", "-m", "partition", "=", "vec"], ["vector_a40", "vector_t4v2"]),
        (["profiles", "show", "te"], ["tesla"]),
        (["resume", "x", "--ret"], ["--retry"]),
        (["completion", "install", "z"], ["zsh"]),
    ],
)
def test_keys_and_their_values_are_completed_wherever_a_sweep_takes_them(tab, words, shown):
    assert tab(*words) == shown


@pytest.mark.parametrize(
    "verb", ["status", "resume", "cancel", "collect", "report", "audit", "check", "drop", "compare"]
)
def test_a_verb_that_takes_a_study_is_told_those_that_lie_here(tab, tmp_path, verb):
    for name in ("mine", "other"):
        planned_study(tmp_path / "outputs" / name, point())
    assert tab(verb, "") == ["mine", "other"]
    assert tab(verb, "mi") == ["mine"]


def test_shells_that_leave_a_word_whole_get_it_whole(monkeypatch, capsys):
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "vit_sweep -m model=vit_b_16,vit_l")
    monkeypatch.setenv("_VIT_SWEEP_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert main([]) == 0
    assert capsys.readouterr().out.split() == ["model=vit_b_16,vit_l_16"]


def test_menus_are_those_of_the_keys():
    assert complete("wait=") == ["wait=true", "wait=false"]
    assert complete("retry=o") == ["retry=out_of_memory"]
    assert complete("logging=") == ["logging=tensorboard", "logging=wandb", "logging=mlflow"]
    assert complete("engine.offload_optimizer=c") == ["engine.offload_optimizer=cpu"]
    assert complete("gpus=") == complete("nothing=") == []
    assert "local" in menu("partition")


def test_a_sites_own_partitions_are_completed_too(monkeypatch, tmp_path):
    (tmp_path / "partition").mkdir()
    (tmp_path / "partition" / "ours.yaml").touch()
    monkeypatch.setenv("VIT_SWEEP_CONF", str(tmp_path))
    assert complete("partition=ou") == ["partition=ours"]


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_installed_once_for_each_shell_where_it_looks(monkeypatch, tmp_path, capsys, shell):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["completion", "install", shell]) == 0
    first = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert any("_VIT_SWEEP_COMPLETE=complete_" + {"zsh": "fish"}.get(shell, shell) in text for text in first.values())
    assert main(["completion", "install", shell]) == 0
    again = {path: path.read_text().rstrip() for path in tmp_path.rglob("*") if path.is_file()}
    assert again == {path: text.rstrip() for path, text in first.items()}
    assert "from its next start on" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["install", "tcsh"], ["show", "tcsh"], ["install"]])
def test_a_shell_without_completion_is_told_those_that_have_it(monkeypatch, capsys, words):
    monkeypatch.setenv("SHELL", "")
    assert main(["completion", *words]) == 2
    assert "known: bash, zsh, fish" in capsys.readouterr().err


def test_bash_itself_completes_with_the_script_that_is_shown(tmp_path, capsys):
    assert main(["completion", "show", "bash"]) == 0
    program = tmp_path / "vit_sweep"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vit_sweep "$@"\n')
    program.chmod(0o755)
    asks = 'COMP_WORDS=(vit_sweep model = vit_b); COMP_CWORD=3; _vit_sweep_completion vit_sweep; echo "${COMPREPLY[*]}"'
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = f"{capsys.readouterr().out}\n{asks}"
    answer = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert answer.stdout.split() == ["vit_b_16", "vit_b_4_32"], answer.stderr
