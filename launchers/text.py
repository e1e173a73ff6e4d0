"""Lists by what they have in common; lists, counts and others' words in sentences."""

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from types import NoneType
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The values of each key, in their order; keys in the order of their first values.

    >>> grouped((len(word), word) for word in ("a", "bc", "d"))
    {1: ['a', 'd'], 2: ['bc']}
    """
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def some(words: Iterable[str], most: int = 4, *, separator: str = ", ") -> str:
    """Name the first few and count the rest.

    >>> some("abcdef", 3)
    'a, b, c and 3 more'
    """
    items = list(words)
    return separator.join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def joined(names: Iterable[str]) -> str:
    """All of them.

    >>> joined("abc"), joined("a")
    ('a, b and c', 'a')
    """
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def short(value: object, most: int = 60) -> str:
    """What somebody wrote, as a sentence can hold it.

    >>> short("abcdefghij", 6)
    'abc...'
    """
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def plural(count: int, noun: str) -> str:
    """A count with its noun. `noun`: the singular, or both forms with what must agree with them.

    >>> plural(1, "GPU"), plural(1024, "GPU"), plural(2, "run has|runs have")
    ('1 GPU', '1,024 GPUs', '2 runs have')
    """
    single, _, several = noun.partition("|")
    return f"{count:,} {single if count == 1 else several or f'{single}s'}"


def lasting(seconds: float) -> str:
    """A time as people say it.

    >>> lasting(20), lasting(600), lasting(9000)
    ('20 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def nodes_by_gpus(nodes: int, gpus_per_node: int) -> str:
    """What a job holds.

    >>> nodes_by_gpus(2, 1)
    '2 nodes x 1 GPU'
    """
    return f"{plural(nodes, 'node')} x {plural(gpus_per_node, 'GPU')}"


_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_TURNED = [*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_VISIBLE = _PICTURES | dict.fromkeys(_TURNED, 0xFFFD)
_SIGNED = re.compile(f"[{''.join(map(re.escape, map(chr, _VISIBLE)))}]")
"""A search takes a tenth of the time of `str.translate`, and mostly finds nothing."""


def visible(text: str) -> str:
    """Text from a file as a terminal may print it: what would move its cursor or turn its writing stands as a sign.

    Line breaks and tabs stay.

    >>> visible("a\\x1b[2Jb")
    'a␛[2Jb'
    """
    return _SIGNED.sub(lambda sign: chr(_VISIBLE[ord(sign[0])]), text)


def indented(value: Any, *, sort_keys: bool = False) -> str:
    """What `json.dumps(value, indent=1)` returns, in a quarter of its time: Python writes indented JSON piece by piece.

    >>> print(indented({"a": [1, "b"], "c": {}}))
    {
     "a": [
      1,
      "b"
     ],
     "c": {}
    }
    """
    return _indented(value, "\n", sort_keys)


_text = json.encoder.encode_basestring_ascii
_one_line = json.JSONEncoder().encode
_SCALARS = frozenset({str, int, float, bool, NoneType})
_FEW = 3
"""Keys of a mapping without further ones in it, above which Python's encoder in C pays."""


@cache
def _flat(inner: str, sort_keys: bool) -> Callable[[Any], str]:
    return json.JSONEncoder(sort_keys=sort_keys, separators=(f",{inner}", ": ")).encode


def _indented(value: Any, end: str, sort_keys: bool) -> str:
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int:
        return str(value)
    inner = f"{end} "
    if isinstance(value, dict) and value:
        if len(value) > _FEW and _SCALARS.issuperset(map(type, value.values())):
            return f"{{{inner}{_flat(inner, sort_keys)(value)[1:-1]}{end}}}"
        items = sorted(value.items()) if sort_keys else value.items()
        lines = [f"{_key(key)}: {_indented(one, inner, sort_keys)}" for key, one in items]
        return f"{{{inner}{f',{inner}'.join(lines)}{end}}}"
    if isinstance(value, list | tuple) and value:
        return f"[{inner}{f',{inner}'.join([_indented(one, inner, sort_keys) for one in value])}{end}]"
    return _one_line(value)


def _key(key: Any) -> str:
    return _text(key) if type(key) is str else _one_line({key: 0})[1:-4]
