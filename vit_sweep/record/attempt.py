"""Names of attempts: `2`, or `2.1` after the scheduler started the second attempt's job again."""

FIRST = "1"
"""The attempt of most cells, of which no other file says anything."""


def attempt_name(attempt: int, restart: int) -> str:
    """What an attempt is called in folders, records and tables."""
    return f"{attempt}.{restart}" if restart else str(attempt)


def attempt_of(name: str) -> int:
    """The attempt without its restart. Raises `ValueError` for a name that is none."""
    return int(name.partition(".")[0])


def restart_of(name: str) -> int:
    """How often its job had been started again. Raises `ValueError` for a name that is none."""
    return int(name.partition(".")[2] or 0)
