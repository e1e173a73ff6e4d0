"""Runs of a study say what its records say, in the words of the analysis; what was not measured is None."""

from dataclasses import replace

import pytest

from launchers.profile import Device, Scheduler
from tests.unit.builders import MODEL, batch, cell, profile, record, result, series
from vit_sweep.analysis.series.grouping import group
from vit_sweep.plan.choices import Allocation, Attention, BatchPer, Pipeline, Precision, Scaling
from vit_sweep.plan.predict.memory import memory_error, predict
from vit_sweep.plan.predict.vit import train_flop
from vit_sweep.record.machine import Fingerprint
from vit_sweep.runs.of_study import conditions, run_of, runs_of, submissions
from vit_sweep.study.journal import Event, entry_of


def test_a_record_becomes_a_run_with_its_counted_epochs():
    planned = cell(gpus=2, nodes=1)
    run = run_of(result(planned, record=record(planned, epoch_seconds=(9.0, 2.0, 4.0), job_s=30.0)))
    assert (run.run_id, run.gpus, run.nodes, run.micro_batch, run.accum) == (planned.cell_id, 2, 1, 16, 1)
    assert (run.epoch_s, run.first_epoch_s, run.epoch_all_s) == ((2.0, 4.0), 9.0, (9.0, 2.0, 4.0))
    assert (run.work, run.images) == (1600, planned.images_per_epoch)
    assert run.step_ms_by_rank == (60.0, 60.0)  # 50 steps an epoch: 40 ms and 80 ms, the median of all of them
    assert run.test_accuracy == (0.125,) * 3
    assert run.devices == ("Tesla T4",) * 2
    assert (run.job_s, run.parts, run.memory_mib) == (30.0, None, None)
    assert run.memory_predicted_mib > 0
    assert not run.partial


def test_the_only_epoch_counts_though_it_is_cold():
    planned = cell(epochs=1)
    assert run_of(result(planned, record=record(planned, epoch_seconds=(9.0,)))).epoch_s == (9.0,)


def test_a_cell_without_a_record_is_a_run_without_a_time():
    run = run_of(result(cell(), status="out_of_memory", detail="out of memory"))
    assert (run.status, run.note, run.timed, run.epochs_done) == ("out_of_memory", "out of memory", False, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"precision": Precision.BF16},
        {"model": replace(MODEL, layers=3)},
        {"pipeline": Pipeline.LOADER},
        {"partition": "elsewhere"},
        {"gpu_model": "A40"},
        {"cpus_per_gpu": 2},
        {"compile": True},
        {"sequence": 2},
        {"attention": Attention.MATH},
        {"allocation": Allocation.SHARED},
        {"activation_checkpointing": True},
        {"lr_warmup_epochs": 1.0},
        {"epochs": 5},
        {"warmup_steps": 3},
    ],
)
def test_every_other_value_of_a_cell_is_a_condition(change):
    assert conditions(cell(**change)) != conditions(cell())


def test_size_batch_work_and_seed_are_none():
    same = cell(gpus=8, nodes=2, micro_batch=4, accum=2, train_images=3200, seed=7)
    assert conditions(same) == conditions(cell())


def test_a_study_gives_the_speedup_of_its_records():
    cells = [cell(gpus=g) for g in (1, 2)]
    results = [result(c, record=record(c, epoch_seconds=(9.0, s, s))) for c, s in zip(cells, (6.0, 4.0), strict=True)]
    (curve,) = group(runs_of(results), Scaling.STRONG)
    assert curve.points[1].speedup.value == 1.5


def test_a_cell_in_two_series_is_in_both():
    planned = cell()
    curves = (series(), series(Scaling.WEAK), series(batch_per=BatchPer.GLOBAL))
    runs = runs_of([result(planned, *curves, record=record(planned))])
    assert len(group(runs, Scaling.STRONG)) == 2
    assert len(group(runs, Scaling.WEAK)) == 1


def test_the_queue_wait_is_from_submission_to_the_first_line():
    planned = cell()
    sent = entry_of(batch(tasks=batch().tasks[:1]), Event.SUBMITTED, at="2025-01-01T00:00:00+00:00", handle="17")
    sent = replace(sent, tasks=((planned.cell_id, 1),))
    submitting = replace(sent, event=Event.SUBMITTING, at="2024-12-31T00:00:00+00:00")
    done = record(planned, started_at="2025-01-01T00:01:30+00:00")
    run = run_of(result(planned, record=done), submitted=submissions([submitting, sent]))
    assert run.queue_wait_s == 90.0
    again = run_of(result(planned, record=replace(done, attempt="1.1")), submitted=submissions([sent]))
    assert again.queue_wait_s is None  # it waited twice
    assert run_of(result(planned, record=done)).queue_wait_s is None


