"""The journal says where each cell's latest attempt is, whatever happened between two lines."""

from tests.unit.builders import entry
from vit_sweep.study.journal import Event, in_doubt, latest_attempts, next_attempts

BEGUN = entry(Event.SUBMITTING, "b1", ("x", 1), ("y", 1))
SENT = entry(Event.SUBMITTED, "b1", ("x", 1), ("y", 1), handle="17")


def test_a_batch_is_in_doubt_until_a_line_answers():
    assert in_doubt([BEGUN]) == [BEGUN]
    assert latest_attempts([BEGUN])["x"].in_doubt
    for event in (Event.SUBMITTED, Event.REFUSED, Event.NEVER):
        assert in_doubt([BEGUN, entry(event, "b1", ("x", 1), ("y", 1))]) == []


def test_a_sent_cell_is_found_by_its_index():
    sent = latest_attempts([BEGUN, SENT])
    assert (sent["y"].handle, sent["y"].index, sent["y"].attempt, sent["y"].tasks) == ("17", 1, 1, 2)


def test_a_refused_batch_leaves_what_was_before():
    again = entry(Event.SUBMITTING, "b2", ("x", 2))
    for event in (Event.REFUSED, Event.NEVER):
        sent = latest_attempts([BEGUN, SENT, again, entry(event, "b2", ("x", 2))])
        assert (sent["x"].handle, sent["x"].attempt) == ("17", 1)
    assert "x" not in latest_attempts([BEGUN, entry(Event.NEVER, "b1", ("x", 1), ("y", 1))])


def test_a_refused_batch_can_be_sent_again_under_its_name():
    sent = latest_attempts([BEGUN, entry(Event.REFUSED, "b1", ("x", 1), ("y", 1)), BEGUN, SENT])
    assert sent["x"].handle == "17"
    assert in_doubt([BEGUN, entry(Event.REFUSED, "b1", ("x", 1), ("y", 1)), BEGUN]) == [BEGUN]


def test_cancelling_one_task_leaves_the_other_and_a_later_attempt_is_not_cancelled():
    lines = [BEGUN, SENT, entry(Event.CANCELLED, "b1", ("y", 1), handle="17")]
    assert (latest_attempts(lines)["x"].cancelled, latest_attempts(lines)["y"].cancelled) == (False, True)
    assert latest_attempts(lines)["y"].index == 1
    more = [*lines, entry(Event.SUBMITTING, "b2", ("y", 2)), entry(Event.SUBMITTED, "b2", ("y", 2), handle="18")]
    assert not latest_attempts(more)["y"].cancelled


def test_a_retry_counts_on_and_a_persons_word_begins_anew():
    retried = [
        BEGUN,
        SENT,
        entry(Event.SUBMITTING, "b2", ("x", 2), asked=False),
        entry(Event.SUBMITTED, "b2", ("x", 2), handle="18", asked=False),
    ]
    assert latest_attempts(retried)["x"].since == 1
    again = [*retried, entry(Event.SUBMITTING, "b3", ("x", 3)), entry(Event.SUBMITTED, "b3", ("x", 3), handle="19")]
    assert latest_attempts(again)["x"].since == 3


def test_an_attempt_number_is_never_used_twice():
    assert next_attempts([BEGUN, entry(Event.NEVER, "b1", ("x", 1), ("y", 1))]) == {"x": 2, "y": 2}
