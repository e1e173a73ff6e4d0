"""How packed cells become batches, and what a command, its retries and `resume` make of `pack`."""

import json
import re
from dataclasses import replace

import pytest

from launchers.errors import UserError
from launchers.queue_snapshot import NodeRoom, OwnerLimit, QueueSnapshot
from launchers.slurm.look import queue_snapshot
from tests.unit.builders import asked_for, planned_study, point, profile
from vit_sweep.__main__ import main
from vit_sweep.plan.choices import Allocation
from vit_sweep.plan.plan_file import JobLimits
from vit_sweep.plan.waiting.packing import NOTHING, packed
from vit_sweep.study.code.snapshot import take
from vit_sweep.study.store import Study
from vit_sweep.submit.batches import Todo, batches_of
from vit_sweep.submit.next import write
from vit_sweep.submit.waiting.start_forecast import foretell

BATCHES = (8, 16, 32, 64)
GRID = [point(gpus=gpus, batch=batch) for gpus in (1, 2) for batch in BATCHES]


def todo_of(plan, **changes):
    return {cell_id: Todo(planned=cell, attempt=1, since=1, **changes) for cell_id, cell in plan.cells.items()}


@pytest.fixture
def written(tmp_path):
    """Write the batches of some points; returns what was rendered and remarked."""

    def run(*points, **how):
        study, plan = planned_study(tmp_path / "s", *points)
        study.let_run(plan)
        return write(study, todo_of(plan), take(study.folder), limits=JobLimits(**how))

    return run


def test_a_packed_job_is_a_shared_batch_whose_tasks_all_get_the_whole_of_it(tmp_path):
    study, plan = planned_study(tmp_path / "s", *GRID)
    code, todo = take(study.folder), todo_of(plan)
    batches = batches_of(study, todo, code, packed(plan.cells, 3))
    assert sorted(task.name for batch in batches for task in batch.tasks) == sorted(plan.cells), "each cell once"
    assert [len(batch.tasks) for batch in batches] == [2, 2, 2, 2]
    for batch in batches:
        assert batch.shared
        assert not batch.array
        assert {(t.shape.nodes, t.shape.gpus_per_node) for t in batch.tasks} == {(1, batch.shape.gpus_per_node)}
        assert {t.shape.minutes for t in batch.tasks} == {plan.cells[batch.tasks[0].name].shape.minutes}
    assert {batch.name for batch in batches_of(study, todo, code, NOTHING)}.isdisjoint(batch.name for batch in batches)


def test_what_no_job_has_is_an_array_as_ever_and_a_curve_stays_a_curve(written):
    alone = [point(batch=8, seed=seed) for seed in range(3)]
    curve = [point(gpus=gpus, batch=64, allocation=Allocation.SHARED) for gpus in (1, 2)]
    rendered, remarks, *_ = written(*alone, point(batch=16), *curve, pack=4)
    batches = sorted(((item.batch.shared, len(item.batch.tasks)) for item in rendered), key=str)
    assert batches == [(False, 2), (True, 2), (True, 2)]
    assert [text.partition(":")[0] for text in remarks] == ["pack=4 leaves 2 cells as they are", "pack=4"]


def test_packed_jobs_above_the_gpus_that_may_be_used_at_once_are_refused_before_anything_is_written(written, tmp_path):
    grid = [point(batch=batch) for batch in BATCHES]
    rendered = written(*grid, pack=2, max_gpus=2).rendered
    assert len(rendered) == 2
    with pytest.raises(UserError, match=r"max_gpus_in_flight=1 pack=2: .* they take 2 GPUs; use 2 or more, a larger"):
        written(*grid, pack=2, max_gpus=1)
    assert len(written(*grid, max_gpus=1).rendered) == 1, "an array is throttled"


