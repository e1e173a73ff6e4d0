"""Help fits its terminal, and its commands can be copied as they stand."""

import re
import shlex
import sys

import pytest
import yaml

from vit_sweep.cli.app import app_with
from vit_sweep.cli.terminal.help_text import as_called, examples, fitted, verbs_of
from vit_sweep.config.folders import conf_dir

MODULE = "/checkout/vit_sweep/__main__.py"


@pytest.fixture
def whole():
    """The help of a sweep, before Hydra fills its menus in."""
    (file,) = (conf_dir() / "hydra" / "help").glob("*.yaml")
    return yaml.safe_load(file.read_text())["template"]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("started", ["vit_sweep", MODULE])
def test_no_line_of_help_is_wider_than_the_terminal(monkeypatch, whole, width, started):
    monkeypatch.setattr(sys, "argv", [started])
    lines = fitted(as_called(whole), width).split("\n")
    assert max(map(len, lines)) <= width
    words = " ".join(fitted(as_called(whole), width).split()).replace(" \\ ", " ")
    assert words == " ".join(as_called(whole).split())


@pytest.mark.parametrize("width", [60, 80, 100])
def test_an_example_that_is_broken_over_lines_is_still_one_command_of_the_shell(monkeypatch, whole, width):
    monkeypatch.setattr(sys, "argv", [MODULE])
    text = as_called(whole)
    given = [re.split(r"\s{2,}", line.strip())[0] for line in text.split("\n") if line.startswith("  python -m")]
    assert len(given) == 10
    joined = fitted(text, width).replace("\\\n", "")
    shown = [line.strip() for line in joined.split("\n")]
    for command in given:
        assert any(
            shlex.split(line.partition("   on ")[0])[: len(shlex.split(command))] == shlex.split(command)
            for line in shown
            if line.startswith("python -m")
        )


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_what_a_table_of_help_says_stands_in_its_column_or_below_of_all_rows_alike(monkeypatch, whole, width):
    monkeypatch.setattr(sys, "argv", ["vit_sweep"])
    verbs = fitted(whole, width).partition("\nVerbs")[2].partition("\nExit codes")[0].split("\n")[1:]
    means = re.compile(
        "what a sweep would|what this machine|what a key|the studies here|what became|prove its|tables and"
    )
    places = {line.index(found[0]) for line in verbs if (found := means.search(line))}
    assert len(places) == 1
    assert len([line for line in verbs if means.search(line)]) == 8


def _all(command):
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from _all(child)


def test_every_verb_shows_its_examples_in_the_words_that_called_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", [MODULE])
    shown = [line for verb in _all(verbs_of(app_with())) for line in (verb.epilog or "").split("\n\n") if line.strip()]
    assert {line.partition(" -m vit_sweep ")[0] for line in shown} == {"Example:", "Examples:", "python"}
    monkeypatch.setattr(sys, "argv", ["/bin/vit_sweep"])
    shown = [line for verb in _all(verbs_of(app_with())) for line in (verb.epilog or "").split("\n\n") if line.strip()]
    assert {line.partition(" ")[0] for line in shown} == {"Example:", "Examples:", "vit_sweep"}


def test_one_command_is_an_example_and_several_are_examples():
    assert examples("list") == "Example:\n\nvit_sweep list"
    assert examples("list", "doctor") == "Examples:\n\nvit_sweep list\n\nvit_sweep doctor"


def test_files_and_the_name_of_the_project_are_no_commands(monkeypatch):
    monkeypatch.setattr(sys, "argv", [MODULE])
    kept = "vit_sweep – scaling studies; /etc/bash_completion.d/vit_sweep here; scancel --me --name=vit_sweep-x"
    assert as_called(kept) == kept
