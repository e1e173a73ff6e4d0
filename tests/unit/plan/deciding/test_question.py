"""A question is read as it is meant, or refused with the right spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.errors import UserError
from vit_sweep.plan.deciding.question import Quantity, question_of


@pytest.mark.parametrize(
    ("text", "quantity", "gpus", "width"),
    [
        ("efficiency(64) +- 3 %", Quantity.EFFICIENCY, 64, 0.03),
        ("time(16) +- 2 %", Quantity.TIME, 16, 0.02),
        ("Time( 16 ) ±2%", Quantity.TIME, 16, 0.02),
        ("images/s(8) +/- 2.5 %", Quantity.THROUGHPUT, 8, 0.025),
        ("speedup(8 gpus) +- 100 %", Quantity.SPEEDUP, 8, 1.0),
    ],
)
def test_a_number_is_asked_for_by_quantity_count_and_width(text, quantity, gpus, width):
    question = question_of(text)
    assert (question.quantity, question.gpus, question.confidence) == (quantity, gpus, 0.95)
    assert question.half_width == pytest.approx(width)


@pytest.mark.parametrize(
    ("text", "threshold", "confidence"),
    [
        ("largest gpus with efficiency 80 % at 95 %", 0.8, 0.95),
        ("largest GPU count with efficiency >= 80%", 0.8, 0.95),
        ("the largest number of gpus with efficiency of at least 62.5 % or more at 99 %", 0.625, 0.99),
    ],
)
def test_the_largest_count_is_asked_for_by_a_threshold(text, threshold, confidence):
    question = question_of(text)
    assert (question.gpus, question.half_width) == (None, None)
    assert (question.threshold, question.confidence) == (pytest.approx(threshold), pytest.approx(confidence))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("efficency(64) +- 3 %", "did you mean efficiency?"),
        ("loss(64) +- 3 %", "there is no quantity loss"),
        ("efficiency(64) <= 3 %", "<= asks nothing here"),
        ("efficiency(64) ≤ 3 %", "≤ asks nothing here"),
        ("efficiency 64 +- 3 %", "stands in brackets"),
        ("efficiency(64) +- 3", "with its sign"),
        ("efficiency(0) +- 3 %", "a GPU count is 1 to 1,000,000"),
        (f"efficiency({10**24}) +- 3 %", "a GPU count is 1 to 1,000,000"),
        ("efficiency(64) +- -3 %", "is above 0"),
        ("efficiency(64) +- 2,5 %", "a decimal point"),
        ("efficiency(64) +- 0 %", "no width"),
        ("efficiency(64) +- 300 %", "no width"),
        ("efficiency(8,16) +- 3 %", "about one GPU count"),
        ("largest gpus with speedup 80 %", "by its efficiency"),
        ("largest gpus with efficiency 100 %", "no threshold"),
        ("largest gpus with efficiency 80 % at 100 %", "confidence"),
        ("largest gpus with efficiency 80 % at 5 %", "confidence"),
        ("largst gpus with efficiency 80 %", "did you mean largest"),
        ("largest gpus with efficiency <= 80 %", "<= is not understood"),
        ("", "asks nothing"),
        ("%", "not understood"),
    ],
)
def test_a_slip_is_answered_by_what_is_wrong_and_three_right_spellings(text, says):
    with pytest.raises(UserError) as error:
        question_of(text)
    assert says in str(error.value)
    assert 'until="time(16) +- 2 %"' in str(error.value)


@given(st.text(max_size=60))
def test_any_text_is_a_question_or_a_sentence(text):
    try:
        question_of(text)
    except UserError as error:
        assert 'until="time(16) +- 2 %"' in str(error)
