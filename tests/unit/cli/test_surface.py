"""The verbs and their options are what users and their scripts rely on: they change only on purpose."""

from pathlib import Path

import typer
import yaml

from vit_sweep.cli.app import app_with
from vit_sweep.cli.verbs import VERBS
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.plain_yaml import known_keys

GOLDEN = Path(__file__).parents[2] / "golden" / "verbs.txt"


def _surface(command, name=""):
    """A line for each verb: its name, its arguments, its options."""
    for verb, child in sorted(getattr(command, "commands", {}).items()):
        yield from _surface(child, f"{name} {verb}".strip())
    if not getattr(command, "commands", None):
        words = [" ".join(p.opts) if p.param_type_name == "option" else p.name.upper() for p in command.params]
        yield f"{name}: {', '.join(words)}"


def test_the_verbs_and_their_options_are_those_that_are_written_down():
    """After a change on purpose: write the lines that the failure shows into the file, and say it in CHANGELOG."""
    assert list(_surface(typer.main.get_command(app_with()))) == GOLDEN.read_text().splitlines()


def test_the_first_word_of_a_command_finds_every_verb():
    assert {*typer.main.get_command(app_with()).commands} == {*VERBS}


def test_help_names_every_verb():
    (file,) = (conf_dir() / "hydra" / "help").glob("*.yaml")
    verbs = yaml.safe_load(file.read_text())["template"].partition("Verbs (")[2].partition("Exit codes")[0]
    assert {*VERBS} <= {*verbs.replace(",", " ").split()}


def test_help_names_every_key_that_is_no_group():
    (file,) = (conf_dir() / "hydra" / "help").glob("*.yaml")
    listed = yaml.safe_load(file.read_text())["template"].partition("Axes and settings")[2]
    keys = {key for key in known_keys() if "." not in key} - {path.name for path in conf_dir().iterdir()}
    assert keys - {*listed.replace(",", " ").split()} == set()
