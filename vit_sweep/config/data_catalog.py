"""Data sets as files: which there are, and what one says. An edge: reads YAML."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from launchers.checked import parse
from launchers.errors import UserError, closest
from vit_sweep.config import groups
from vit_sweep.config.folders import SITE_VARIABLE
from vit_sweep.config.groups import Entry
from vit_sweep.config.words import quoted
from vit_sweep.data.request import Request, is_request, kind_of, request_of
from vit_sweep.plan.specs import DataSpec

GROUP = "data"


def catalog(config_dir: Path | None, environ: Mapping[str, str] = os.environ) -> list[Entry]:
    """The file of every data set that a sweep can name, by name; raises `UserError` for a folder that is not there."""
    entries = groups.catalog(GROUP, config_dir, environ)
    return sorted((entry for entry in entries if entry.hidden_by is None), key=lambda entry: entry.name)


def load(name: str, entries: Sequence[Entry], words: Sequence[str] = ()) -> DataSpec | Request:
    """Read one data set as a sweep would, by its name or its path, and the words after it (`data.side=64`).

    Raises `UserError` with the menu, or with what is wrong in its file or with a word.
    """
    name = name.removeprefix(f"{GROUP}=")  # as a sweep's command says it
    name, words = _by_path(name, words, entries)
    entry = next((entry for entry in entries if entry.name == name), None)
    if entry is None:
        raise UserError(
            f"data={name}: there is no such data set, file or folder – {closest(name, [e.name for e in entries])}; "
            f"yours is data=path/to/DIR, a site's are found with --config-dir FOLDER or {SITE_VARIABLE}"
        )
    keys = groups.keys_of(GROUP, entry, entries, words)
    keys.pop("pipeline", None)  # how a cell reads the images is the sweep's word, not the data set's
    if not is_request(keys):
        return parse(DataSpec, keys, source=f"data {name}")
    keys.pop("augment", None)  # likewise
    return request_of(keys)


def _by_path(name: str, words: Sequence[str], entries: Sequence[Entry]) -> tuple[str, list[str]]:
    known = any(entry.name == name for entry in entries)
    if "/" not in name and (known or not Path(name).exists()):
        return name, list(words)
    return kind_of(name), [f"{GROUP}.path={quoted(name)}", *words]
