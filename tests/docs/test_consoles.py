"""What a shown output may differ in from the real one."""

import pytest

from tests.docs.consoles import consoles, renewed, unlike

PAGE = "Words.\n\n```console\n$ first\nsays 1\n$ second\n```\n\n```console measured\n$ third\n```\n"


def test_a_page_gives_its_consoles_in_their_order_with_what_is_shown_of_each_command():
    first, second = consoles(PAGE)
    assert (first.commands, first.measured) == ([("first", "says 1\n"), ("second", "")], False)
    assert (second.commands, second.measured) == ([("third", "")], True)
    assert PAGE[first.start : first.end] == "$ first\nsays 1\n$ second\n"


@pytest.mark.parametrize(
    ("shown", "printed", "measured", "agree"),
    [
        ("took 3.1 s\n", "took 17 s\n", False, True),
        ("took 3 s\n", "lasted 3 s\n", False, False),
        ("one\n...\nfour\n", "one\ntwo\nthree\nfour\n", False, True),
        ("one\nfour\n", "four\none\n", False, False),
        (".code/84f70abc6704\n", ".code/a999e0c70c63\n", False, True),
        ("accuracy  weakened  one seed\n", "accuracy  falls  contended\n", True, True),
        ("accuracy  weakened  one seed\n", "throughput  falls  contended\n", True, False),
        ("what is said of it\n", "", True, True),
    ],
)
def test_numbers_may_differ_and_of_what_was_measured_only_the_first_column_counts(shown, printed, measured, agree):
    assert (unlike(shown, printed, measured=measured) == []) is agree


@pytest.mark.parametrize(
    ("shown", "kept"),
    [
        ("one\n...\nfour\n", True),
        ("one\n...\nfive\n", False),
        ("one\nfour\n", False),
    ],
)
def test_lines_that_were_left_out_stay_left_out_while_the_others_come_again(shown, kept):
    console, printed = next(consoles(PAGE)), "one\ntwo\nfour\n"
    assert renewed(console, shown, printed) == (shown if kept else printed)
