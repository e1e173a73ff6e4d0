"""A word of a sweep that needs no grammar: `gpus=1,2`, `model=vit_b_16`, `seed=range(0,8)`. Pure.

Only what Hydra reads in the same way is read here (a property test compares them); of all else, None.
"""

import re
from typing import NamedTuple

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17}(?:e-?[0-9]{1,2})?|e-?[0-9]{1,2})")
_TEXT = re.compile(r"(?=.*[A-Za-z_/])(?:[A-Za-z_]|/|\.{1,2}/)[A-Za-z0-9_./-]*")
_SWITCH = {"true": True, "false": False, "null": None}
_ODD = re.compile(r"(?<![A-Za-z0-9_])(?:true|false|null|nan|inf)(?![A-Za-z0-9_])", re.IGNORECASE)
"""Within a text, words that the grammar takes for something else."""
_RANGE = re.compile(r"range\((?:(0|[1-9][0-9]{0,5}),)?(0|[1-9][0-9]{0,5})\)")

Value = str | int | float | bool | None


class Word(NamedTuple):
    """A key and the values that it is given."""

    key: str
    values: tuple[Value, ...]
    texts: tuple[str, ...]
    """The same as they were typed."""


def plain_word(word: str) -> Word | None:
    """What a word says, or None where only Hydra's grammar knows.

    >>> plain_word("gpus=1,2")
    Word(key='gpus', values=(1, 2), texts=('1', '2'))
    >>> plain_word("exclude=['gpus==8']")
    """
    key, mark, text = word.partition("=")
    if not mark or not _KEY.fullmatch(key):
        return None
    if span := _RANGE.fullmatch(text):
        texts = tuple(str(number) for number in range(int(span[1] or 0), int(span[2])))
    else:
        texts = tuple(text.split(","))
    values = [_value(item) for item in texts]
    read = tuple(value[0] for value in values if value is not None)
    return Word(key=key, values=read, texts=texts) if texts and len(read) == len(values) else None


def _value(text: str) -> tuple[Value] | None:
    if text in _SWITCH:
        return (_SWITCH[text],)
    if _WHOLE.fullmatch(text):
        return (int(text),)
    if _FLOAT.fullmatch(text):
        return (float(text),)
    return (text,) if _TEXT.fullmatch(text) and not _ODD.search(text) else None
