"""Commands that a message proposes are spelt as its reader has called us."""

import sys

import pytest

from launchers.invocation import called


@pytest.mark.parametrize(
    ("started", "spelling"),
    [
        ("/usr/local/bin/vit_sweep", "vit_sweep"),
        (".venv/bin/vit_sweep", "vit_sweep"),
        ("/work/checkout/vit_sweep/__main__.py", "python -m vit_sweep"),
        ("/venv/lib/python3.11/site-packages/pytest/__main__.py", "vit_sweep"),
        ("notebook.py", "vit_sweep"),
        ("", "vit_sweep"),
    ],
)
def test_the_next_command_is_spelt_as_this_one(monkeypatch, started, spelling):
    monkeypatch.setattr(sys, "argv", [started, "status"])
    assert called() == spelling


def test_a_process_without_a_name_is_told_of_the_script(monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    assert called() == "vit_sweep"