def test_nodes_that_a_cell_must_not_get_keep_it_out_of_a_job_of_others(tmp_path):
    study, plan = planned_study(tmp_path / "s", *(point(batch=batch) for batch in BATCHES))
    study.let_run(plan)
    todo = todo_of(plan)
    first = next(iter(todo))
    todo[first] = Todo(planned=plan.cells[first], attempt=2, since=1, exclude=("vector03",))
    batches = [item.batch for item in write(study, todo, take(study.folder), limits=JobLimits(4)).rendered]
    assert [(batch.exclude, batch.shared, len(batch.tasks)) for batch in batches] == [
        (("vector03",), False, 1),
        ((), True, 3),
    ]


# --- what auto makes of a look at the queue ---------------------------------------------------------------------

ONE_GPU_LEFT = QueueSnapshot(
    at_s=1.8e9,
    nodes=(NodeRoom(name="n1", partitions=("vector",), gpus=1),),
    jobs=(),
    limits=(),
)
KNOWN = profile(partition="vector", peak_tflops={"fp32": 8.1}, max_minutes=2000)
AUTO = [point(batch=8, accum=accum, partition=KNOWN) for accum in range(1, 17)]
NAMELESS = [replace(one, partition=replace(KNOWN, partition=None)) for one in AUTO]


@pytest.fixture
def queue(monkeypatch):
    """Let a look at the queue say this; returns the clusters that were looked at."""
    looked_at = []

    def says(snapshot_or_reason):
        def look(clusters=None):
            looked_at.append(clusters)
            return snapshot_or_reason

        monkeypatch.setattr(queue_snapshot, "look", look)
        return looked_at

    return says


def test_auto_packs_where_that_ends_sooner_and_says_both_predictions(queue, written):
    queue(ONE_GPU_LEFT)
    rendered, (remark,), choice, *_ = written(*AUTO, pack="auto")
    assert choice.pack == 8, "one job of 16 would end a minute sooner at most"
    assert [(item.batch.shared, len(item.batch.tasks)) for item in rendered] == [(True, 8), (True, 8)]
    assert [one.pack for one in choice.strategies] == [1, 2, 4, 8, 16]
    assert remark == f"pack=auto: {choice.why}: packed by 8"
    assert choice.why.startswith("expected, queue and run: one job a cell ends in ")


def test_what_the_choice_has_simulated_is_the_forecast_and_nobody_is_asked_again(queue, written, tmp_path):
    looked_at = queue(ONE_GPU_LEFT)
    sent = written(*AUTO, pack="auto")
    study = Study(tmp_path / "s")
    todo = {name: Todo(planned=planned, attempt=1, since=1) for name, planned in study.planned().items()}
    foretold = foretell(study, sent, todo)
    assert looked_at == [None]
    assert foretold == foretell(study, sent._replace(starts={}), todo), "as a look of its own would say"
    assert len(looked_at) == 2


def test_arrays_are_compared_as_they_are_throttled(queue, written):
    queue(replace(ONE_GPU_LEFT, nodes=(replace(ONE_GPU_LEFT.nodes[0], gpus=64),)))
    free, throttled = (written(*AUTO, pack="auto", max_gpus=most).choice for most in (None, 2))
    assert throttled.strategies[0].makespan_s > 7 * free.strategies[0].makespan_s, "two at a time of sixteen"
    assert throttled.pack == 8, "two jobs, which run side by side"


def test_auto_says_which_limits_it_does_not_count(queue, written):
    limits = (OwnerLimit(qos="normal", default=True, allows="MaxJobsPU=2"),)
    for known, said in ((limits, "count limits: QOS normal MaxJobsPU=2"), (None, "know limits of a user")):
        queue(replace(ONE_GPU_LEFT, limits=known))
        assert f": packed by 8 (it does not {said}" in written(*AUTO, pack="auto").remarks[0]


def test_auto_looks_at_the_default_partition_for_cells_whose_profile_names_none(queue, written):
    queue(ONE_GPU_LEFT)
    assert written(*NAMELESS, pack="auto").choice == written(*AUTO, pack="auto").choice


