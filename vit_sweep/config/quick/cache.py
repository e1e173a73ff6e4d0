"""Compositions that Hydra made, kept in the user's cache folder by all that they depend on. An edge.

That is the content of every configuration file, of the shipped folder and of a site's own, the variables that they
name, the versions of Hydra and OmegaConf, and the groups that were chosen. What cannot be read, or says that it is of
something else, is not there; where nothing can be kept, nothing is.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from launchers.atomic import own_folder, read, remove, user_folder, write
from vit_sweep.config.folders import conf_dir, site_dir
from vit_sweep.config.words import Plain

_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)[,}]")
_ASKS = re.compile(r"\$\{[^}]*?:")
"""A value that something makes when it is asked for: of a variable, or `${now:...}`."""
_NAME = r"[0-9a-f]{64}\.json"
_MOST = 200
"""Files that are kept, the newest; each has about 4 KiB."""
_LARGEST = 2**20
_FORM = 1
"""Of what is kept."""


class CompositionCache:
    """What is kept for the configuration files as they are now."""

    def __init__(self, folders: list[Path], environ: Mapping[str, str]) -> None:
        """`folders`: the shipped one first, then those whose files may add to it. Raises `OSError` as reading does."""
        self._folders = folders
        files = [(str(number), *file) for number, folder in enumerate(folders) for file in sorted(_files(folder))]
        texts = b"\n".join(content for *_, content in files).decode(errors="replace")
        names = sorted(set(_VARIABLE.findall(texts)))
        self.known = len(_ASKS.findall(texts)) == len(_VARIABLE.findall(texts)) and not any(
            b"hydra" in content for number, _, content in files if number != "0"
        )
        """Whether these files say all: nothing that a clock or a program answers, nothing to Hydra itself."""
        dependencies = [_FORM, *_versions(), [(name, environ.get(name)) for name in names]]
        digest = hashlib.sha256(json.dumps(dependencies).encode())
        for number, name, content in files:
            digest.update(f"{number}\0{name}\0{len(content)}\0".encode() + content)
        self._of_files = digest.hexdigest()

    def is_group(self, key: str) -> bool:
        """Whether the values of this key are names of files."""
        return any((folder / key).is_dir() for folder in self._folders)

    def read(self, chosen: tuple[str, ...]) -> Plain | None:
        """The composition of these words (`model=vit_b_16`), if it is kept."""
        with suppress(OSError, RuntimeError, ValueError):
            stored = json.loads(read(self._path(chosen), max_bytes=_LARGEST))
            if isinstance(stored, dict) and stored.get("of") == [self._of_files, list(chosen)]:
                config: Plain | None = stored.get("config")
                return config if isinstance(config, dict) else None
        return None

    def write(self, chosen: tuple[str, ...], config: Plain) -> None:
        """Keep it, and of all that is kept the newest."""
        with suppress(OSError, RuntimeError, TypeError):  # of what JSON has no word for, a date
            text = json.dumps({"of": [self._of_files, list(chosen)], "config": config})
            if json.loads(text)["config"] != config:
                return
            path = self._path(chosen)
            own_folder(path.parent)
            write(path, text, private=True)
            newest = sorted(path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in newest[_MOST:]:
                remove(old, pattern=_NAME)

    def _path(self, chosen: tuple[str, ...]) -> Path:
        name = hashlib.sha256(json.dumps([self._of_files, list(chosen)]).encode()).hexdigest()
        return user_folder("XDG_CACHE_HOME", ".cache") / "vit_sweep" / "composed" / f"{name}.json"


def user_cache(environ: Mapping[str, str]) -> CompositionCache:
    """What is kept for the shipped configurations and, if there is one, the site's own."""
    site = site_dir(environ)
    return CompositionCache([conf_dir(), *([site] if site is not None else [])], environ)


def _files(folder: Path, inside: str = "") -> Iterator[tuple[str, bytes]]:
    """Name and content of every YAML file below `folder`."""
    with os.scandir(folder) as entries:
        listed = list(entries)
    for entry in listed:
        if entry.is_dir():
            yield from _files(folder / entry.name, f"{inside}{entry.name}/")
        elif entry.name.endswith((".yaml", ".yml")):
            yield f"{inside}{entry.name}", read(folder / entry.name)


def _versions() -> Iterator[str]:
    """What composes: the files that say the versions of Hydra and OmegaConf, and the plugins that Hydra would load."""
    for package, file in (("hydra", "__init__.py"), ("omegaconf", "version.py")):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        yield read(Path(spec.origin).parent / file).decode()
    for place in sys.path:
        with suppress(OSError):
            yield from sorted(path.name for path in Path(place, "hydra_plugins").iterdir())
