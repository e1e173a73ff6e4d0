"""Lists in sentences."""

from collections.abc import Iterable


def some(words: Iterable[str], most: int = 4, *, separator: str = ", ") -> str:
    """Name the first few and count the rest.

    >>> some("abcdef", 3)
    'a, b, c and 3 more'
    """
    every = list(words)
    return separator.join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
