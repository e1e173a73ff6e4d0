"""The YAML files that pages show are taken as they are shown."""

import re
import textwrap

import pytest

from tests.conftest import ROOT

STUDY = ROOT / "docs" / "study"
FENCED = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def indented(page, first):
    """The indented block of a page that begins with a line."""
    lines = page.read_text().partition(f"    {first}\n")[2].splitlines()
    block = [f"    {first}", *lines[: next(n for n, line in enumerate(lines) if line and not line.startswith("    "))]]
    return textwrap.dedent("\n".join(block))


def put(folder, group, text):
    """Write it where a user would; returns its name."""
    name = re.search(r"^name: (\w+)", text, re.MULTILINE)[1]
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / f"{name}.yaml").write_text(text)
    return name


@pytest.mark.parametrize("text", FENCED.findall((ROOT / "docs" / "profiles.md").read_text()))
def test_a_profile_passes_its_check(text, tmp_path, sweep):
    name = put(tmp_path / "site", "partition", text)
    answer = sweep("profiles", "check", name, "--config-dir", "site")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"ok     {name}" in answer.stdout


def test_a_grid_is_planned(tmp_path, sweep):
    name = put(tmp_path / "site", "grid", indented(STUDY / "grids.md", "name: pairs"))
    answer = sweep("-m", f"grid={name}", "--config-dir=site", "dry_run=true")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "3 points, 3 cells" in answer.stdout


def test_a_data_set_is_known(tmp_path, sweep):
    name = put(tmp_path / "site", "data", indented(STUDY / "data.md", "name: leaves"))
    answer = sweep("data", "list", "--config-dir", "site")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert re.search(rf"{name}\b.*12,?000", answer.stdout)
