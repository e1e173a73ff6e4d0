"""The gate's workflows of docs/ci, run as their services run them: a repository of somebody's model, and a request."""

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import yaml

from tests.conftest import ROOT

pytestmark = pytest.mark.train
GITHUB, GITLAB = ROOT / "docs" / "ci" / "gate.yml", ROOT / "docs" / "ci" / "gitlab-gate.yml"
GRID = "gpus=2 batch=32 fraction=0.1 epochs=2 warmup_steps=1 model=own model.name=tiny model.target=my_model:build"
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


def run(file, folder, tmp_path):
    """The exit code of the job, what a person reads of it, and the request's tests."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = f'PYTHONPATH="{ROOT}:$PYTHONPATH" exec {sys.executable} -m vit_sweep "$@"'
    (programs / "vit_sweep").write_text(f"#!/bin/sh\n{command}\n")
    (programs / "vit_sweep").chmod(0o755)
    summary = tmp_path / "summary.md" if file == GITHUB else folder / "gate.md"
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "BASE": "origin/main",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "GRID": f"{GRID} partition=local",
        "ROUNDS": "1",
    }
    options = ["-e"] if file == GITHUB else ["-eo", "pipefail"]
    answer = subprocess.run(
        ["bash", *options, "-c", steps(file)], cwd=folder, env=environment, capture_output=True, text=True
    )
    said = answer.stdout + answer.stderr
    assert (folder / "gate.xml").is_file(), said
    return answer.returncode, said, summary.read_text(), ElementTree.parse(folder / "gate.xml").getroot()


@pytest.mark.parametrize(
    ("file", "line", "name"),
    [(GITHUB, READ, "host reads of a step"), (GITLAB, ALL_REDUCE, "all_reduce calls of a step")],
    ids=["github: an item()", "gitlab: an all-reduce"],
)
def test_one_line_more_in_the_model_fails_the_request_by_what_it_adds_to_a_step(
    request_with, tmp_path, file, line, name
):
    code, said, summary, tests = run(file, request_with(line), tmp_path)
    assert code == 1, said
    assert f"worse: gpus=2: {name} " in " ".join(said.split())
    assert "(+1, " in said
    assert f"| ❌ worse | gpus=2 | {name} |" in summary.replace("\\", "")
    assert tests.find(f".//testcase[@name='gpus=2: {name}']/failure") is not None


def test_a_request_that_changes_nothing_passes_with_every_count_equal(request_with, tmp_path):
    code, said, summary, tests = run(GITHUB, request_with("# a comment"), tmp_path)
    assert code == 0, said
    assert tests[0].get("failures") == "0"
    counts = tests.findall(".//testcase[@classname='gate.count']")
    assert len(counts) > 5 and not tests.findall(".//testcase[@classname='gate.count']/skipped")
    assert "nothing is known to be worse" in summary
