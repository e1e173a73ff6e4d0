"""Errors that are for people: a user's mistake is one sentence and a next step, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can fix: *what – why – what to do*; the command ends with exit code 2."""


class ConsentError(UserError):
    """What runs only once its user has agreed: the same command with `--trust` says so."""


def closest(name: str, names: Iterable[str], *, meant: str | None = None) -> str:
    """Return the likeliest right names, at most three, and the whole menu where it is short and nothing is certain.

    `meant`: the right name by its meaning, where somebody knows that.

    >>> closest("lokal", ["tesla", "local"]), closest("LOCAL", ["tesla", "local"])
    ('did you mean local? Known: local, tesla', 'did you mean local?')
    """
    menu = sorted(names)
    near = [meant] if meant in menu else nearest(name, menu)
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    if meant in menu or (near and _letters(near[0]) == _letters(name)):
        return hint
    if len(menu) <= SHORT_MENU:
        return f"{hint} Known: {', '.join(menu)}".strip()
    return hint or f"Known: {', '.join(menu[:SHORT_MENU])} and {len(menu) - SHORT_MENU} more"


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The likeliest right names, likeliest first; the only one where no more than case and punctuation differ.

    Where none is spelt alike, those that have the whole name inside.

    >>> nearest("Local", ["local", "locale"]), nearest("ViT-B/16", ["vit_b_16", "vit_s_16"])
    (['local'], ['vit_b_16'])
    >>> nearest("T4", ["vector_a40", "vector_t4v2"])
    ['vector_t4v2']
    """
    entries = sorted(names)
    if same_letters := [entry for entry in entries if _letters(entry) == _letters(name)]:
        return same_letters[:1]
    by_case = {entry.lower(): entry for entry in entries}
    likeness = {
        by_case[entry]: difflib.SequenceMatcher(None, entry, name.lower()).ratio()
        for entry in difflib.get_close_matches(name.lower(), by_case, n=_NEAR)
    }
    if not likeness:
        containing = [entry for entry in entries if len(_letters(name)) > 1 and _letters(name) in _letters(entry)]
        return containing if len(containing) <= _NEAR else []
    least = max(likeness.values()) - _AS_LIKELY
    return [entry for entry, ratio in likeness.items() if ratio >= least]


def _letters(name: str) -> str:
    """Its letters and digits, in one case."""
    return "".join(filter(str.isalnum, name.lower()))


SHORT_MENU = 15
"""Names that a sentence can list."""
_NEAR, _AS_LIKELY = 3, 0.05
"""Names that are proposed at most; how much less like the first they may be."""
