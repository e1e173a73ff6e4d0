"""Which checkpoint a run may go on from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.checked import parse_json, to_json
from tests.unit.builders import cell, record
from vit_sweep.record.position import PartEpoch, Position, checkpoint_name, moved, refusal

MADE = cell(gpus=2)


def position(**changes):
    defaults = {
        "cell_id": MADE.cell_id,
        "code": "abc",
        "world_size": 2,
        "zero_stage": 0,
        "epoch": 2,
        "step": 3,
        "epochs": record(MADE).epochs[:1],
        "attempts": ("1",),
        "files": {"state/a.pt": 10, "state/b.pt": 20},
    }
    return Position(**(defaults | changes))


def refused(position, **changes):
    defaults = {
        "cell_id": MADE.cell_id,
        "world_size": 2,
        "zero_stage": 0,
        "sizes": {"state/a.pt": 10, "state/b.pt": 20},
    }
    return refusal(position, **(defaults | changes))


def test_sums_survive_the_file_bit_by_bit():
    part = PartEpoch(
        totals_by_rank=((0.1 + 0.2, 7.0), (1e-17, 3.0)), seconds_by_rank=(0.1, 0.3), step_ms_by_rank=((1.1,), (1.3,))
    )
    saved_position = position(part=part)
    assert parse_json(Position, to_json(saved_position), source="position") == saved_position


def test_a_whole_checkpoint_of_this_run_is_taken():
    assert refused(position()) is None


@pytest.mark.parametrize(
    ("position", "changes", "reason"),
    [
        (position(cell_id="n1"), {}, "it is of cell n1, not"),
        (position(), {"world_size": 4}, "it is of ranks 2, not 4"),
        (position(), {"zero_stage": 2}, "it is of zero_stage 0, not 2"),
        (position(), {"sizes": {"state/a.pt": 10}}, "state/b.pt is missing"),
        (position(), {"sizes": {"state/a.pt": 9, "state/b.pt": 20}}, "state/a.pt has 9 of 10 bytes"),
    ],
    ids=["cell", "ranks", "zero", "missing", "truncated"],
)
def test_any_other_is_refused_with_the_reason(position, changes, reason):
    assert reason in refused(position, **changes)


def test_names_sort_by_progress():
    names = [checkpoint_name(1, 0), checkpoint_name(1, 17), checkpoint_name(2, 0), checkpoint_name(10, 5)]
    assert names == sorted(names)


NUMBERS = st.floats(0, 1e6)


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, st.lists(NUMBERS, min_size=3, max_size=3)), min_size=1, max_size=4),
    st.integers(1, 5),
    st.sampled_from([0.25, 1.0, 4.0]),
)
def test_on_other_ranks_sums_stay_what_they_were_and_times_are_those_of_the_slowest(ranks, others, sequence):
    part = PartEpoch(
        totals_by_rank=tuple((loss, 1.0) for loss, _, _ in ranks),
        seconds_by_rank=tuple(seconds for _, seconds, _ in ranks),
        step_ms_by_rank=tuple(tuple(steps) for _, _, steps in ranks),
    )
    before = position(part=part)
    moved_position = moved(before, ranks=others, zero_stage=3, sequence=sequence)
    assert (moved_position.world_size, moved_position.zero_stage, moved_position.epoch, moved_position.step) == (
        others,
        3,
        before.epoch,
        before.step,
    )
    # Ranks of a sequence group count the same images, and their sums are divided by how many they are.
    losses, rights = zip(*moved_position.part.totals_by_rank, strict=True)
    assert sum(losses) / sequence == pytest.approx(sum(loss for loss, _, _ in ranks))
    assert sum(rights) / sequence == len(ranks)
    assert moved_position.part.seconds_by_rank == (max(seconds for _, seconds, _ in ranks),) * others
    assert moved_position.part.step_ms_by_rank[-1] == tuple(max(ms) for ms in zip(*part.step_ms_by_rank, strict=True))


def test_on_other_ranks_nothing_is_done_yet_and_what_was_done_is_kept_however_often_it_moves():
    once = moved(position(), ranks=1, zero_stage=None, sequence=1)
    assert (once.epochs, once.earlier, once.attempts, once.part) == ((), position().epochs, (), None)
    (own,) = position().epochs
    twice = moved(position(earlier=once.earlier, epochs=(own,)), ranks=4, zero_stage=1, sequence=1)
    assert twice.earlier == (*once.earlier, own)
