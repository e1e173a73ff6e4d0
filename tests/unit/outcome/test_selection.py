"""What runs again: nothing that is done or under way, everything that is missing, the rest by the user's word."""

from dataclasses import replace

import pytest

from tests.unit.builders import cell, record, result
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.outcome.policy import Stop
from vit_sweep.outcome.selection import Rerun, Retry, select


def ended(status, cause, **physical):
    cell_result = result(cell(**physical), status=status)
    return replace(cell_result, history=(Exit(cause=cause, message="so"),))


def chosen(*results, **words):
    return select(results, code="today", stops=words.pop("stops", ()), **words)


@pytest.mark.parametrize("status", ["done", "queued", "running", "unknown"])
@pytest.mark.parametrize("retry", [None, *Retry])
def test_what_is_done_or_under_way_never_runs_twice(status, retry):
    this_result = result(cell(), record=record(cell())) if status == "done" else result(cell(), status=status)
    assert chosen(this_result, retry=retry).run == ()


@pytest.mark.parametrize("status", ["missing", "cancelled", "retry", "skipped"])
def test_what_is_missing_runs_without_a_word(status):
    assert chosen(result(cell(), status=status)).run == (cell().cell_id,)


WORDS = {
    ("out_of_memory", Cause.OUT_OF_MEMORY): {Retry.OUT_OF_MEMORY, Retry.ALL},
    ("failed", Cause.HOST_OUT_OF_MEMORY): {Retry.OUT_OF_MEMORY, Retry.FAILED, Retry.ALL},
    ("failed", Cause.TIME_LIMIT): {Retry.TIME_LIMIT, Retry.FAILED, Retry.ALL},
    ("failed", Cause.BUG): {Retry.FAILED, Retry.ALL},
    ("failed", Cause.MISMATCH): {Retry.FAILED, Retry.ALL},
    ("failed", Cause.DATA): {None, *Retry},
    ("failed", Cause.STORAGE): {None, *Retry},
    ("failed", Cause.TERMINATED): {None, *Retry},
}


@pytest.mark.parametrize(("state", "words"), WORDS.items())
@pytest.mark.parametrize("retry", [None, *Retry])
def test_what_ended_badly_runs_by_its_word(state, words, retry):
    assert bool(chosen(ended(*state), retry=retry).run) == (retry in words)


def test_finished_cells_of_other_code_are_said_and_run_again_by_their_word():
    old = result(cell(), record=record(cell(), code="yesterday"))
    new = result(cell(seed=1), record=record(cell(seed=1), code="today"))
    unknown = result(cell(seed=2), record=record(cell(seed=2)))
    assert chosen(old, new, unknown).stale == (cell().cell_id,)
    assert chosen(old, new, unknown).run == ()
    assert chosen(old, new, unknown, rerun=Rerun.STALE).run == (cell().cell_id,)


def test_a_cell_that_is_certain_to_fail_is_left_out_with_the_reason_until_its_cause_runs_again():
    small, large = cell(micro_batch=64), cell(micro_batch=128)
    stop = Stop(cell_id=small.cell_id, cell=small, cause=Cause.OUT_OF_MEMORY, message="full", code="today")
    results = [ended("out_of_memory", Cause.OUT_OF_MEMORY, micro_batch=64), result(large)]
    selection = chosen(*results, stops=[stop])
    assert selection.run == ()
    assert "micro batch 64 ran out" in selection.skipped[large.cell_id]
    free = chosen(*results, stops=[stop], retry=Retry.OUT_OF_MEMORY)
    assert set(free.run) == {small.cell_id, large.cell_id}
