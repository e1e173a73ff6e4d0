"""A real training that Slurm interrupts: it goes on from its checkpoint to the losses of an undisturbed run."""

import pytest

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
    "epochs=4",
    "preflight=off",
    "exposed=off",
    "profile_steps=0",
]
HELD = {"calm": {}, "disturbed": {"HOLD_EPOCH": "2"}}
LEARNED = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


def test_a_run_that_was_warned_and_started_again_ends_with_the_losses_of_one_that_was_not(
    sweep, shared_cluster, tmp_path
):
    """Two studies of the same cell train at once; one gets the signal that Slurm sends before it ends a job."""
    labs = {name: Lab(sweep, shared_cluster, tmp_path / "outputs" / name) for name in HELD}
    for name, environment in HELD.items():
        answer = sweep(*TRAINING, f"study={name}", "wait=false", env=shared_cluster.environment | environment)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    disturbed = labs["disturbed"]
    wait_for(lambda: (disturbed.read(0, "1", "progress.json") or {"epoch": 0})["epoch"] >= 2, disturbed.logs)
    shared_cluster.ask("scancel", "--signal=USR2", disturbed.task(0))
    for lab in labs.values():
        watched = lab.verb("status", "--watch", acts={})
        assert watched.returncode == 0, watched.stdout + watched.stderr + lab.logs()
    calm, disturbed_record = (lab.record(0) for lab in labs.values())
    assert disturbed.table() == {0: ("done", "", "preempted")}
    assert disturbed_record["restarts"] == 1
    assert disturbed_record["attempts"] == ["1", "1.1"]
    assert len(disturbed_record["epochs"]) == len(calm["epochs"]) == 4
    assert [[epoch[key] for key in LEARNED] for epoch in disturbed_record["epochs"]] == [
        [epoch[key] for key in LEARNED] for epoch in calm["epochs"]
    ]
    assert not list(disturbed.cell(0).glob("checkpoint/*/*.pt")), "a finished run keeps no checkpoint"
