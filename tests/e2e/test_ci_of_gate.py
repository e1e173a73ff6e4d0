"""The gate's workflows of docs/ci, run as their services run them: a repository of somebody's model, and a request."""

import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import yaml

from tests.conftest import ROOT
from tests.warm import clean_environment

pytestmark = pytest.mark.train
GITHUB, GITLAB = ROOT / "docs" / "ci" / "gate.yml", ROOT / "docs" / "ci" / "gitlab-gate.yml"
GRID = (
    "gpus=2 batch=32 fraction=0.1 epochs=2 warmup_steps=1 model=own model.name=tiny model.target=my_model:build "
    "engine=ddp preflight=off exposed=off profile_steps=0"
)
"""What counts are judged by is counted in any run."""
MODEL = """
import torch.distributed as dist
from torch import nn


class Tiny(nn.Module):
    def __init__(self, num_classes, image_size):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, 16), nn.ReLU(), nn.Linear(16, num_classes))

    def forward(self, images):
        logits = self.body(images)
        # what a request adds
        return logits


def build(num_classes, image_size):
    return Tiny(num_classes, image_size)
"""
READ = "if logits.device.type != 'meta': self.largest = logits.detach().max().item()"
ALL_REDUCE = "if dist.is_initialized(): dist.all_reduce(logits.detach().mean())"


def git(folder, *words):
    names = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *names, *words], cwd=folder, check=True, capture_output=True, text=True)


@pytest.fixture
def request_with(tmp_path):
    """A clone, as a service makes it, with a commit that adds a line to the model."""

    def clone(line):
        origin, folder = tmp_path / "origin", tmp_path / "clone"
        origin.mkdir()
        (origin / "my_model.py").write_text(MODEL)
        git(origin, "init", "--quiet", "--initial-branch=main")
        git(origin, "add", ".")
        git(origin, "commit", "--quiet", "--message=base")
        git(tmp_path, "clone", "--quiet", str(origin), str(folder))
        (folder / "my_model.py").write_text(MODEL.replace("# what a request adds", line))
        git(folder, "commit", "--quiet", "--all", "--allow-empty", "--message=request")
        return folder

    return clone


def steps(file):
    """What the service runs once the package is installed."""
    workflow = yaml.safe_load(file.read_text())["jobs" if file == GITHUB else "gate"]
    if file == GITHUB:
        return next(step["run"] for step in workflow["gate"]["steps"] if "gate" in step.get("run", ""))
    return "\n".join(line for line in workflow["script"] if "pip install" not in line)


def run(file, folder, tmp_path, program):
    """The job ended; `program`: what the shell runs as `vit_sweep`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "vit_sweep").write_text(f"#!/bin/sh\n{program}\n")
    (programs / "vit_sweep").chmod(0o755)
    environment = clean_environment() | {  # which draws no figures
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "BASE": "origin/main",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "GRID": f"{GRID} partition=local",
        "ROUNDS": "1",
    }
    options = ["-e"] if file == GITHUB else ["-eo", "pipefail"]
    words = ["bash", *options, "-c", steps(file)]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def run_of_ci(file, folder, tmp_path):
    """The exit code of the job, what a person reads of it, and the request's tests."""
    completed = run(file, folder, tmp_path, f'PYTHONPATH="{ROOT}:$PYTHONPATH" exec {sys.executable} -m vit_sweep "$@"')
    output = completed.stdout + completed.stderr
    assert (folder / "gate.xml").is_file(), output
    summary = tmp_path / "summary.md" if file == GITHUB else folder / "gate.md"
    return completed.returncode, output, summary.read_text(), ElementTree.parse(folder / "gate.xml").getroot()


def test_lines_more_in_the_model_fail_the_request_by_what_they_add_to_a_step(request_with, tmp_path):
    code, output, summary, tests = run_of_ci(GITHUB, request_with(f"{READ}\n        {ALL_REDUCE}"), tmp_path)
    assert code == 1, output
    for name in ("host reads of a step", "all_reduce calls of a step"):
        match = re.search(rf"worse: gpus=2: {name} .*?(?=worse: |$)", " ".join(output.split()))
        assert match and "(+1, " in match[0], output
        assert f"| ❌ worse | gpus=2 | {name} |" in summary.replace("\\", "")
        assert tests.find(f".//testcase[@name='gpus=2: {name}']/failure") is not None


def test_a_request_that_changes_nothing_passes_with_every_count_equal(request_with, tmp_path):
    code, output, summary, tests = run_of_ci(GITLAB, request_with("# a comment"), tmp_path)
    assert code == 0, output
    assert tests[0].get("failures") == "0"
    counts = tests.findall(".//testcase[@classname='gate.count']")
    assert len(counts) > 5 and not tests.findall(".//testcase[@classname='gate.count']/skipped")
    assert "nothing is known to be worse" in summary


CODES = {
    "equal": (0, 0, 0),
    "worse": (0, 1, 1),
    "a failed cell": (1, 0, 0),
    "a failed cell and worse": (1, 1, 1),
    "a mistake": (2, 0, 1),
}
"""Of the sweeps, of the gate, and so of the job."""


@pytest.mark.parametrize("file", [GITHUB, GITLAB], ids=["github", "gitlab"])
@pytest.mark.parametrize("case", CODES)
def test_the_gate_decides_whether_the_job_passes_unless_nothing_can_run(request_with, tmp_path, file, case):
    """By exit codes alone: the program is a stand-in."""
    sweep, gate, job = CODES[case]
    program = f"case $1 in gate) exit {gate};; *) exit {sweep};; esac"
    assert run(file, request_with("# a comment"), tmp_path, program).returncode == job
