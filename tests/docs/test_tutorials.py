"""Every command of a console is run as shown, and prints what the page shows (`--renew-docs` writes it anew)."""

import re

import pytest

from tests.conftest import LONG, OLD_STUDY, ROOT
from tests.docs.commands import PAGES
from tests.docs.consoles import consoles, follow

TUTORIALS = ROOT / "docs" / "tutorials"


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """The folder of the reader who begins with the first tutorial."""
    return tmp_path_factory.mktemp("laptop")


@pytest.mark.train
@pytest.mark.parametrize("page", ["laptop", "compute_time"])  # in this order: the second goes on with the first's study
def test_a_tutorial_that_trains_does_what_it_shows(page, laptop, request):
    renew = request.config.option.renew_docs
    follow(TUTORIALS / f"{page}.md", laptop, renew=renew, as_run=str if renew or LONG else shorter)
    assert unnamed(laptop / "outputs" / "first") == []


def shorter(command):
    """The same lines by a sweep on 128 images, whole steps of every cell, with figures in one format."""
    figures = "export VIT_SWEEP_FIGURES=svg; " if "first" in command else ""
    return figures + command.replace(" study=first", " study=first fraction=0.0889")


def test_every_file_of_an_old_study_has_its_place_in_the_reference():
    assert unnamed(OLD_STUDY) == []


def unnamed(study):
    """Files of a study that docs/reference/files.md does not name; its words in capitals stand for any name."""
    rows = [line.split("|")[1] for line in (ROOT / "docs/reference/files.md").read_text().splitlines() if "|" in line]
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    names += [f"tables/NAME{name}" for name in names if name.startswith(".")]
    names += [f"figures/NAME{name}" for name in names if name.startswith(".")]
    known = [
        re.compile(
            re.sub(r"[A-Z]+(?:-STEP)?", "[^/]+", re.escape(name).replace(r"\*", "[^/]*").replace(r"\-", "-"))
            + (".*" if name.endswith("/") else "")
        )
        for name in names
    ]
    known += [re.compile(r"cells/[^/]+/attempts/[^/]+/rank\d+\.(json|log)")]
    files = [path.relative_to(study).as_posix() for path in study.rglob("*") if path.is_file()]
    return [file for file in files if not any(pattern.fullmatch(file) for pattern in known)]


@pytest.mark.parametrize("page", ["cluster", "paper", "admin", "ci"])
def test_a_tutorial_of_plans_does_what_it_shows(page, tmp_path, request):
    pytest.importorskip("pyarrow")
    follow(TUTORIALS / f"{page}.md", tmp_path, renew=request.config.option.renew_docs)


OTHERS = [page for page in PAGES if page.parent != TUTORIALS and list(consoles(page.read_text()))]


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.stem)
def test_any_other_page_shows_what_its_commands_print(page, tmp_path, request):
    follow(page, tmp_path, renew=request.config.option.renew_docs)


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(TUTORIALS.glob("*.md"))], ids=lambda page: page.stem)
def test_who_has_nothing_yet_installs_from_a_checkout_or_a_file(page):
    """No index has vit_sweep; an extra's name alone (`vit_sweep[data]`) is for who has it already."""
    text = page.read_text()
    for console in reversed(list(consoles(text))):
        text = text[: console.start] + text[console.end :]
    assert re.findall(r"pip install [^\n`]*(?<!/)\bvit_sweep\b[^\n`]*", text) == []


def test_no_tutorial_is_left_out():
    """tests/unit/cli/test_installed.py follows the one of the wheel."""
    known = {"laptop", "compute_time", "cluster", "paper", "admin", "ci", "wheel"}
    assert {path.stem for path in TUTORIALS.glob("*.md")} == known
