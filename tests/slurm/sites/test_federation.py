"""A job on a cluster that is not asked by default: its number alone finds nothing, or somebody else's job."""

import pytest

from tests.slurm.conftest import trivial
from tests.slurm.studies import Lab, program

pytestmark = pytest.mark.slurm

UNKNOWN_HERE = """case " $* " in *" --clusters=lab "*) ;; *)
  echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;; esac"""


@pytest.fixture
def elsewhere(tmp_path):
    """PATH on which squeue, sacct and scancel know the jobs of the cluster `lab` only by its name."""
    for name in ("squeue", "sacct", "scancel"):
        program(tmp_path / "bin", name, before=UNKNOWN_HERE)
    return tmp_path / "bin"


def on_path(folder, variables, **more):
    return variables | {"PATH": f"{folder}:{variables['PATH']}"} | more


def test_a_job_that_sbatch_put_on_another_cluster_is_watched_and_ended_there(
    sweep, cluster_with_database, elsewhere, tmp_path
):
    program(elsewhere, "sbatch", before='set -- --clusters=lab "$@"')
    variables = on_path(elsewhere, trivial(s1="hold", s2="hold"))
    lab = Lab(sweep, cluster_with_database, tmp_path / "outputs" / "s")
    lab.start("seed=1,2", variables=variables)
    lab.wait_until_running(1)
    (handle,) = {entry["handle"] for entry in lab.journal() if entry["event"] == "submitted"}
    assert handle.endswith(";lab")
    assert "running" in lab.verb("status", variables=variables).stdout
    lab.start("seed=1,2", variables=variables)
    assert len(lab.scripts()) == 1, "a second copy was started"
    assert lab.verb("cancel", variables=variables).returncode == 0
    assert lab.verb("status", "--watch", variables=variables).returncode == 1
    lab.verb("collect", variables=variables)
    assert set(lab.table().values()) == {("cancelled", "cancelled", "")}


def test_a_lost_answer_is_looked_up_on_the_clusters_that_the_users_variable_names(
    sweep, cluster_with_database, elsewhere, tmp_path
):
    lose = 'PATH=${PATH#*:} sbatch "$@" > /dev/null; echo "Socket timed out on send/recv operation" >&2; exit 1'
    program(elsewhere, "sbatch", before=lose)
    lab = Lab(sweep, cluster_with_database, tmp_path / "outputs" / "s")
    completed = lab.run("seed=1,2", variables=on_path(elsewhere, trivial(), SLURM_CLUSTERS="lab"))
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert set(lab.table().values()) == {("done", "", "")}
    assert [entry["handle"].partition(";")[2] for entry in lab.journal() if entry["event"] == "submitted"] == ["lab"]
