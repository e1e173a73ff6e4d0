"""A record is kept once for an attempt, and renewed by later attempts only."""

from dataclasses import replace

import pytest

from launchers.checked import to_json
from tests.unit.builders import cell, record
from vit_sweep.job.first_record import keep
from vit_sweep.outcome.failure import JobError

MINE = replace(record(cell()), attempt="2.1")


@pytest.mark.parametrize(
    ("attempt_there", "is_kept"), [("2", False), ("2.3", False), ("3", False), ("1", True), ("1.4", True), (None, True)]
)
def test_the_first_start_of_an_attempt_that_ends_has_the_record(tmp_path, attempt_there, is_kept):
    """`2` and `2.1`: its first start goes on where slurmd is gone, after Slurm has started it again elsewhere."""
    before = to_json(replace(MINE, attempt=attempt_there, job_id="another")) if attempt_there is not None else None
    if before is not None:
        (tmp_path / "record.json").write_text(before)
    assert keep(MINE, tmp_path) is is_kept
    assert (tmp_path / "record.json").read_text() == (to_json(MINE) if is_kept else before)


@pytest.mark.parametrize("text", ["", "{}", "no json", to_json(replace(record(cell(seed=5)), attempt="7"))])
def test_what_is_no_record_of_the_cell_is_replaced(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    assert keep(MINE, tmp_path)
    assert (tmp_path / "record.json").read_text() == to_json(MINE)


def test_what_cannot_be_read_is_not_replaced(tmp_path):
    (tmp_path / "record.json").mkdir()
    with pytest.raises(JobError, match=r"record\.json is there and cannot be read"):
        keep(MINE, tmp_path)
    assert (tmp_path / "record.json").is_dir()
