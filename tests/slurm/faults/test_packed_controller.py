"""A controller that is away when a cell of a packed job ends does not hear of it; what is left runs all the same."""

import json
import shutil
import time

import pytest

from tests.slurm.conftest import running_cluster, trivial, wait_for
from tests.slurm.sharing.test_packed import SIX, Packed

pytestmark = pytest.mark.slurm
ONE_JOB = (*SIX[:-1], "pack=6")


def test_cells_wait_for_a_controller_that_was_away_and_counts_the_cores_of_one_that_ended(
    sweep, tmp_path, tmp_path_factory
):
    with running_cluster(tmp_path_factory.mktemp("c")) as cluster:
        lab = Packed(sweep, cluster, tmp_path / "outputs" / "s")
        first = runs_first(Packed(sweep, None, tmp_path / "outputs" / "dry"))
        variables = trivial(**{f"s{first}": "hold"})
        lab.start(*ONE_JOB, variables=variables)
        lab.wait_until_running(first)
        cluster.call("controller-stop")
        lab.release()
        wait_for(lambda: lab.record(first), what=lab.logs)
        cluster.call("controller-start")
        watched = lab.verb("status", "--watch", variables=variables)
        assert watched.returncode == 0, watched.stdout + watched.stderr + lab.logs()
        assert all(lab.record(seed) for seed in range(1, 7)), lab.logs()
        # The first that Slurm would not start may have been started in vain; nobody after it.
        assert sum(lab.attempts(seed) != ["1"] for seed in range(1, 7)) <= 1


def test_cells_run_beside_one_that_a_killed_controller_believes_to_run_for_ever(sweep, tmp_path, tmp_path_factory):
    """It goes on from what it saved last, here while the first cell ran, and never hears of that cell's end."""
    with running_cluster(tmp_path_factory.mktemp("c")) as cluster:
        lab = Packed(sweep, cluster, tmp_path / "outputs" / "s")
        first = runs_first(Packed(sweep, None, tmp_path / "outputs" / "dry"))
        env = trivial(**{f"s{first}": "hold"})
        lab.start(*ONE_JOB, variables=env)
        began = lab.wait_until_running(first) and time.time()
        state, saved = cluster.folder / "state", tmp_path / "saved"
        wait_for(lambda: (state / "job_state").stat().st_mtime > began)
        shutil.copytree(state, saved)
        lab.release()
        wait_for(lambda: lab.record(first), what=lab.logs)
        wait_for(lambda: "|0.0" not in steps(cluster), what=lambda: steps(cluster))
        cluster.call("controller-kill")
        shutil.rmtree(state)
        saved.rename(state)
        cluster.call("controller-start")
        assert "|0.0" in steps(cluster), "the first cell is believed to run"
        watched = lab.verb("status", "--watch", variables=env)
        assert watched.returncode == 0, watched.stdout + watched.stderr + lab.logs()
        assert all(lab.record(seed) for seed in range(1, 7)), lab.logs()
        assert len(cluster.ask("squeue", "--noheader", "--states=all").splitlines()) == 1, (
            "a trial is no job of its own"
        )


def steps(cluster):
    """Number and name of every step."""
    return cluster.ask("squeue", "--noheader", "--steps", "--format=%i|%j")


def runs_first(lab):
    """Seed of the cell that a job of all six begins with."""
    completed = lab.sweep(*lab.words(*ONE_JOB, "dry_run=json"))
    assert completed.returncode == 0, completed.stderr
    parsed = json.loads(completed.stdout)
    (batch,) = parsed["batches"]
    return next(cell["seed"] for cell in parsed["cells"] if cell["cell"] == batch["cells"][0])
