"""Expected starts before a submission: said, written beside the batch, and never in the way of a sweep."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from launchers.profile import Scheduler
from launchers.queue_snapshot import NodeRoom, OwnerLimit, QueuedJob, QueueSnapshot, QueueState
from launchers.slurm.look import queue_snapshot
from tests.unit.builders import planned_study, point, profile
from vit_sweep.cli.terminal import show
from vit_sweep.plan.waiting.forecast_file import NOT_LOOKED, Choice, Strategy, seconds
from vit_sweep.submit import submission
from vit_sweep.submit.batches import Todo, batches_of, rendered_of
from vit_sweep.submit.next import Written
from vit_sweep.submit.submission import Submitter
from vit_sweep.submit.waiting.start_forecast import Foretold, foretell

SITE = profile(partition="lab", peak_tflops={"fp32": 8.1})


@pytest.fixture
def prepared(tmp_path):
    """A study of one cell on one GPU, rendered for a partition."""

    def prepare(partition=SITE):
        study, plan = planned_study(tmp_path / "s", point(partition=partition))
        todo = {name: Todo(planned=planned, attempt=1, since=1) for name, planned in plan.cells.items()}
        rendered = rendered_of(batches_of(study, todo, SimpleNamespace(folder="/code")))
        for item in rendered:
            study.write_rendered(item)
        return study, rendered, todo

    return prepare


@pytest.fixture
def queue(monkeypatch):
    """Have Slurm's queue look like this; returns the clusters that were looked at."""
    clusters_asked = []

    def see(outlook):
        monkeypatch.setattr(queue_snapshot, "look", lambda cluster: clusters_asked.append(cluster) or outlook)
        return clusters_asked

    return see


def full(until_s, now):
    """A cluster of one node that a job holds until then."""
    job = QueuedJob(
        handle="1",
        state=QueueState.RUNNING,
        partitions=("lab",),
        nodes=1,
        gpus_per_node=8,
        hosts=("n1",),
        limit_s=until_s - now + 100,
        started_s=now - 100,
    )
    return QueueSnapshot(at_s=now, nodes=(NodeRoom(name="n1", partitions=("lab",), gpus=8, cpus=64),), jobs=(job,))


@pytest.mark.parametrize(
    ("stated", "named"),
    [({}, "or a QOS):"), ({"max_submit": 3, "qos": "two"}, "or a QOS, here max_submit=3, qos=two):")],
)
def test_a_forecast_names_the_limits_that_it_does_not_know(prepared, queue, stated, named):
    study, rendered, todo = prepared(profile(partition="lab", peak_tflops={"fp32": 8.1}, **stated))
    queue(full(time.time() + 3600, time.time()))
    said = foretell(study, Written(rendered, (), None), todo).lines[0]
    assert said.endswith(f"it does not know limits of a user {named}")


LIMITS = (
    OwnerLimit(account="physics", allows="MaxJobs=3"),
    OwnerLimit(account="other", allows="MaxJobs=4"),
    OwnerLimit(account="physics", partitions=("elsewhere",), allows="MaxJobs=5"),
    OwnerLimit(qos="normal", default=True, allows="GrpJobs=6"),
    OwnerLimit(qos="two", allows="MaxJobsPU=1 MaxTRESPU=gres/gpu=4"),
    OwnerLimit(qos="pair", partitions=("lab",), allows="MaxSubmitPU=2"),
)


@pytest.mark.parametrize(
    ("limits", "stated", "named"),
    [
        ((), {}, ""),
        ((), {"max_submit": 3}, "max_submit=3"),
        (LIMITS[4:5], {}, ""),
        (LIMITS[:1], {"account": "other"}, ""),
        (
            LIMITS,
            {"account": "physics", "qos": "two"},
            "account physics MaxJobs=3, QOS two MaxJobsPU=1 MaxTRESPU=gres/gpu=4, QOS pair MaxSubmitPU=2",
        ),
        (
            LIMITS,
            {},
            "account physics MaxJobs=3, account other MaxJobs=4, QOS normal GrpJobs=6, QOS pair MaxSubmitPU=2",
        ),
    ],
)
def test_limits_that_hold_for_the_jobs_are_named_and_no_others(prepared, queue, limits, stated, named):
    study, rendered, todo = prepared(profile(partition="lab", peak_tflops={"fp32": 8.1}, **stated))
    queue(replace(full(time.time() + 3600, time.time()), limits=limits))
    said = foretell(study, Written(rendered, (), None), todo).lines[0]
    assert said.partition("it does not count limits: ")[2].removesuffix("):") == named
    assert "does not know" not in said


def test_behind_a_full_cluster_the_start_is_expected_by_the_limit_and_said_with_its_interval(prepared, queue):
    study, rendered, todo = prepared()
    now = time.time()
    queue(full(now + 3600, now))
    outlook = foretell(study, Written(rendered, (), None), todo)
    (forecast,) = outlook.forecasts.values()
    assert now < seconds(forecast.before.start) <= now + 3600 + 61
    assert seconds(forecast.before.earliest) <= seconds(forecast.before.start) <= seconds(forecast.before.latest)
    assert outlook.lines[0].startswith("expected starts, never a promise (a look at the queue, no earlier job")
    assert outlook.lines[1].startswith("  n1-g1 x 1: about ")
    assert outlook.seen


def test_a_queue_that_lacks_the_partition_is_seen_so_that_a_dry_run_says_it(prepared, queue):
    study, rendered, todo = prepared(profile(partition="lab,nowhere"))
    queue(full(time.time() + 3600, time.time()))
    outlook = foretell(study, Written(rendered, (), None), todo)
    assert outlook.seen
    assert outlook.lines == ("expected starts: not known – the queue shows no node of partition nowhere",)


