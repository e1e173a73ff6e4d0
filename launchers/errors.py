"""Errors that are for people: a user's mistake is one sentence and a next step, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can fix: *what – why – what to do*; the command ends with exit code 2."""


class ConsentError(UserError):
    """What runs only once its user has agreed: the same command with `--trust` says so."""


def closest(name: str, known: Iterable[str]) -> str:
    """Return the menu of right names, with the likeliest one in front when there is one.

    >>> closest("lokal", ["tesla", "local"])
    'did you mean local? Known: local, tesla'
    """
    menu = sorted(known)
    near = difflib.get_close_matches(name, menu, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}Known: {', '.join(menu)}"
