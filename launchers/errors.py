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
    by_case = {entry.lower(): entry for entry in menu}
    same = by_case.get(name.lower())
    near = [same] if same else [by_case[entry] for entry in difflib.get_close_matches(name.lower(), by_case, n=_NEAR)]
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    if len(menu) <= _SHORT_MENU:
        return f"{hint} Known: {', '.join(menu)}".strip()
    return hint or f"Known: {', '.join(menu[:_SHORT_MENU])} and {len(menu) - _SHORT_MENU} more"


_NEAR, _SHORT_MENU = 3, 15
"""Names that are proposed at most; names that a sentence can list."""
