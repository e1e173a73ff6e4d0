"""What takes long shows on a terminal how far it is; what is short, or goes to a file, shows nothing of it."""

import io

import pytest
from rich.console import Console

from tests.unit.cli.results.test_gate import write_study
from vit_sweep.__main__ import main
from vit_sweep.cli.terminal import console as consoles
from vit_sweep.cli.terminal import show

PLAN = ("plan", "-m", "gpus=1,2", "batch=16,32", "partition=vector_t4v2")


@pytest.fixture
def printed(tmp_path, monkeypatch):
    """What a command prints on a terminal or into a file, where so many cells are many."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIT_SWEEP_FIGURES", "off")

    def of(words, *, many, is_terminal=True):
        screen = Console(force_terminal=is_terminal, file=io.StringIO(), width=100)
        monkeypatch.setattr(show, "console", lambda **_: screen)
        monkeypatch.setattr(consoles, "_BAR_FROM", many)
        assert main(list(words)) == 0
        return screen.file.getvalue()

    return of


def test_a_plan_of_many_cells_shows_how_many_are_written(printed):
    assert "writing cells" in printed(PLAN, many=4)


def test_a_plan_of_few_cells_shows_no_progress(printed):
    assert "writing cells" not in printed(PLAN, many=5)


def test_what_goes_to_a_file_shows_no_progress(printed):
    assert "writing cells" not in printed(PLAN, many=1, is_terminal=False)


def test_many_records_show_how_many_are_read(printed):
    write_study("mine", seeds=2)
    assert "reading records" in printed(("collect", "mine"), many=2)
