"""What a command shows in a terminal becomes a picture of the documentation."""

import importlib.util
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("pyte")
SAYS = "print('\\x1b[1;32mdone\\x1b[0m   4 of 12'); print('\\x1b[1Aover it')"


@pytest.fixture(scope="module")
def record():
    """docs/record.py, which is a program and in no package."""
    spec = importlib.util.spec_from_file_location("record", ROOT / "docs" / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_screen_is_what_a_person_sees_of_it_and_its_picture_needs_no_network(record, tmp_path):
    screen = list(record.frames([sys.executable, "-c", SAYS], tmp_path))[-1]
    assert screen.display[0].rstrip() == "over it4 of 12"
    svg = record.picture(screen, "a title")
    assert "of&#160;12" in svg and "a&#160;title" in svg
    assert "url(http" not in svg and "@font-face" not in svg


def test_a_command_that_fails_gives_no_picture(record, tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        list(record.frames([sys.executable, "-c", "raise SystemExit(2)"], tmp_path))
