"""The warm server of the tests is no command of its own: what it runs cannot be told from `python -m vit_sweep`."""

import os
import subprocess
import sys

import pytest

from tests.warm import clean_environment


def scrubbed(folder):
    """Names and contents of what a command left, but for times and its own folder's name."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if ".code" not in path.parts)


@pytest.mark.parametrize(
    "words",
    [
        ["collect", "--help"],
        ["-m", "gpus=1,2", "batch=16,3", "dry_run=stdout", "study=s"],
        ["gpus=two"],
    ],
)
def test_it_says_writes_and_returns_what_a_process_of_its_own_does(sweep, tmp_path, words):
    warm, cold = tmp_path / "a", tmp_path / "b"
    warm.mkdir()
    cold.mkdir()
    ours = sweep(*words, cwd=warm, env={"COLUMNS": "90"})
    real = subprocess.run(
        [sys.executable, "-m", "vit_sweep", *words],
        cwd=cold,
        env=clean_environment() | {"COLUMNS": "90"},
        capture_output=True,
        text=True,
    )
    assert ours.returncode == real.returncode
    assert ours.stdout.replace(str(warm), "HERE") == real.stdout.replace(str(cold), "HERE")
    assert ours.stderr.replace(str(warm), "HERE") == real.stderr.replace(str(cold), "HERE")
    assert scrubbed(warm) == scrubbed(cold)


def test_it_has_the_callers_environment_and_no_other(sweep, tmp_path):
    completed = sweep("profiles", "list", env={"VIT_SWEEP_CONF": str(tmp_path / "gone")})
    assert completed.returncode == 2
    assert "gone" in completed.stderr
    assert "VIT_SWEEP_CONF" not in os.environ
    assert sweep("profiles", "list").returncode == 0
