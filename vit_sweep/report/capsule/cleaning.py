"""What of a study's texts is for nobody else: where it lay, whose home that was, secrets, perhaps hosts. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from launchers.references import MASK, is_secret, masked
from launchers.text import indented

ELSEWHERE = "..."
"""Stands for the folders of a path."""
_PUBLIC = ("bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr")
"""First parts of paths that are the same on every machine."""
_PATH = re.compile(r"""(?<![\w/.~}-])(?!//)(?:/[^\s/'"`:;,=<>()\[\]{}|*?$&\\]+)+/?""")
"""Absolute paths, and no part of an address or of another path."""
_HOST_KEYS = frozenset({"host", "hosts", "exclude", "nodelist"})
_PATH_KEYS = frozenset({"container", "folder", "nvme", "python", "scratch", "data_root", "study_dir", "code"})
"""Whose values are one path, with whatever blanks in it."""
_WORDS_KEYS = frozenset({"arguments", "overrides"})
"""Whose values are words of a command: a path in one ends with the word."""
_QUOTED = re.compile(r"""(['"`])(/[^'"`\n]*)\1""")
"""A path in quotes, as Python's own errors name files."""
_BLANK = "\ue000"
"""Of a path while it is looked for: a character for private use, which ends nothing."""
_HANDLE_HOST = re.compile(r"([^/\s]+)/\d+/\d+")
"""Of a queue on a machine: its name, a process, when that began."""
_NO_NAME = frozenset({"", "localhost"})


class Cleaner:
    """Takes out of texts what a capsule does not say."""

    def __init__(self, places: Mapping[str, str], hosts: Iterable[str] = (), *, folders: Iterable[str] = ()) -> None:
        """`places`: what to write for absolute folders; `hosts`: names that are not to be told; `folders`: others that
        texts may name, whose blanks end nothing."""
        self._places = dict(places)
        known = {above for path in (*places, *folders) for above in _with_blanks(path)}
        self._blanks = _any_of(known, after=r"[\w.-]")
        self._place_words = _any_of(places, after=r"[\w.-]")
        self._hosts = {name: f"host{number}" for number, name in enumerate(sorted({*hosts} - _NO_NAME), start=1)}
        self._host_words = _any_of(self._hosts, after=r"[\w-]")

    def text(self, text: str) -> str:
        """A script or a sentence.

        >>> Cleaner({"/home/eve/outputs/mine": "outputs/mine"}).text("run /home/eve/outputs/mine/a /opt/eve/py /bin/sh")
        'run outputs/mine/a .../py /bin/sh'
        """
        text = self._place_words.sub(lambda place: self._places[place[0]], masked(text))
        text = _QUOTED.sub(_whole, text)
        text = self._blanks.sub(lambda path: path[0].replace(" ", _BLANK), text)
        text = _PATH.sub(_shortened, text).replace(_BLANK, " ")
        return self._host_words.sub(lambda host: self._hosts[host[0]], text)

    def _path(self, path: str) -> str:
        """A value that is one path: blanks in it end nothing, so nobody's name is left behind one."""
        cleaned = (
            self.text(path) if " " not in path else self._place_words.sub(lambda place: self._places[place[0]], path)
        )
        return _last(cleaned) if cleaned.startswith("/") and " " in cleaned else cleaned

    def file(self, name: str, content: bytes) -> bytes:
        """A file of a study; one without anything to be taken out stays as it is, byte for byte.

        Raises `ValueError` for a JSON file that is none, and for what is no text.
        """
        text = content.decode()
        if name.endswith(".json"):
            value = json.loads(text)
            cleaned = self._value(value)
            return content if cleaned == value else f"{indented(cleaned)}\n".encode()
        if name.endswith(".jsonl"):
            return "".join(self._line(line) for line in text.splitlines(keepends=True)).encode()
        return self.text(text).encode()

    def _line(self, line: str) -> str:
        try:
            value = json.loads(line)
        except ValueError:  # cut off by a crash: whoever reads the journal passes it over
            return ""
        cleaned = self._value(value)
        return line if cleaned == value else f"{json.dumps(cleaned)}\n"

    def _value(self, value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            if value in self._hosts:
                # A partition may be called as a host is.
                return self._hosts[value] if key in _HOST_KEYS else value
            name, given, path = value.partition("=") if key in _WORDS_KEYS else ("", "", value)
            if path.startswith("/") and key in _PATH_KEYS | _WORDS_KEYS:
                return f"{self.text(name)}{given}{self._path(path)}"
            return self.text(value)
        if isinstance(value, list):
            return [self._value(inner, key) for inner in value]
        if isinstance(value, dict):
            return {
                name: MASK
                if key == "environment" and isinstance(inner, str) and is_secret(name, inner)
                else self._value(inner, name)
                for name, inner in value.items()
            }
        return value


def folders_in(value: Any, key: str = "") -> Iterator[str]:
    """Every absolute path with blanks that plain data of a study tells by itself."""
    if isinstance(value, str):
        path = value.partition("=")[2] if key in _WORDS_KEYS and "=" in value else value
        if key in _PATH_KEYS | _WORDS_KEYS and path.startswith("/") and " " in path:
            yield path
    elif isinstance(value, list):
        for inner in value:
            yield from folders_in(inner, key)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from folders_in(inner, name)


def hosts_in(value: Any, key: str = "") -> Iterator[str]:
    """Every name of a host that plain data of a study tells."""
    if isinstance(value, str):
        if key in _HOST_KEYS:
            yield value
        elif key == "handle" and (handle := _HANDLE_HOST.fullmatch(value)):
            yield handle[1]
    elif isinstance(value, list):
        for inner in value:
            yield from hosts_in(inner, key)
    elif isinstance(value, dict):
        for name, inner in value.items():
            # A profile lists its hosts as {name: ..., slots: ...}.
            yield from hosts_in(inner, key if key == "hosts" and name == "name" else name)


def _any_of(words: Iterable[str], *, after: str) -> re.Pattern[str]:
    """What finds each of the words, the longest first, where nothing of it stands around; nothing without words."""
    longest = sorted(words, key=lambda word: (-len(word), word))
    return re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest))})(?!{after})" if longest else "(?!)")


def _with_blanks(path: str) -> Iterator[str]:
    """The path and the folders above it that have a blank in them.

    >>> sorted(_with_blanks("/home/Eve Adams/data"))
    ['/home/Eve Adams', '/home/Eve Adams/data']
    """
    parts = path.rstrip("/").split("/")
    yield from (above for end in range(2, len(parts) + 1) if " " in (above := "/".join(parts[:end])))


def _last(path: str) -> str:
    """A path without its folders."""
    return f"{ELSEWHERE}/{path.rstrip('/').rpartition('/')[2]}"


def _whole(quoted: re.Match[str]) -> str:
    """A path with blanks in quotes, shortened; a command, whose further words are options or paths, as it is."""
    quote, path = quoted.groups()
    return quoted[0] if " " not in path or re.search(r" [/-]", path) else f"{quote}{_last(path)}{quote}"


def _shortened(path: re.Match[str]) -> str:
    parts = [part for part in path[0].split("/") if part]
    return path[0] if parts[0] in _PUBLIC else f"{ELSEWHERE}/{parts[-1]}"
