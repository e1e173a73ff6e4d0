"""Who can write into a study's folder chooses a record's numbers: each has bounds, or is said to have none."""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from vit_sweep.record.record import Record

UNBOUNDED = {"train_loss", "test_loss"}
"""A training that goes wrong ends anywhere."""
LEAST, MOST = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}


def numbers(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Each number of a JSON schema, with its path."""
    if isinstance(schema, dict) and schema.get("type") in ("number", "integer"):
        yield path, schema
    elif isinstance(schema, dict):
        for key, inner in schema.items():
            yield from numbers(inner, (*path, key))
    elif isinstance(schema, list):
        for inner in schema:
            yield from numbers(inner, path)


def test_each_number_of_a_record_has_a_least_and_a_most():
    all_numbers = list(numbers(TypeAdapter(Record).json_schema()))
    boundless = {path for path, number in all_numbers if not (LEAST & number.keys() and MOST & number.keys())}
    assert {path for path in boundless if not UNBOUNDED & set(path)} == set()
    assert {name for path in boundless for name in path} >= UNBOUNDED
    assert {"memory_gb_per_s", "graphs", "breaks", "gpus", "differences_ms"} <= {
        name for path, _ in all_numbers for name in path
    }
