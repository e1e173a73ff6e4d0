"""What a command shows in a terminal becomes a moving picture of the documentation."""

import importlib.util
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT

pytest.importorskip("pyte")
SAYS = "print('\\x1b[1;32mdone\\x1b[0m   4 of 12'); print('\\x1b[1Aover it')"
STAYS, FIRST, LAST = (("a head", "#ffffff", True),), (("1 <of> 2", "#98c379", False),), (("2 of 2", "#98c379", False),)


@pytest.fixture(scope="module")
def record():
    """docs/record.py, which is a program and in no package."""
    spec = importlib.util.spec_from_file_location("record", ROOT / "docs" / "record.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["record"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def words(screen):
    return ["".join(text for text, _, _ in line).rstrip() for line in screen.lines]


def test_a_screen_is_what_a_person_sees_of_it(record, tmp_path):
    screen = list(record.screens([sys.executable, "-c", SAYS], tmp_path))[-1]
    assert words(screen)[0] == "over it4 of 12"


def test_a_command_that_fails_gives_no_recording(record, tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        list(record.screens([sys.executable, "-c", "raise SystemExit(2)"], tmp_path))


def test_a_line_is_written_once_and_shown_while_it_stays(record):
    shown = [record.Screen(0.0, (STAYS, FIRST)), record.Screen(9.0, (STAYS, LAST))]
    picture = record.moving(shown, "a & b")
    root = ElementTree.fromstring(picture)
    groups = root.findall("{http://www.w3.org/2000/svg}g")
    said = {"".join(group.itertext()): group.get("class").split() for group in groups}
    assert set(said) == {"a head", "1 <of> 2", "2 of 2"}
    (always,), (first, off), (last,) = said["a head"], said["1 <of> 2"], said["2 of 2"]
    assert off == "off", "who wants nothing to move sees the last screen"
    assert f".{always} {{animation" not in picture
    assert f"@keyframes {first} {{0.00% {{visibility: visible}} " in picture
    assert f"@keyframes {last} {{0.00% {{visibility: hidden}} " in picture
    assert "url(" not in picture and "@font-face" not in picture


def test_a_long_recording_is_thinned_over_its_time_and_keeps_its_end(record):
    shown = [record.Screen(number**2 / 100, (((str(number), "#ffffff", False),),)) for number in range(100)]
    kept = record.thinned(shown, max_frames=10)
    assert len(kept) <= 11
    assert kept[-1] is shown[-1]
    assert [screen.seconds for screen in kept] == sorted(screen.seconds for screen in kept)
    assert max(b.seconds - a.seconds for a, b in pairwise(kept)) < 2 * shown[-1].seconds / 10
