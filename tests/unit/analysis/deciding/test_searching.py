"""The count to look at first begins the cheapest way to an answer, as trying every way shows."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vit_sweep.analysis.deciding.searching import Prospect, by_first_look


def prospect(gpus, above, hours=1.0):
    return Prospect(gpus=gpus, above=above, hours=hours)


def expected(open_):
    """GPU-hours of the best way, by trying all."""
    return min((after(open_, place) for place in range(len(open_))), default=0.0)


def after(open_, place):
    one, before, beyond = open_[place], expected(open_[:place]), expected(open_[place + 1 :])
    return one.hours + one.above * beyond + (1 - one.above) * before


@st.composite
def prospects(draw):
    places = range(draw(st.integers(1, 6)))
    return [prospect(2**place, draw(st.floats(0, 1)), draw(st.floats(0.1, 100))) for place in places]


@given(prospects())
def test_the_order_is_that_of_the_expected_hours_of_all_ways(open_):
    hours = {one.gpus: after(open_, place) for place, one in enumerate(open_)}
    order = by_first_look(open_)
    assert sorted(order) == sorted(hours)
    assert all(hours[first] <= hours[then] * (1 + 1e-9) for first, then in pairwise(order))


def test_of_counts_that_are_all_likely_above_the_largest_is_looked_at_first():
    """It alone answers; each smaller one leaves it to be looked at."""
    assert by_first_look([prospect(gpus, 0.95) for gpus in (2, 4, 8)])[0] == 8


def test_a_count_that_costs_far_more_waits_for_those_that_may_make_it_needless():
    assert by_first_look([prospect(8, 0.5), prospect(64, 0.5, hours=50)])[0] == 8


def test_nothing_open_is_no_way():
    assert by_first_look([]) == []
