"""Real trainings that Slurm interrupts: one goes on from its checkpoint where it was, one is finished elsewhere."""

import csv
from functools import partial

import pytest

from tests import warm
from tests.conftest import ROOT, TEST_CONF
from tests.slurm.conftest import wait_for
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm

TRAINING = [
    f"--config-dir={TEST_CONF}",
    f"++partition.environment.PYTHONPATH={ROOT}/tests/hold",
    "partition=lab_vector",
    "model=vit_test",
    "data=quick",
    "batch=8",
    "batch_per=global",
    "epochs=4",
    "preflight=off",
    "exposed=off",
    "profile_steps=0",
]
HOLD = {"HOLD_EPOCH": "2"}
STARTED = {"calm": ([], {}), "disturbed": ([], HOLD), "left": (["gpus=2", "nodes=2"], HOLD)}
LEARNED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


@pytest.fixture(scope="module")
def labs(shared_cluster, tmp_path_factory):
    """Studies of the same training, all at once; two of them hold in their second epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    labs = {}
    for name, (words, environment) in STARTED.items():
        labs[name] = Lab(partial(_sweep, folder), shared_cluster, folder / "outputs" / name)
        labs[name].started = _sweep(
            folder, *TRAINING, *words, f"study={name}", "wait=false", env=shared_cluster.environment | environment
        )
    return labs


def _sweep(folder, *words, env, **options):
    return warm.run(*words, cwd=folder, env=env, **options)


def wait_until_held(lab):
    assert lab.started.returncode == 0, lab.started.stdout + lab.started.stderr
    wait_for(lambda: (lab.read(0, "1", "progress.json") or {"epoch": 0})["epoch"] >= 2, lab.logs)


def ended(lab):
    """The record of what runs to its end."""
    watched = lab.verb("status", "--watch", variables={})
    assert watched.returncode == 0, watched.stdout + watched.stderr + lab.logs()
    return lab.record(0)


def learned(epochs):
    return [[epoch[key] for key in LEARNED] for epoch in epochs]


def test_a_run_that_was_warned_and_started_again_ends_with_the_losses_of_one_that_was_not(labs, shared_cluster):
    """One of two gets the signal that Slurm sends before it ends a job."""
    disturbed = labs["disturbed"]
    wait_until_held(disturbed)
    shared_cluster.ask("scancel", "--signal=USR2", disturbed.task(0))
    calm, again = ended(labs["calm"]), ended(disturbed)
    assert disturbed.table() == {0: ("done", "", "preempted")}
    assert again["restarts"] == 1
    assert again["attempts"] == ["1", "1.1"]
    assert len(again["epochs"]) == len(calm["epochs"]) == 4
    assert learned(again["epochs"]) == learned(calm["epochs"])
    assert not list(disturbed.cell(0).glob("checkpoint/*/*.pt")), "a finished run keeps no checkpoint"


def test_a_training_of_two_nodes_that_was_cancelled_is_finished_on_one(labs, shared_cluster):
    """It learns what one did that nobody cancelled, and stands in no timing series."""
    left = labs["left"]
    wait_until_held(left)
    cancelled = left.verb("cancel", variables={})
    assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
    left.verb("status", "--watch", variables={})
    origin = left.cell(0)
    other_lab = Lab(left.sweep, shared_cluster, left.folder.parent / "finished")
    words = [*TRAINING, f"continue_from=left/{origin.name}", "zero=2", "study=finished"]
    completed = other_lab.sweep(*words, env=shared_cluster.environment)
    assert completed.returncode == 0, completed.stdout + completed.stderr + other_lab.logs()
    record = other_lab.record(0)
    assert (record["requested"]["origin"]["cell_id"], record["requested"]["origin"]["gpus"]) == (origin.name, 2)
    assert (record["resolved"]["gpus"], record["resolved"]["nodes"]) == (1, 1)
    whole, right = learned([*record["earlier"], *record["epochs"]]), learned(ended(labs["calm"])["epochs"])
    assert len(record["earlier"]) == 1
    for own, other in zip(whole, right, strict=True):
        assert own == pytest.approx(other, rel=1e-4)
    with (other_lab.folder / "tables" / "continued.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["continued_from"].startswith(origin.name)
    assert not (other_lab.folder / "tables" / "strong.csv").exists()
