"""Errors that are for people: a user's mistake is one sentence and a next step, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can fix: *what – why – what to do*; the command ends with exit code 2."""


class ConsentError(UserError):
    """What runs only once its user has agreed: the same command with `--trust` says so."""


def closest(name: str, known: Iterable[str]) -> str:
    """Return the likeliest right names, at most three, and the whole menu where it is short.

    >>> closest("lokal", ["tesla", "local"])
    'did you mean local? Known: local, tesla'
    """
    menu = sorted(known)
    near = nearest(name, menu)
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    if len(menu) <= SHORT_MENU:
        return f"{hint} Known: {', '.join(menu)}".strip()
    return hint or f"Known: {', '.join(menu[:SHORT_MENU])} and {len(menu) - SHORT_MENU} more"


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The likeliest right names, likeliest first; the only one where no more than the case differs.

    >>> nearest("Local", ["local", "locale"])
    ['local']
    """
    by_case = {entry.lower(): entry for entry in sorted(known)}
    likeness = {
        by_case[entry]: difflib.SequenceMatcher(None, entry, name.lower()).ratio()
        for entry in difflib.get_close_matches(name.lower(), by_case, n=_NEAR)
    }
    best = max(likeness.values(), default=0.0)
    least = best if best == 1 else best - _AS_LIKELY
    return [entry for entry, ratio in likeness.items() if ratio >= least]


SHORT_MENU = 15
"""Names that a sentence can list."""
_NEAR, _AS_LIKELY = 3, 0.05
"""Names that are proposed at most; how much less like the first they may be."""
