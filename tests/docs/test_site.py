"""The documentation site: built with warnings as errors, and published by version."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

pytest.importorskip("material")
ENVIRONMENT = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
SOURCES = ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")


def program(name):
    """A program of the environment that runs the tests."""
    return str(Path(sys.executable).parent / name)


@pytest.fixture
def copy(tmp_path):
    """What the site is made of, to be changed."""
    for name in SOURCES:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    return tmp_path


def build(folder, site):
    command = [program("mkdocs"), "build", "--site-dir", site]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def test_the_site_builds_without_a_warning_and_every_page_is_in_it(tmp_path):
    built = build(ROOT, tmp_path)
    assert built.returncode == 0, built.stderr
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    pages = {page.with_name("index.html") if page.stem == "README" else page for page in pages}
    assert {page for page in pages if not (tmp_path / page).is_file()} == set()
    assert all((tmp_path / name).is_file() for name in ("index.html", "CHANGELOG.html", "CONTRIBUTING.html"))
    assert [page for page in pages if "```" in (tmp_path / page).read_text()] == [], "a block that is none"


def test_a_link_that_leads_nowhere_and_a_page_that_no_menu_names_are_errors(copy):
    """All at once: each must be named by a warning of its own, any of which is an error (`strict`)."""
    links = ["nowhere.md", "architecture.md#nowhere", "../nowhere.py"]
    with (copy / "docs" / "peers.md").open("a") as page:
        page.writelines(f"\n[a link]({link})\n" for link in links)
    (copy / "docs" / "forgotten.md").write_text("# Forgotten\n")
    built = build(copy, copy / "site")
    assert built.returncode != 0
    warnings = re.split(r"^(?=WARNING)", built.stderr, flags=re.MULTILINE)[1:]
    assert [name for name in (*links, "forgotten.md") if not any(name in warning for warning in warnings)] == []


def test_each_version_stands_beside_the_others(tmp_path):
    """The commands of docs/ci/site.yml for a tag, without the push, on a repository and a site of one page."""
    settings, _, _ = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")
    (tmp_path / "mkdocs.yml").write_text(settings.replace("hooks: [docs/site.py]", ""))
    (tmp_path / "docs" / "assets").mkdir(parents=True)
    (tmp_path / "docs" / "assets" / "site.css").touch()
    (tmp_path / "docs" / "index.md").write_text("# Home\n")
    steps = yaml.safe_load((ROOT / "docs" / "ci" / "site.yml").read_text())["jobs"]["site"]["steps"]
    script = steps[-1]["run"].replace("--push ", "")
    for command in (["git", "init", "-q", "-b", "main"], ["git", "add", "."], ["git", "commit", "-q", "-m", "docs"]):
        subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT | identity(), check=True)
    for ref in ("refs/heads/main", "refs/tags/v1.0", "refs/tags/v1.1"):
        environment = ENVIRONMENT | {
            "GITHUB_REF": ref,
            "GITHUB_ACTOR": "writer",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        ["git", "show", "gh-pages:versions.json"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    assert {(v["version"], *v["aliases"]) for v in json.loads(shown)} == {("dev",), ("1.0",), ("1.1", "latest")}


def identity():
    """Who commits, for a git that knows nobody."""
    return {f"GIT_{who}_{what}": "writer@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
