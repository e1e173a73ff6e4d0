"""Lists and counts in sentences."""

from collections.abc import Iterable


def some(words: Iterable[str], most: int = 4, *, separator: str = ", ") -> str:
    """Name the first few and count the rest.

    >>> some("abcdef", 3)
    'a, b, c and 3 more'
    """
    items = list(words)
    return separator.join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "GPU"), plural(1024, "GPU")
    ('1 GPU', '1,024 GPUs')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_TURNED = [*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_VISIBLE = _PICTURES | dict.fromkeys(_TURNED, 0xFFFD)


def visible(text: str) -> str:
    """Text from a file as a terminal may print it: what would move its cursor or turn its writing stands as a sign.

    Line breaks and tabs stay.

    >>> visible("a\\x1b[2Jb")
    'a␛[2Jb'
    """
    return text.translate(_VISIBLE)
