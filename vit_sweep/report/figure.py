"""A figure in its files, or why it was not made: what figures give and the page takes. Pure."""

from pathlib import Path

from launchers.checked import checked


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
    """By suffix: `.png`, `.svg`, `.pdf`."""


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