def test_auto_packs_nothing_where_cells_run_side_by_side(queue, written):
    queue(replace(ONE_GPU_LEFT, nodes=(replace(ONE_GPU_LEFT.nodes[0], gpus=64),)))
    rendered, (remark,), choice, *_ = written(*AUTO, pack="auto")
    assert choice.pack == 1
    assert [item.batch.shared for item in rendered] == [False]
    assert remark.endswith("later: nothing is packed")


def test_auto_leaves_out_what_would_use_more_gpus_at_once_than_are_allowed(queue, written):
    queue(ONE_GPU_LEFT)
    choice = written(*AUTO, pack="auto", max_gpus=3).choice
    assert [one.pack for one in choice.strategies] == [1, 8, 16]


@pytest.mark.parametrize(
    ("outlook", "points", "why"),
    [
        ("no squeue and no scontrol on this machine", AUTO, "no squeue and no scontrol on this machine"),
        (replace(ONE_GPU_LEFT, hidden="this site shows nobody the jobs of others"), AUTO, "this site shows nobody"),
        (replace(ONE_GPU_LEFT, nodes=()), AUTO, "the queue shows no node of partition vector"),
        (
            ONE_GPU_LEFT,
            [point(batch=batch, partition=profile(partition="vector")) for batch in BATCHES],
            r"nothing says how long 4 cells would run \(n1-g1-.*\): finished runs will, or the profile's peak_tflops",
        ),
        (
            replace(
                ONE_GPU_LEFT,
                nodes=(*ONE_GPU_LEFT.nodes, replace(ONE_GPU_LEFT.nodes[0], name="other", partitions=("other",))),
            ),
            NAMELESS,
            "the profile names no partition, and which is Slurm's default one is not known here",
        ),
        (
            ONE_GPU_LEFT,
            [replace(one, partition=replace(KNOWN, name=f"p{one.accum}", cluster=f"c{one.accum % 2}")) for one in AUTO],
            "no two cells have one shape and differ",
        ),
        (
            ONE_GPU_LEFT,
            [
                replace(one, partition=replace(KNOWN, name=f"p{one.accum % 2}", cluster=f"c{one.accum % 2}"))
                for one in AUTO
            ],
            "cells go to 2 clusters, and one queue is looked at",
        ),
        (
            ONE_GPU_LEFT,
            [replace(one, partition=replace(KNOWN, constraint="a40")) for one in AUTO],
            "partition lab asks for constraint=a40, which no simulation here knows of",
        ),
        (ONE_GPU_LEFT, [point(seed=seed, partition=KNOWN) for seed in (0, 1)], "2 repeat one another and share no job"),
    ],
)
def test_where_nothing_can_be_foreseen_auto_packs_nothing_and_says_why(queue, written, outlook, points, why):
    queue(outlook)
    rendered, (remark,), choice, *_ = written(*points, pack="auto")
    assert choice is None
    assert not any(item.batch.shared for item in rendered)
    assert re.match(f"pack=auto.*{why}", remark), remark


