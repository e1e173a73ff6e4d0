"""What a value may be at most, said in its type; and the kinds of text and number that become paths, words and sums.

A rule is a keyword of pydantic's core schema, beside the type that it holds for: `Annotated[int, Ge(1)]`.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, NamedTuple


class Rule(NamedTuple):
    """What a value must hold: a keyword of the core schema of its type, and that keyword's value."""

    word: str
    limit: Any


class After(NamedTuple):
    """What judges a value once it has its type; it returns the value, or raises `ValueError`."""

    judge: Callable[[Any], Any]


class InFile(NamedTuple):
    """What a field is called in files, where that is another word than in the code."""

    name: str


Ge, Gt, Le, Lt = (partial(Rule, word) for word in ("ge", "gt", "le", "lt"))
MinLen, MaxLen, Pattern = (partial(Rule, word) for word in ("min_length", "max_length", "pattern"))
ANY_FLOAT = Rule("allow_inf_nan", True)
"""NaN and the infinities too."""

_LONGEST_NAME = 200
Name = Annotated[str, Pattern(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"), MaxLen(_LONGEST_NAME)]
"""One component of a path, and one word of a command: it neither climbs out nor looks like an option."""
CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Of a pattern's class: control characters, and all that ends a line."""
Line = Annotated[str, Pattern(rf"^[^{CONTROLS}]*$")]
"""Text of one line without control characters."""
Below = Annotated[str, Pattern(r"^[A-Za-z0-9_][^/\x00-\x1f\x7f]*(/[A-Za-z0-9_][^/\x00-\x1f\x7f]*)*$")]
"""A path below some folder."""
AttemptName = Annotated[str, Pattern(r"^[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5})?$")]
"""`2`, or `2.1` after its job was started again."""
CLUSTER = r"[A-Za-z0-9][A-Za-z0-9._-]*"
ClusterName = Annotated[str, Pattern(f"^{CLUSTER}$")]
"""What Slurm calls a cluster."""
_SLURM_JOB, _QUEUE = rf"[0-9]{{1,20}}(;{CLUSTER})?", r"[^/\s-][^/\s]*/[0-9]{1,10}/[^\x00-\x1f]*"
Handle = Annotated[str, Pattern(f"^({_SLURM_JOB}|{_QUEUE})?$")]
"""What a job is called: Slurm's number, with its cluster where that was named (`17;west`), or `host/process/birth` of
one of our queues; empty before it has a name."""
HostList = Annotated[str, Pattern(r"^[A-Za-z0-9][A-Za-z0-9._,\[\]-]*$"), MaxLen(4096)]
"""Hosts as Slurm lists them: `node[01-02,07]`."""
Quantity = Annotated[float, Ge(0), Le(1e18)]
"""Seconds, bytes, watts: a sum of as many as a study can hold is still a number."""
Signed = Annotated[float, Ge(-1e18), Le(1e18)]
"""A difference, or a temperature."""
Whole = Annotated[int, Ge(0), Le(2**63 - 1)]
Part = Annotated[float, Ge(0), Le(1)]
Loss = Annotated[float, ANY_FLOAT]
"""Of a training that may have gone wrong: NaN is an answer."""
End = Annotated[float, ANY_FLOAT]
"""Of an interval that was computed, not read: it may reach to infinity."""


def _instant(text: str) -> str:
    if text and (datetime.fromisoformat(text).tzinfo is None or not "1970" <= text[:4] < "9999"):
        raise ValueError("must be a time like 2025-01-01T00:00:00+00:00")
    return text


Instant = Annotated[str, After(_instant)]
"""A time in ISO 8601 with its zone; empty where nobody noted it."""
