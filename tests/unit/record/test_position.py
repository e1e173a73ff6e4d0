"""Which checkpoint a run may go on from."""

import pytest

from launchers.checked import parse_json, to_json
from tests.unit.builders import cell, record
from vit_sweep.record.position import PartEpoch, Position, checkpoint_name, refusal

MADE = cell(gpus=2)


def position(**changes):
    given = {
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
    return Position(**(given | changes))


def refused(position, **changes):
    given = {"cell_id": MADE.cell_id, "world_size": 2, "zero_stage": 0, "sizes": {"state/a.pt": 10, "state/b.pt": 20}}
    return refusal(position, **(given | changes))


def test_sums_survive_the_file_bit_by_bit():
    part = PartEpoch(
        totals_by_rank=((0.1 + 0.2, 7.0), (1e-17, 3.0)), seconds_by_rank=(0.1, 0.3), step_ms_by_rank=((1.1,), (1.3,))
    )
    made = position(part=part)
    assert parse_json(Position, to_json(made), what="position") == made


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