def test_on_a_free_cluster_it_is_at_once(prepared, queue):
    study, rendered, todo = prepared()
    now = time.time()
    queue(replace(full(now + 60, now), jobs=()))
    assert foretell(study, Written(rendered, (), None), todo).lines[1:] == ("  n1-g1 x 1: at once",)


def test_where_nobody_can_look_one_line_says_why_and_the_file_keeps_it(prepared, queue):
    study, rendered, todo = prepared()
    queue("squeue: no controller")
    outlook = foretell(study, Written(rendered, (), None), todo)
    assert outlook.lines == ("expected starts: not known – squeue: no controller",)
    assert not outlook.seen
    (forecast,) = outlook.forecasts.values()
    assert (forecast.before, forecast.unknown) == (None, "squeue: no controller")


def test_a_site_that_hides_the_jobs_of_others_is_named(prepared, queue):
    study, rendered, todo = prepared()
    now = time.time()
    queue(replace(full(now + 60, now), hidden="this site shows nobody the jobs of others (PrivateData=jobs)"))
    assert "PrivateData=jobs" in foretell(study, Written(rendered, (), None), todo).lines[0]


@pytest.mark.parametrize("key", ["reservation", "constraint", "nodelist"])
def test_what_the_simulation_knows_nothing_of_is_not_foreseen(prepared, queue, key):
    study, rendered, todo = prepared(profile(partition="lab", **{key: "special"}))
    now = time.time()
    queue(full(now + 60, now))
    (line,) = foretell(study, Written(rendered, (), None), todo).lines
    assert f"{key}=special" in line


def test_a_shape_that_never_starts_says_why(prepared, queue):
    study, rendered, todo = prepared(profile(partition="elsewhere"))
    now = time.time()
    queue(full(now + 60, now))
    assert foretell(study, Written(rendered, (), None), todo).lines == (
        "expected starts: not known – the queue shows no node of partition elsewhere",
    )


def test_a_cluster_that_the_profile_names_is_the_one_that_is_looked_at(prepared, queue):
    study, rendered, todo = prepared(profile(partition="lab", cluster="west"))
    clusters_asked = queue("no")
    foretell(study, Written(rendered, (), None), todo)
    assert clusters_asked == ["west"]


def test_cells_of_this_machine_ask_nobody(prepared, queue):
    study, rendered, todo = prepared(profile(scheduler=Scheduler.LOCAL, nodes=1))
    clusters_asked = queue("no")
    outlook = foretell(study, Written(rendered, (), None), todo)
    assert (outlook.lines, outlook.forecasts, clusters_asked) == ((), {}, [])


@pytest.fixture
def takes_all(monkeypatch):
    """A Slurm that takes every batch."""

    def submit(items):
        return [
            SimpleNamespace(batch_name=item.batch.name, folder=item.batch.folder, handle=str(number), tasks=1)
            for number, item in enumerate(items, start=17)
        ]

    monkeypatch.setattr(submission, "launcher_of", lambda _: SimpleNamespace(submit=submit))


def test_the_forecast_lies_beside_the_batch_before_slurm_has_it(prepared, queue, takes_all):
    study, rendered, todo = prepared()
    now = time.time()
    queue(full(now + 3600, now))
    outlook = foretell(study, Written(rendered, (), None), todo)
    Submitter(study, rendered, say=print, forecasts=outlook.forecasts).submit(idle=True)
    (item,) = rendered
    assert study.forecast(item.batch.name) == outlook.forecasts[item.batch.name]


def test_what_is_sent_again_unasked_is_written_too_though_nobody_looked(prepared, takes_all):
    study, rendered, _ = prepared()
    Submitter(study, rendered, say=print, asked=False).submit(idle=True)
    assert study.forecast(rendered[0].batch.name).unknown == NOT_LOOKED


def test_a_forecast_that_cannot_be_written_stops_no_sweep(prepared, takes_all, monkeypatch):
    study, rendered, _ = prepared()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(study), "write_forecast", full_disk)
    Submitter(study, rendered, say=print).submit(idle=True)
    assert [entry.event for entry in study.jobs()] == ["submitting", "submitted"]


def test_scripts_do_not_depend_on_the_queue(prepared, queue):
    study, rendered, todo = prepared()
    before = [json.dumps(item.files, sort_keys=True) for item in rendered]
    now = time.time()
    queue(full(now + 3600, now))
    foretell(study, Written(rendered, (), None), todo)
    again = rendered_of(batches_of(study, todo, SimpleNamespace(folder="/code")))
    assert [json.dumps(item.files, sort_keys=True) for item in again] == before


def test_what_was_expected_of_each_way_to_send_the_cells_is_kept_with_each_batch(prepared, queue):
    study, rendered, todo = prepared()
    queue("no controller")
    ways = [
        Strategy(pack=pack, jobs=8 // pack, makespan_s=100.0 * pack, low_s=1.0, high_s=900.0, gpu_hours=1.0)
        for pack in (1, 4)
    ]
    outlook = foretell(study, Written(rendered, (), Choice(strategies=tuple(ways), pack=1, why="sooner")), todo)
    (forecast,) = outlook.forecasts.values()
    assert (forecast.strategies, forecast.pack) == (tuple(ways), 1)
    name = rendered[0].batch.name
    study.write_forecast(name, forecast)
    assert study.forecast(name) == forecast


@pytest.mark.parametrize(
    ("any_queue", "dry_run", "says"),
    [(False, True, False), (True, True, True), (False, False, True), (True, False, True)],
)
def test_only_a_dry_run_without_a_queue_at_hand_says_nothing(any_queue, dry_run, says, capsys):
    show.expected_starts(Console(), Foretold({}, ("expected starts: ...",), any_queue), dry_run=dry_run)
    assert ("expected starts" in capsys.readouterr().out) == says
