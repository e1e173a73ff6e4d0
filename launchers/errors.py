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
    near = difflib.get_close_matches(name.lower(), by_case, n=_NEAR)
    likeness = {entry: difflib.SequenceMatcher(None, entry, name.lower()).ratio() for entry in near}
    least = max(likeness.values(), default=0.0) - _AS_LIKELY
    near = [by_case[entry] for entry in near if likeness[entry] >= (least if name.lower() not in near else 1)]
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    if len(menu) <= _SHORT_MENU:
        return f"{hint} Known: {', '.join(menu)}".strip()
    return hint or f"Known: {', '.join(menu[:_SHORT_MENU])} and {len(menu) - _SHORT_MENU} more"


_NEAR, _AS_LIKELY, _SHORT_MENU = 3, 0.05, 15
"""Names that are proposed at most; how much less like the first they may be; names that a sentence can list."""
