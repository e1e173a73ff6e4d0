"""A run that goes on from another cell's checkpoint: what it learnt is shown, its times are nowhere."""

from dataclasses import replace

import pytest

from tests.unit.builders import cell, record, result
from tests.unit.plan.test_continuing import origin
from tests.unit.report.tables.test_tables import of_results
from vit_sweep.analysis.audit.judge import audit
from vit_sweep.analysis.series.grouping import group
from vit_sweep.job.train.trackers.figures import epoch_figures, learnt_figures, parameters, run_figures
from vit_sweep.outcome.result import Result
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.repeats import RepeatRule
from vit_sweep.record.learning import time_to_accuracy
from vit_sweep.record.stats import throughputs
from vit_sweep.report.page.request import failures, status_line
from vit_sweep.report.tables.status import detail_of
from vit_sweep.runs.of_study import runs_of
from vit_sweep.submit.repeats import repeats_to_add

BEGUN = cell(gpus=2, micro_batch=32, epochs=4, seed=5)
ASKED = cell(gpus=1, micro_batch=64, epochs=4, seed=5, origin=origin(BEGUN, epoch=3, step=0))


def finished():
    """Epochs 3 and 4, behind two of the cell that began."""
    whole, earlier = record(ASKED, (9.0, 1.0)), record(BEGUN, (2.0, 2.0)).epochs
    own = tuple(replace(epoch, epoch=number, test_accuracy=0.9) for number, epoch in enumerate(whole.epochs, 3))
    return replace(whole, epochs=own, earlier=earlier)


@pytest.fixture(scope="module")
def results():
    """A curve of its own configuration beside it, with a run that is its twin but for how it began."""
    curve = [cell(gpus=gpus, micro_batch=64, epochs=4, seed=5) for gpus in (1, 2)]
    assert replace(ASKED, origin=None) in curve
    made = [result(one, record=record(one, (9.0, *[4.0 / one.gpus] * 3))) for one in curve]
    alone = result(ASKED, record=finished())
    return [*made, Result(file=replace(alone.file, series=()), record=alone.record, status=alone.status)]


def test_it_stands_in_the_table_of_its_own_and_in_runs_without_a_time(results):
    found = of_results(results)
    (row,) = found["continued"].rows
    assert (row["cell_id"], row["continued_from"]) == (ASKED.cell_id, f"{BEGUN.cell_id}/e0002-s000003")
    assert row["test_accuracy"] == 0.9
    assert row["note"].startswith(f"goes on from epoch 3 of {BEGUN.cell_id}, which ran on 2 GPUs with zero0")
    (in_runs,) = (row for row in found["runs"].rows if row["cell_id"] == ASKED.cell_id)
    assert in_runs["continued_from"] == row["continued_from"]
    assert (in_runs["epochs_done"], in_runs["test_accuracy"], in_runs["train_loss"]) == (4, 0.9, 2.0)
    times = ("epoch_s", "first_epoch_s", "step_ms", "step_p95_ms", "images_per_s", "data_wait_ms", "mfu", "scaling")
    assert {in_runs.get(name) or None for name in times} == {None}
    elsewhere = {name for name, table in found.items() if ASKED.cell_id in str(table.rows)}
    assert elsewhere == {"continued", "runs"}


def test_no_series_is_another_with_it(results):
    runs = runs_of(results)
    for mode in Scaling:
        assert group(runs, mode) == group(runs[:-1], mode)
    assert [finding.rule for finding in audit(runs).findings] == [f.rule for f in audit(runs[:-1]).findings]


def test_nothing_is_learnt_from_its_times(results):
    assert throughputs(r.record for r in results) == throughputs(r.record for r in results[:-1])
    rule = RepeatRule(half_width=0.001, most=3)
    assert ASKED.cell_id not in repeats_to_add(results, rule)
    assert repeats_to_add(results, rule).keys() == repeats_to_add(results[:-1], rule).keys()


def test_it_is_done_and_no_failure(results):
    runs = runs_of(results)
    assert status_line((), runs) == "3 of 3 cells are done."
    assert failures((), runs) == ()
    assert "failures" not in of_results(results)


def test_it_reaches_an_accuracy_in_an_epoch_of_the_whole_training_and_after_no_time():
    reached = time_to_accuracy(finished(), 0.5)
    assert (reached.epoch, reached.seconds) == (3, None)
    assert "but the training began on 2 other GPUs" in reached.reason
    never = time_to_accuracy(finished(), 0.95)
    assert (never.epoch, never.seconds, never.never) == (None, None, False)


def test_trackers_are_told_what_it_learnt_and_no_time_of_other_gpus():
    made = finished()
    assert {"epoch/seconds", "epoch/images_per_s"} == set(epoch_figures(ASKED, made.earlier[0])) - set(
        learnt_figures(ASKED, made.earlier[0])
    )
    assert not {"final/epoch_s", "final/images_per_s", "final/forward_ms"} & run_figures(made).keys()
    told = parameters(ASKED)
    assert (told["origin.cell_id"], told["origin.gpus"]) == (BEGUN.cell_id, 2)
    assert "origin.training" not in told


def test_status_says_who_began_it(results):
    assert [detail_of(one) for one in results] == ["", "", f"goes on from {BEGUN.cell_id}"]
    assert detail_of(replace(results[-1], detail="it waits")) == f"it waits; goes on from {BEGUN.cell_id}"
