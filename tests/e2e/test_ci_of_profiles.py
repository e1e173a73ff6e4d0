"""The workflows of docs/ci, run as their services run them, on a git repository and a request that changes profiles."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT
from vit_sweep.config.plain_yaml import plain

KEPT = ("tesla", "vector_t4v2")
GITHUB, GITLAB = ROOT / "docs" / "ci" / "render-diff.yml", ROOT / "docs" / "ci" / "gitlab-render-diff.yml"


def git(folder, *words):
    names = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *names, *words], cwd=folder, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with the code, whose main branch has a few profiles."""
    folder = tmp_path_factory.mktemp("ci") / "origin"
    folder.mkdir()
    for name in ("vit_sweep", "launchers", "hydra_plugins"):
        (folder / name).symlink_to(ROOT / name)  # a copy would be compiled anew by every test
    shutil.copytree(ROOT / "conf", folder / "conf")
    for path in (folder / "conf" / "partition").glob("*.yaml"):
        if path.stem not in KEPT:
            path.unlink()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=base")
    return folder


@pytest.fixture
def request_with(origin, tmp_path):
    """A clone, as a service makes it, with a commit that writes these profiles."""

    def clone(**texts):
        folder = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", str(origin), str(folder))
        for name, text in texts.items():
            (folder / "conf" / "partition" / f"{name}.yaml").write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message=request")
        return folder

    return clone


def profile_of(origin, name):
    return (origin / "conf" / "partition" / f"{name}.yaml").read_text()


def steps(file):
    """What the service runs once the package is installed."""
    workflow = yaml.safe_load(file.read_text())
    if file == GITHUB:
        return workflow["jobs"]["render-diff"]["steps"][-1]["run"]
    return "\n".join(line for line in workflow["render-diff"]["script"] if "pip install" not in line)


def variables(file):
    """What a file says of its repository, for whoever copies it to change."""
    workflow = yaml.safe_load(file.read_text())
    return workflow["env"] if file == GITHUB else workflow["render-diff"]["variables"]


def run(file, folder, tmp_path, code=None, **changed):
    """The exit code of the job, and what a person reads of it; `code`: what is installed, else the repository's own."""
    assert changed.keys() <= variables(file).keys()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "vit_sweep").write_text(f'#!/bin/sh\nexec {sys.executable} -m vit_sweep "$@"\n')
    (programs / "vit_sweep").chmod(0o755)
    summary = tmp_path / "summary.md"
    environment = os.environ | variables(file) | changed
    environment |= {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(code or folder),
        "GITHUB_STEP_SUMMARY": str(summary),
        "BASE": "origin/main",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }
    options = ["-e"] if file == GITHUB else ["-eo", "pipefail"]
    completed = subprocess.run(
        ["bash", *options, "-c", steps(file)], cwd=folder, env=environment, capture_output=True, text=True
    )
    if file == GITHUB:
        assert summary.read_text() in completed.stdout
    return completed.returncode, completed.stdout + completed.stderr


@pytest.mark.parametrize("file", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_a_request_shows_what_changed_what_is_new_and_what_is_the_same_and_passes(origin, request_with, file, tmp_path):
    tesla = profile_of(origin, "tesla")
    changed = profile_of(origin, "vector_t4v2").replace("qos: normal", "qos: long")
    folder = request_with(vector_t4v2=changed, mine=tesla.replace("name: tesla", "name: mine"))
    code, output = run(file, folder, tmp_path)
    assert code == 0, output
    assert "## vector_t4v2: changed" in output
    assert "-#SBATCH --qos=normal\n" in output
    assert "+#SBATCH --qos=long\n" in output
    assert "## mine: new\n\n```diff\n--- /dev/null\n" in output
    assert "## tesla: the same\n\n## vector_t4v2" in output


@pytest.mark.parametrize("file", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_in_a_repository_of_profiles_alone_one_variable_names_their_folder(origin, file, tmp_path):
    site = tmp_path / "site_origin"
    (site / "site" / "partition").mkdir(parents=True)
    profile_file = site / "site" / "partition" / "mine.yaml"
    profile_file.write_text(profile_of(origin, "vector_t4v2").replace("name: vector_t4v2", "name: mine"))
    git(site, "init", "--quiet", "--initial-branch=main")
    git(site, "add", ".")
    git(site, "commit", "--quiet", "--message=base")
    git(tmp_path, "clone", "--quiet", str(site), str(tmp_path / "clone"))
    changed = tmp_path / "clone" / "site" / "partition" / "mine.yaml"
    changed.write_text(profile_file.read_text().replace("qos: normal", "qos: long"))
    git(tmp_path / "clone", "commit", "--quiet", "--all", "--message=request")
    code, output = run(file, tmp_path / "clone", tmp_path, code=ROOT, SITE="--config-dir=site")
    assert code == 0, output
    assert "## mine: changed" in output
    assert "+#SBATCH --qos=long\n" in output


def test_a_profile_that_cannot_be_rendered_fails_the_job_with_its_error_first_and_hides_no_other(
    origin, request_with, tmp_path
):
    changed = profile_of(origin, "vector_t4v2").replace("qos: normal", "qos: long")
    broken = profile_of(origin, "tesla").replace("nodes:", "nods:")
    code, output = run(GITHUB, request_with(vector_t4v2=changed, tesla=broken), tmp_path)
    assert code != 0
    first, _, later_sections = output.partition("## vector_t4v2")
    assert first.startswith("## tesla: cannot be rendered\n\n```\nthe dry run of HEAD failed (")
    assert "unknown key partition.nods – did you mean nodes?" in first
    assert "+#SBATCH --qos=long\n" in later_sections


def test_the_grid_that_they_try_has_every_gpu_count_and_placement_of_the_shipped_grids():
    from omegaconf import OmegaConf

    (words,) = {line.partition(" -m ")[2].partition(" > ")[0] for line in steps(GITHUB).splitlines() if " -m " in line}
    assert words in steps(GITLAB)
    tried = {key: set(values.split(",")) for key, _, values in (word.partition("=") for word in words.split())}
    for path in (ROOT / "conf" / "grid").glob("*.yaml"):
        grid = plain(OmegaConf.load(path))
        fields = {**grid.get("axes", {}), **{key: [value] for key, value in grid.get("set", {}).items()}}
        assert not {"nodes", "allocation"} & fields.keys()
        for key in ("gpus", "placement"):
            assert {str(value) for value in fields.get(key, [])} <= tried[key], path.name
