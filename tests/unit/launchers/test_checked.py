"""What a text from a file may be at most: it becomes a part of a path, a word of a command, a line of a script."""

from dataclasses import replace

import pytest
from pydantic_core import SchemaValidator, ValidationError

from launchers.checked import (
    AttemptName,
    Below,
    ClusterName,
    Handle,
    HostList,
    Instant,
    Line,
    Name,
    Whole,
    checked,
    varied,
)
from launchers.checked.schema import schema_of

BREAKS = ["a\nb", "a\n", "a\rb", "a\x00", "\x1b[2J", "a\x85b", "a\u2028b"]
"""What ends a line, or moves a terminal's cursor."""
CLIMBS = ["..", "../x", "/x", "x/../../y", "--me", "-x", ""]
"""What leads out of a folder, or is an option of a command."""
KINDS = {
    Name: (["n1-g1-mb16-ga1-7591a241", "a.b+c_d", "x" * 200], [*BREAKS, *CLIMBS, "a/b", "a b", "é", "x" * 201]),
    Line: (["", "NVIDIA H100 80GB HBM3", "-é"], BREAKS),
    Below: (["set/train", "a b/c.jpg"], [*CLIMBS, "a/.git", "a//b", "a\nb", "a\x00"]),
    AttemptName: (["1", "999999", "2.1"], [*BREAKS, *CLIMBS, "0", "1.0", "1.2.3", "1e3", "٣", "1000000"]),
    ClusterName: (["west-1"], [*BREAKS, *CLIMBS, "a,b", "a b"]),
    Handle: (
        ["", "17", "17;west", "host/5/123", "host/5/123|/a folder"],
        ["--me", "17 18", "17;", "17;-x", "17\n18", "h/-1/1", "-h/5/1", "h/5/a\nb", "a b/5/1", "9" * 21],
    ),
    HostList: (["node[01-02,07]", "a,b"], [*BREAKS, *CLIMBS, "a b", "a;b", "$(x)"]),
    Instant: (
        ["", "2025-01-01T00:00:00+00:00", "2025-01-01T00:00:00Z"],
        ["2025-01-01T00:00:00", "2025-13-45T99:99:99Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "now"],
    ),
}


@pytest.mark.parametrize(
    ("kind", "text", "valid"),
    [
        (kind, text, ok)
        for kind, texts in KINDS.items()
        for ok, some in zip((True, False), texts, strict=True)
        for text in some
    ],
)
def test_a_text_of_a_kind_is_that_and_nothing_else(kind, text, valid):
    try:
        SchemaValidator(schema_of(kind)).validate_python(text)
        assert valid
    except ValidationError:
        assert not valid


@checked
class _One:
    count: Whole
    name: Name = "a"
    of: tuple[Whole, ...] = ()


def test_a_varied_object_is_what_replace_makes_of_it():
    one = _One(count=1, of=(3,))
    variant = varied(one, count=2)
    assert variant == replace(one, count=2)
    assert (one.count, variant.of, hash(variant)) == (1, (3,), hash(replace(one, count=2)))
    with pytest.raises(AttributeError):
        varied(one, number=2)
