"""Lists in sentences."""

from collections.abc import Iterable


def some(words: Iterable[str], most: int = 4, *, separator: str = ", ") -> str:
    """Name the first few and count the rest.

    >>> some("abcdef", 3)
    'a, b, c and 3 more'
    """
    items = list(words)
    return separator.join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
