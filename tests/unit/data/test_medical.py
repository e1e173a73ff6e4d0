"""MedMNIST's package leaves nothing behind in the home of whoever asks it for names."""

import sys
from pathlib import Path

import pytest

from vit_sweep.data.prepare import medical

pytestmark = pytest.mark.train

PACKAGE = """
import os
os.makedirs(os.path.expanduser("~/.medmnist"), exist_ok=True)
INFO = {"pathmnist": {"label": {"1": "b", "0": "a"}}}
"""


@pytest.mark.parametrize("own", [None, "pathmnist.npz"], ids=["a new home", "a home with files of the package"])
def test_the_folder_that_an_import_makes_goes_and_one_that_was_there_stays(own, tmp_path, monkeypatch):
    (tmp_path / "medmnist.py").write_text(PACKAGE)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "medmnist", None)  # so that afterwards the real one is there again, or none
    del sys.modules["medmnist"]
    folder = tmp_path / "home/.medmnist"
    if own:
        folder.mkdir(parents=True)
        (folder / own).touch()
    assert medical._names(Path("pathmnist.npz")) == ("a", "b")
    assert [path.name for path in folder.parent.rglob("*")] == ([".medmnist", own] if own else [])