def test_a_shared_allocation_costs_the_gpus_that_wait_and_its_queue_wait_is_not_its_own():
    planned = cell(gpus=2, allocation=Allocation.SHARED)
    done = record(planned, job_s=1800.0, allocated_gpus=8)
    sent = {(planned.cell_id, 1): "2024-12-31T00:00:00+00:00"}
    run = run_of(result(planned, record=done), submitted=sent)
    assert (run.gpu_hours, run.queue_wait_s) == (4.0, None)
    assert run_of(result(planned, record=record(planned, job_s=1800.0))).gpu_hours == 1.0


@pytest.mark.parametrize(
    ("job_id", "allocation", "shares", "shared_job"),
    [
        ("17_3", Allocation.PER_CELL, True, "17 on node0"),
        ("17_3", Allocation.SHARED, False, "17 on node0"),
        ("17_3", Allocation.PER_CELL, False, ""),
        ("local-17-3", Allocation.SHARED, False, ""),
    ],
)
def test_a_run_knows_which_job_of_slurm_it_shared_and_on_which_nodes(job_id, allocation, shares, shared_job):
    planned = cell(gpus=2, allocation=allocation)
    sent = {(planned.cell_id, 1): "2024-12-31T00:00:00+00:00"}
    done = record(planned, job_id=job_id, shares_job=shares, allocated_gpus=2)
    run = run_of(result(planned, record=done), submitted=sent)
    assert run.shared_job == shared_job
    alone = not shares and allocation is Allocation.PER_CELL
    assert (run.queue_wait_s is not None) == alone, "it waited for the cells before it too"


def test_the_error_of_the_predicted_memory_counts_the_context_on_both_sides():
    planned = cell(gpus=2)
    plan = predict(planned)
    predicted = (plan.total_gib - plan.context_gib) * 1024

    def error(*peaks):
        made = record(planned)
        ranks = tuple(replace(rank, peak_reserved_mib=peak) for rank, peak in zip(made.ranks, peaks, strict=True))
        run = run_of(result(planned, record=replace(made, ranks=ranks)))
        return memory_error(run.memory_mib, run.memory_predicted_mib)

    assert error(predicted, predicted) == pytest.approx(0)
    assert error(predicted, predicted + plan.total_gib * 1024 * 0.25) == pytest.approx(0.25), (
        "the rank that used most counts"
    )
    assert error(None, None) is None
    plain = run_of(result(cell(device=Device.CPU), record=record(cell(device=Device.CPU))))
    assert memory_error(3000.0, plain.memory_predicted_mib) is None


def test_the_peak_of_its_gpu_makes_the_mfu_of_a_run():
    planned = cell()
    assert run_of(result(planned, record=record(planned)), peaks={planned.cell_id: 1.0}).mfu > 0
    assert run_of(result(planned, record=record(planned))).mfu is None


def test_a_run_on_cpus_knows_how_many_ranks_the_cores_of_its_host_allow():
    here = profile(scheduler=Scheduler.LOCAL, device=Device.CPU, nodes=1, gpus_per_node=8, cpus_per_gpu=1)
    ran = cell(device=Device.CPU)
    looked = record(ran, machine=(Fingerprint(rank=0, host="a", host_cores=2),))
    assert run_of(result(ran, record=looked), profile=here).most_gpus == 2
    assert run_of(result(ran), profile=here).most_gpus == 8
    assert run_of(result(ran)).most_gpus is None


def test_what_repeats_share_is_worked_out_once_and_is_of_their_own_configuration():
    """What is held for one configuration is never told of another one, in whatever order they come."""
    cells = [
        cell(seed=seed, micro_batch=micro, gpus=gpus, nodes=1)
        for seed in (0, 1)
        for micro in (8, 16)
        for gpus in (1, 2)
    ]
    cells += [replace(one, activation_checkpointing=True) for one in cells]
    for planned in (*cells, *reversed(cells)):
        run = run_of(result(planned, record=record(planned)))
        assert run.memory_predicted_mib == predict(planned).total_gib * 1024
        assert dict(run.conditions)["activation_checkpointing"] == str(planned.activation_checkpointing).lower()
        alone = train_flop(planned.model, planned.outputs) * planned.micro_batch * planned.accum
        assert run.step_flop == pytest.approx(alone)
