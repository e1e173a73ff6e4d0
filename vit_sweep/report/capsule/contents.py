"""What of a study goes into its capsule: read through no link, cleaned, as files by their names. An edge."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from launchers.atomic import read_inside
from launchers.text import some
from vit_sweep.report.capsule.cleaning import Cleaner, folders_in, hosts_in
from vit_sweep.study.code.snapshot import digest_of
from vit_sweep.study.store import Study

_TAKEN = re.compile(
    r"(study|plan|deciding)\.json|(jobs|decisions)\.jsonl|stops/[^/]+\.json|"
    r"jobs/[^/]+/((batch|forecast)\.json|job(-\d+)?\.(sh|sbatch)|rank\.sh)|"
    r"cells/[^/]+/(cell|record|dropped|ds_config)\.json|cells/[^/]+/attempts/[^/]+/(exit|claim)\.json"
)
"""What says what was asked, what ran and how it ended. Logs, traces, checkpoints and what queues keep are left out."""
_CODE = re.compile(r"\.code/([0-9a-f]{12})/((vit_sweep|launchers)/.+)")
_ENTERED = re.compile(
    r"stops|jobs(/[^/]+)?|cells(/[^/]+(/attempts(/[^/]+)?)?)?|\.code(/[0-9a-f]{12}(/(vit_sweep|launchers)(/.+)?)?)?"
)
_NO_CODE = re.compile(r"__pycache__|\..*")
_PLACES = ("study_dir", "data_root")
"""Keys of absolute folders whose meaning everybody knows: the study's own, and its data's."""


class Listed(NamedTuple):
    """The files of a study that are taken."""

    texts: list[str]
    """To be cleaned; their paths in the study, sorted."""
    code: list[str]
    """As they are, or their digest would be another."""
    notes: list[str]
    """What was not taken that one might look for."""


def listed(study: Study) -> Listed:
    """Look at a study's folder; nothing is read yet, and no link is followed."""
    texts, code, links = [], [], []
    for path, is_link in _walk(study.folder, "."):
        if is_link:
            links.append(path)
        elif _CODE.fullmatch(path):
            code.append(path)
        elif _TAKEN.fullmatch(path):
            texts.append(path)
    notes = [f"{some(sorted(links), 3)}: left out, nothing is read through a symbolic link"] if links else []
    return Listed(texts=sorted(texts), code=sorted(code), notes=notes)


def _walk(folder: Path, inside: str) -> Iterator[tuple[str, bool]]:
    """Paths in the study of files and links, and whether it is a link."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = entry.name if inside == "." else f"{inside}/{entry.name}"
        if entry.is_symlink():
            # Of a folder that is not taken nobody asks.
            if _ENTERED.fullmatch(path) or _TAKEN.fullmatch(path) or _CODE.fullmatch(path):
                yield path, True
        elif entry.is_dir(follow_symlinks=False):
            if _ENTERED.fullmatch(path) and not (inside.startswith(".code/") and _NO_CODE.fullmatch(entry.name)):
                yield from _walk(folder / entry.name, path)
        elif entry.is_file(follow_symlinks=False):
            yield path, False


def cleaner_of(study: Study, files: Listed, *, hosts: bool) -> Cleaner:
    """What takes places out of its texts; without `hosts` the names of hosts as well."""
    places = {str(study.folder): f"outputs/{study.name}"}
    names: set[str] = set()
    folders: set[str] = set()
    for path in files.texts:
        is_read = path.endswith(("batch.json", "cell.json", "study.json")) or not hosts
        if not is_read or not path.endswith((".json", ".jsonl")):
            continue
        for value in _values(read_inside(study.folder / path), path):
            if not hosts:
                names.update(hosts_in(value))
            folders.update(folders_in(value))
            for key in _PLACES:
                place = value.get(key) if isinstance(value, dict) else None
                if isinstance(place, str) and place.startswith("/") and place.strip("/"):
                    places[place.rstrip("/")] = f"outputs/{study.name}" if key == "study_dir" else "data"
    return Cleaner(places, names, folders=folders)


def _values(content: bytes, name: str) -> Iterator[Any]:
    lines = content.splitlines() if name.endswith(".jsonl") else [content]
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue  # said where it is cleaned


def cleaned_files(study: Study, files: Listed, cleaner: Cleaner) -> Iterator[tuple[str, bytes]]:
    """Path in the study and content of each file that is taken; what makes no sense is noted in `files` and left."""
    wrong = []
    for path in files.texts:
        try:
            yield path, cleaner.file(path, read_inside(study.folder / path))
        except ValueError:
            wrong.append(path)
    if wrong:
        files.notes.append(f"{some(wrong, 3)}: left out, nobody can read what it says")
    yield from _code(study, files)


def _code(study: Study, files: Listed) -> Iterator[tuple[str, bytes]]:
    by_digest: dict[str, dict[str, bytes]] = {}
    for path in files.code:
        if code := _CODE.fullmatch(path):
            content = read_inside(study.folder / path)
            by_digest.setdefault(code[1], {})[code[2]] = content
            yield path, content
    for digest, contents in by_digest.items():
        if (actual := digest_of(contents)) != digest:
            files.notes.append(f".code/{digest} is not the code that its name says: its digest is {actual}")
    if not by_digest:
        files.notes.append("no code snapshot lies in the study")
