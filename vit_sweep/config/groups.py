"""The files of a config group (`partition/*.yaml`, `data/*.yaml`): where they lie, what they say. An edge."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from launchers.atomic import read
from launchers.checked import checked
from launchers.errors import UserError
from vit_sweep.config.folders import conf_dir, site_dir
from vit_sweep.config.plain_yaml import keep_references, plain
from vit_sweep.config.words import Plain

_LONGEST, _MOST_ALIASES, _DEEPEST = 256 * 1024, 20, 20
"""Bytes of a file, aliases in it, and lists within lists."""
_NOUNS = {"partition": "profile", "data": "data set", "grid": "named grid"}
"""What a file of each group is."""


@checked
class Entry:
    """One file of a group."""

    name: str
    """The file's name without `.yaml`: the word after `partition=`."""
    path: str
    origin: str
    """`shipped`, `--config-dir` or `site`."""
    hidden_by: str | None = None
    """Path of the file of the same name that a sweep takes instead."""


def catalog(group: str, config_dir: Path | None, environ: Mapping[str, str] = os.environ) -> list[Entry]:
    """List every file of a group, in the order in which Hydra looks: shipped, --config-dir, site.

    Raises `UserError` for a folder that is not there or cannot be read.
    """
    places = [("shipped", conf_dir())]
    if config_dir is not None:
        if not config_dir.is_dir():
            raise UserError(
                f"--config-dir={config_dir}: there is no such folder; it is like conf/, with {group}/*.yaml in it"
            )
        places.append(("--config-dir", config_dir))
    site = site_dir(environ)
    # One folder may be both: named by links, by a relative path, or twice the same.
    if site is not None and not any(site.samefile(folder) for _, folder in places):
        places.append(("site", site))
    entries: list[Entry] = []
    first: dict[str, str] = {}
    for origin, folder in places:
        for path in _files(folder / group):
            entries.append(Entry(name=path.stem, path=str(path), origin=origin, hidden_by=first.get(path.stem)))
            first.setdefault(path.stem, str(path))
    return entries


def _files(folder: Path) -> list[Path]:
    """The YAML files of a folder; none where a site has no such group of its own."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".yaml") if folder.exists() else []
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}; it must be a folder that you may list") from None


def keys_of(group: str, entry: Entry, others: Iterable[Entry] = (), changes: Sequence[str] = ()) -> dict[str, Any]:
    """The keys that a file gives; one that builds on others by a `defaults` list is composed by Hydra.

    So is one with `changes`, override words of this group.

    Raises `UserError` that names the file and what is wrong.
    """
    keys = _read(group, Path(entry.path))
    if "defaults" not in keys and not changes:
        return keys
    folders = dict.fromkeys(
        str(Path(e.path).parent.parent.absolute()) for e in (*others, entry) if e.origin != "shipped"
    )
    search = ",".join(f"'{folder}'" for folder in folders)
    words = [f"{group}={entry.name}", f"hydra.searchpath=[{search}]", *changes]
    try:
        composed: dict[str, Any] = composed_words(words, is_cell=False)[group]
    except UserError as error:
        raise UserError(str(error) if changes else f"{entry.path}: {error}") from None
    return composed


def _read(group: str, path: Path) -> dict[str, Any]:
    """Read a YAML file of keys; raises `UserError` that names the file and what is wrong."""
    try:
        text = read(path, max_bytes=_LONGEST).decode()
        _refuse_bomb(path, text)
        node = OmegaConf.create(text)
        loaded: Any = OmegaConf.to_container(node, resolve=True)
        if group == "partition" and isinstance(loaded, dict):
            keep_references(loaded, node)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: a {_NOUNS[group]} is a list of `key: value` lines, this is not")
    return {str(key): value for key, value in loaded.items()}


def _refuse_bomb(path: Path, text: str) -> None:
    """Raise `UserError` for a file that grows without bound when it is read: by aliases of aliases, or by depth.

    Within itself an alias is as deep as one likes.
    """
    aliases = 0
    anchors: list[str | None] = []
    """The anchors of the values that are open."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            anchors.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchors.pop()
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            if event.anchor in anchors:
                raise UserError(f"{path}: the value &{event.anchor} has itself inside; write out what is meant")
        if aliases > _MOST_ALIASES or len(anchors) > _DEEPEST:
            raise UserError(
                f"{path}: more than {_MOST_ALIASES} aliases or {_DEEPEST} levels, which no file of keys needs; "
                "write the values out"
            )


def composed_words(words: Sequence[str], *, is_cell: bool = True) -> Plain:
    """One configuration from override words, outside of a sweep; raises `UserError` for a wrong word.

    `is_cell`: it is to run, as a command without -m; a named grid is then refused.
    """
    from hydra import compose, initialize_config_dir

    from vit_sweep.config.compose import readable_errors, single, whole

    try:
        with readable_errors(), initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            composed = compose("config", overrides=list(words))
            return single(composed) if is_cell else plain(whole(composed))
    except RecursionError:
        raise UserError("what its defaults: name builds on it in turn; name a file that stands for itself") from None
