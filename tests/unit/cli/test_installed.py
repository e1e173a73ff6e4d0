"""The built wheel works alone: plugin, configurations and command are inside it."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT
from tests.docs.consoles import follow
from tests.warm import clean_environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build, os; os.chdir({str(ROOT)!r}); hatchling.build.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_packages_and_configurations_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name and ".data/data/share/doc/" not in name}
    assert tops == {"vit_sweep", "launchers", "hydra_plugins"}
    assert "vit_sweep/conf/partition/local.yaml" in names
    assert "vit_sweep/conf/config.yaml" in names
    for name in ("report.html.j2", "macros.html.j2", "style.css", "tables.js", "whatif.js"):
        assert f"vit_sweep/report/page/assets/{name}" in names
    assert {"vit_sweep/reference/paper_cifar100.csv", "vit_sweep/reference/paper_cifar100.yaml"} <= set(names)
    assert {"vit_sweep/py.typed", "launchers/py.typed"} <= set(names)
    assert "hydra_plugins/__init__.py" not in names


def test_the_wheel_holds_every_page_that_the_program_names(wheel):
    named = {
        page for path in (ROOT / "vit_sweep").rglob("*.py") for page in re.findall(r"docs/[\w/]+\.md", path.read_text())
    }
    held = {name.partition("/share/doc/vit_sweep/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    assert len(named) > 10
    assert named - held == set()


COMMANDS = """
import json, sys, vit_sweep
from vit_sweep.__main__ import main
print(vit_sweep.__file__)
for words, code in json.loads(sys.argv[1]):
    print(">", *words, flush=True)
    ended = main(words)
    assert ended == code, (words, ended)
"""


def installed(python, cwd, commands, **environment):
    """Run commands of the installed package, which must end with the code beside them; it says first where it is."""
    return subprocess.run(
        [python, "-c", COMMANDS, json.dumps(commands)],
        cwd=cwd,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
    )


def test_the_installed_command_plans_and_knows_the_published_figures_away_from_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    commands = [(["-m", "gpus=1,2", "dry_run=true"], 0), (["audit", "--reference", "paper_cifar100"], 1)]
    answer = installed(sys.executable, tmp_path, commands, PYTHONPATH=os.fspath(site))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.startswith(str(site))
    assert "2 points, 2 cells" in answer.stdout
    assert "claims that fall: throughput, fixed problem, accuracy" in answer.stdout


@pytest.fixture(scope="module")
def reader(wheel, tmp_path_factory, request):
    """The folder of the reader who has nothing but the wheel, after the first hour with it."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copy(wheel, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONSTRAINT", str(ROOT / "constraints.txt"))
        page, renew = ROOT / "docs" / "tutorials" / "wheel.md", request.config.option.renew_docs
        follow(page, folder, renew=renew, bin=folder / ".venv" / "bin")
    return folder


def test_the_core_alone_plans_renders_and_looks(reader, tmp_path):
    """What a login node or a CI job needs: no torch, no pandas, nothing of the other extras."""
    python = reader / ".venv" / "bin" / "python"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bash").symlink_to("/bin/bash")  # and nothing else: no Slurm, no git
    commands = [
        (["-m", "gpus=1,2", "partition=vector_t4v2", "dry_run=true", "study=s"], 0),
        (["status", "outputs/s"], 3),
        (["profiles", "list"], 0),
        (["profiles", "check", "vector_t4v2"], 0),
        (["explain", "batch_per"], 0),
        (["cancel", "outputs/s"], 0),
        (["collect", "outputs/s"], 2),
    ]
    answer = installed(python, tmp_path, commands, PATH=str(tmp_path / "bin"), PYTHONPATH="")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "pip install 'vit_sweep[report]'" in answer.stderr
    assert "What `batch` counts." in answer.stdout
