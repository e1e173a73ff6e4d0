"""A figure in its files, or why it was not made: what figures give and the page takes. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launchers.checked import checked
from launchers.errors import UserError

FORMATS = (".svg", ".png", ".pdf")
"""The first is the one that a page shows."""
SWITCH = "VIT_SWEEP_FIGURES"


def formats(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The formats in which figures are wanted: `on`, the default, is all of them, `off` none, else a list.

    The one that a page shows is always among those of a list. Drawing a dozen figures takes seconds, most of it for
    print. Raises `UserError` for anything else.
    """
    words = environ.get(SWITCH, "on").split(",")
    if words in (["on"], ["off"]):
        return FORMATS if words == ["on"] else ()
    wanted = {f".{word}" for word in words}
    if not wanted <= set(FORMATS):
        raise UserError(
            f"{SWITCH}={','.join(words)}: on (the default) draws figures with the tables, off leaves them to report, "
            "and svg, png or pdf, several with a comma, draws these only"
        )
    return tuple(suffix for suffix in FORMATS if suffix in wanted | {FORMATS[0]})


@checked
class Figure:
    """A figure in its files."""

    name: str
    """Of its files, without suffix; stable from study to study."""
    title: str
    caption: str
    """What is drawn and what must be known to read it: intervals, n, what is missing and why."""
    alt: str
    """What is seen, with its numbers, for those who do not see it."""
    paths: dict[str, Path]
    """By suffix."""
    notes: tuple[str, ...] = ()
    """Sentences on contended hosts among the runs that it pools; the page names those once in each section."""
    sheet: Any = None
    """matplotlib's own figure, of one that is in no file."""


@checked
class Skipped:
    """A figure that was not made."""

    name: str
    reason: str
    """What there would have to be, as a clause: `no run was on more than one node`."""

    @property
    def paths(self) -> dict[str, Path]:
        """None: so that files can be counted over figures made or not."""
        return {}
