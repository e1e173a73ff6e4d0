"""A name of an attempt says which attempt it is, and how often its job was started again."""

import pytest

from vit_sweep.record.attempt import attempt_name, attempt_of, restart_of


@pytest.mark.parametrize(("number", "restart", "name"), [(1, 0, "1"), (2, 1, "2.1"), (12, 10, "12.10")])
def test_a_name_is_read_as_it_was_written(number, restart, name):
    assert attempt_name(number, restart) == name
    assert (attempt_of(name), restart_of(name)) == (number, restart)