def test_a_retry_of_one_cell_asks_nobody(queue, written):
    looked_at = queue(ONE_GPU_LEFT)
    written(AUTO[0], pack="auto")
    assert looked_at == []
    written(*AUTO, pack="auto")
    assert looked_at == [None], "once, whatever is compared"


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def dry(tmp_path, monkeypatch):
    """A dry run on a site's partition; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    words = ["-m", "partition=vector_t4v2", "model=vit_b_16", "data=synthetic", "study=s", "minutes=20"]
    return lambda *more: main([*words, "dry_run=true", *more])


def test_a_dry_run_says_what_is_packed_and_json_names_the_cells_of_each_job(dry, capsys):
    assert dry("batch=8,16,32,64", "pack=2") == 0
    assert "2 arrays: 2 times n1-g1 x 2 in one allocation" in capsys.readouterr().out
    assert dry("batch=8,16,32,64", "pack=2", "dry_run=json") == 0
    parsed = json.loads(capsys.readouterr().out)
    assert [(batch["shared"], len(batch["cells"]), batch["limit_minutes"]) for batch in parsed["batches"]] == [
        (True, 2, 45),
        (True, 2, 45),
    ]
    assert sorted(cell for batch in parsed["batches"] for cell in batch["cells"]) == sorted(
        cell["cell"] for cell in parsed["cells"]
    )


def test_the_same_command_packs_the_same_and_no_cell_becomes_another(dry, tmp_path):
    def scripts():
        return {path: path.read_bytes() for path in tmp_path.glob("outputs/s/jobs/*/job.sbatch")}

    assert dry("batch=8,16,32,64", "pack=2") == 0
    first, cells = scripts(), sorted(path.name for path in tmp_path.glob("outputs/s/cells/*"))
    assert dry("batch=64,8,32,16", "pack=2") == 0
    assert scripts() == first
    assert dry("batch=8,16,32,64") == 0
    assert sorted(path.name for path in tmp_path.glob("outputs/s/cells/*")) == cells


def test_a_study_keeps_how_its_cells_are_sent_for_whoever_resumes_it(dry, tmp_path):
    assert dry("batch=8,16", "pack=2", "max_gpus_in_flight=6", "budget_gpu_hours=5") == 0
    study = Study(tmp_path / "outputs" / "s")
    assert study.job_limits() == (2, 6, 5)
    asked_for(study.folder)
    assert dry("batch=8,16", "pack=off") == 0
    assert study.job_limits().pack == 2, "a look changes nothing"
    plan = json.loads((study.folder / "plan.json").read_text())
    del plan["pack"], plan["max_gpus_in_flight"], plan["budget_gpu_hours"]
    (study.folder / "plan.json").write_text(json.dumps(plan))
    assert study.job_limits() == ("off", None, None), "as of a study of before"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("0", "pack=0 – must be at least 1 or 'auto' or 'off'"),
        ("-1", "pack=-1 – must be at least 1 or 'auto' or 'off'"),
        ("1.5", "pack=1.5 – must be a whole number or 'auto' or 'off'"),
        ("true", "pack=True – must be a whole number or 'auto' or 'off'"),
        ("'vier'", "pack=vier – must be a whole number or 'auto' or 'off'"),
        ("2,4", "pack cannot be swept: it holds for the whole sweep; give it one value"),
    ],
)
def test_what_is_no_number_of_cells_is_refused_in_words(dry, capsys, value, why):
    assert dry(f"pack={value}") == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("value", ["off", "false", "1"])
def test_one_cell_a_job_has_several_words(dry, capsys, value):
    assert dry("batch=8,16", f"pack={value}") == 0
    assert "1 array: n1-g1 x 2\n" in capsys.readouterr().out


def test_a_number_that_no_job_can_hold_is_as_good_as_the_largest(dry, capsys):
    assert dry("batch=8,16", f"pack={10**12}") == 0
    assert "1 array: n1-g1 x 2 in one allocation" in capsys.readouterr().out
    assert dry("batch=8,16", f"pack={10**13}") == 2


def test_where_nothing_waits_in_a_queue_nothing_is_packed_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "partition=local", "data=synthetic", "batch=8,16", "dry_run=true", "study=s", "pack=4"]) == 0
    printed = capsys.readouterr().out.replace("\n", " ")
    assert "pack=4 leaves 2 cells as they are: local has no jobs that wait" in printed
    assert "in one allocation" not in printed


def test_cells_of_unlike_shapes_share_no_job_also_where_their_gpus_are_as_many(tmp_path):
    _, plan = planned_study(tmp_path / "s", *(point(gpus=2, nodes=nodes, batch=b) for nodes in (1, 2) for b in (8, 16)))
    assert sorted((job.shape.nodes, job.shape.gpus_per_node) for job in packed(plan.cells, 4).jobs) == [(1, 2), (2, 1)]
