"""The built wheel works alone: plugin, configurations and command are inside it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.warm import clean_environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build, os; os.chdir({str(ROOT)!r}); hatchling.build.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_packages_and_configurations_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"vit_sweep", "launchers", "hydra_plugins"}
    assert "vit_sweep/conf/partition/local.yaml" in names
    assert "vit_sweep/conf/config.yaml" in names
    for name in ("report.html.j2", "style.css", "tables.js"):
        assert f"vit_sweep/report/page/{name}" in names
    assert {"vit_sweep/reference/paper_cifar100.csv", "vit_sweep/reference/paper_cifar100.yaml"} <= set(names)
    assert "hydra_plugins/__init__.py" not in names


def installed(site, cwd, *words):
    """Run the command of the package in `site`, which says first where it was imported from."""
    code = (
        "import vit_sweep, sys; print(vit_sweep.__file__); "
        "from vit_sweep.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = clean_environment() | {"PYTHONPATH": os.fspath(site)}
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_the_installed_command_plans_away_from_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    answer = installed(site, tmp_path, "-m", "gpus=1,2", "dry_run=true")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(str(site))
    assert "2 points, 2 cells" in answer.stdout


def test_the_installed_command_knows_the_published_figures(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    answer = installed(site, tmp_path, "audit", "--reference", "paper_cifar100")
    assert answer.returncode == 1, answer.stderr
    assert "claims that fall: throughput, fixed problem, accuracy" in answer.stdout


def test_the_core_alone_plans_renders_and_looks(wheel, tmp_path):
    """What a login node or a CI job needs: no torch, no pandas, nothing of the other extras."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("uv is not beside this python: make env-dev puts it there")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "core"], check=True)
    python = tmp_path / "core" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    install = [uv, "pip", "install", "--quiet", "--python", python, "--constraint", constraints, wheel]
    subprocess.run(install, check=True, timeout=900)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bash").symlink_to("/bin/bash")  # and nothing else: no Slurm, no git
    for words in (
        ["-m", "gpus=1,2", "partition=vector_t4v2", "dry_run=true", "study=s"],
        ["status", "outputs/s"],
        ["profiles", "list"],
        ["profiles", "check", "vector_t4v2"],
        ["cancel", "outputs/s"],
    ):
        answer = subprocess.run(
            [python, "-m", "vit_sweep", *words],
            cwd=tmp_path,
            env=clean_environment() | {"PATH": str(tmp_path / "bin")},
            capture_output=True,
            text=True,
        )
        expected = 3 if words[0] == "status" else 0
        assert answer.returncode == expected, (words, answer.stdout, answer.stderr)
    collect = subprocess.run(
        [python, "-m", "vit_sweep", "collect", "outputs/s"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert collect.returncode == 2
    assert "pip install 'vit_sweep[report]'" in collect.stderr
