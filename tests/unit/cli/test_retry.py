"""Words that an earlier version took stay words."""

import pytest
from hydra import compose, initialize_config_dir
from typer.testing import CliRunner

from vit_sweep.cli import running, sweep
from vit_sweep.cli.app import app_with
from vit_sweep.config.compose import single
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.settings import read
from vit_sweep.outcome.selection import Retry


@pytest.mark.parametrize(("old", "meaning"), [("oom", Retry.OUT_OF_MEMORY), ("timeout", Retry.TIME_LIMIT)])
def test_the_words_of_earlier_versions_are_taken_by_a_sweep_and_by_resume(old, meaning, monkeypatch):
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        _, settings = read([single(compose("config", overrides=[f"retry={old}"]))])
    assert settings.retry is meaning
    retries = []
    monkeypatch.setattr(sweep, "resume", lambda _, *, retry, **others: retries.append(retry) or 0)
    monkeypatch.setattr(running, "open_study", lambda study: study)
    for spelling in (old, meaning.value):
        assert CliRunner().invoke(app_with(["resume"]), ["resume", "some_study", "--retry", spelling]).exit_code == 0
    assert retries == [meaning, meaning]


def test_a_word_that_nobody_took_is_refused_with_the_menu():
    answer = CliRunner().invoke(app_with(["resume"]), ["resume", "some_study", "--retry", "ooom"])
    assert answer.exit_code == 2
    words = " ".join(answer.output.replace("│", " ").split())
    assert "ooom is not one of failed, out_of_memory, time_limit, all" in words
