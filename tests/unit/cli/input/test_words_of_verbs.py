"""Words that a verb does not take are answered in one sentence that says what to write instead."""

import re

import pytest
import typer

from vit_sweep.cli.app import app_with

INSTEAD = {
    ("resume", "x", "dry_run=true"): "keys go with a sweep's own command: vit_sweep -m ... dry_run=true",
    ("resume", "dry_run=true", "x"): "keys go with a sweep's own command: vit_sweep -m ... dry_run=true",
    ("resume", "x", "-m", "gpus=2"): "keys go with a sweep's own command: vit_sweep -m ... gpus=2",
    ("resume", "x", "minutes=240"): "write --minutes 240",
    ("resume", "x", "minutes="): "write --minutes VALUE",
    ("resume", "x", "wait=false"): "write --no-wait",
    ("status", "x", "quiet=true"): "write --quiet",
    ("status", "x", "quiet=false"): "leave it out",
    ("cancel", "x", "cells=n1-*"): "write --cells 'n1-*'",
    ("gate", "x", "--against", "a=b", "write_baseline=c.json"): "write --write-baseline c.json",
}


@pytest.mark.parametrize("words", INSTEAD, ids=" ".join)
def test_a_key_with_its_value_is_answered_by_the_option_that_says_it(sweep, words):
    answer = sweep(*words)
    said = answer.stderr.replace("python -m vit_sweep", "vit_sweep")
    (word,) = [word for word in words[1:] if "=" in word and word != "a=b"]
    assert (answer.returncode, said) == (2, f"error: {word}: {words[0]} takes no KEY=VALUE – {INSTEAD[words]}\n")


def _verbs(command, name=()):
    for verb, child in getattr(command, "commands", {}).items():
        yield from _verbs(child, (*name, verb))
    if not getattr(command, "commands", None) and not command.context_settings:
        yield name, [one.nargs for one in command.params]


VERBS = dict(_verbs(typer.main.get_command(app_with())))


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_verb_answers_in_the_words_of_a_parser(sweep, verb):
    """Each is given an option that it has not, and more words than it takes; plan and render-diff judge all words."""
    too_many = [] if -1 in VERBS[verb] else [["x"] * len(VERBS[verb]) + ["batch=3"]]
    for words in [["--bathc"], *too_many]:
        answer = sweep(*verb, *words)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert re.fullmatch(r"error: .* – .*\n", answer.stderr), answer.stderr


def test_a_group_of_verbs_shows_them(sweep):
    answer = sweep("data")
    assert answer.returncode == 2
    assert "prepare" in answer.stdout + answer.stderr
    assert "error" not in answer.stderr


def test_words_of_a_sweep_stay_for_the_verbs_that_take_them(sweep):
    assert "No such option: --foo" in sweep("simulate", "gpus=1", "--foo").stderr
    assert "Missing argument 'new'" in sweep("render-diff", "gpus=1").stderr
