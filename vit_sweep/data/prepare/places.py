"""Where the images of somebody's own data lie: which files are for training, and which for tests."""

import re
from collections.abc import Sequence
from pathlib import Path

from launchers.errors import UserError
from launchers.text import some
from vit_sweep.data.request import NAMED, Request

TEST_WORDS = ("val", "validation", "valid", "test")
"""Words that say that images are for tests, the usual one first."""
_SPLITS = {"train": ("train",), "test": TEST_WORDS}
_NUMBERED = re.compile(r"[-_.]?\d+([-_]of[-_]\d+)?$")
"""What a file of several has at the end of its name: -000017, -00017-of-00032."""


def places(
    request: Request, suffixes: Sequence[str], described: str, path: Path | None = None
) -> tuple[list[Path], list[Path]]:
    """Files to train with, and to test with; none of these where nobody has put some apart.

    A file, a folder of them, or a folder in which `train` and `val` are folders or (numbered) files; something may
    stand before the word: multicoil_train/, imagenet-train-000000.tar. `path`: another than the request's. Raises
    `UserError`.
    """
    path = path or Path(request.path)
    setting = f"data={request.name}: {path}"
    if path.is_file():
        return [path], []
    if not path.is_dir():
        raise UserError(f"{setting} is not there; data.path names {described} or a folder of them")
    parts = {}
    for split, words in _SPLITS.items():
        for split_name in words:
            of_split = [entry for entry in sorted(path.iterdir()) if _says(entry, split_name, suffixes)]
            several = sorted({_kind_of(entry, suffixes) for entry in of_split})
            if len(several) > 1:
                raise UserError(
                    f"{setting} has {some(several, NAMED)}: which of them is the {split} split "
                    "is not known; name a folder that has one of them"
                )
            if of_split:
                parts[split] = [file for entry in of_split for file in files_in(entry, suffixes)]
                break
    listed = (parts["train"], parts.get("test", [])) if "train" in parts else (files_in(path, suffixes), [])
    if not listed[0]:
        raise UserError(f"{setting} holds no {described.split(' ', 1)[1]} ({', '.join(suffixes)})")
    return listed


def files_in(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """A file itself, or those of a folder, sorted."""
    if path.is_file():
        return [path]
    return sorted(entry for entry in path.iterdir() if entry.suffix in suffixes and entry.is_file())


def _says(entry: Path, split_name: str, suffixes: Sequence[str]) -> bool:
    """Whether a folder or a file is a split: train, multicoil_train, train.h5, imagenet-train-000000.tar."""
    stem = _kind_of(entry, suffixes).removesuffix(entry.suffix if entry.suffix in suffixes else "")
    return bool(re.search(rf"(^|[-_.]){split_name}$", stem)) and (entry.is_dir() or entry.suffix in suffixes)


def _kind_of(entry: Path, suffixes: Sequence[str]) -> str:
    """The name without the number that a file of several has."""
    if entry.suffix in suffixes and not entry.is_dir():
        return _NUMBERED.sub("", entry.stem) + entry.suffix
    return entry.name
