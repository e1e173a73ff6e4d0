"""The built wheel works alone: plugin, configurations and command are inside it."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT, clean_environment


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
    assert "hydra_plugins/__init__.py" not in names


def test_the_installed_command_plans_away_from_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    answer = subprocess.run(
        [sys.executable, "-c", "import vit_sweep, sys; print(vit_sweep.__file__); "
         "from vit_sweep.__main__ import main; sys.exit(main(sys.argv[1:]))",
         "-m", "gpus=1,2", "dry_run=true"],
        cwd=tmp_path, env=clean_environment() | {"PYTHONPATH": os.fspath(site)}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(str(site))
    assert "2 points, 2 cells" in answer.stdout
