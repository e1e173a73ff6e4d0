"""The admin's tools against a real slurmctld: what they discover is accepted, what drifts is told."""

import pytest

from tests.conftest import TEST_CONF

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def _folder(tmp_path_factory):
    return tmp_path_factory.mktemp("site")


@pytest.fixture
def discovered(sweep, cluster, _folder):
    """A site folder as `profiles discover --write` fills it."""
    completed = sweep("profiles", "discover", "--write", str(_folder), env=cluster)
    assert completed.returncode == 0, completed.stderr
    return _folder


def test_every_partition_of_the_cluster_is_discovered_as_slurm_knows_it(discovered):
    vector = (discovered / "partition" / "lab_vector.yaml").read_text()
    for line in (
        "nodes: 4",
        "gpus_per_node: 8",
        "gpu_type: t4",
        "gpu_dialect: gres_typed",
        "cpus_per_gpu: 8",
        "mem_per_gpu_gib: 31",
        "max_minutes: 1440",
        "max_array_size: 1001",
    ):
        assert line in vector.splitlines()
    assert "gpu_type: rtx3090" in (discovered / "partition" / "lab_nebula.yaml").read_text()


def test_slurm_accepts_the_largest_job_of_every_discovered_profile_and_says_when_it_starts(discovered, sweep, cluster):
    for name, largest in (("lab_vector", "4 nodes x 8 GPUs, 1440 min"), ("lab_nebula", "1 node x 2 GPUs")):
        completed = sweep("profiles", "check", name, "--config-dir", str(discovered), env=cluster)
        assert completed.returncode == 0, completed.stdout + completed.stderr
        (line,) = [line for line in completed.stdout.splitlines() if largest in line]
        assert "Slurm accepts it, expected start 20" in line


def test_the_site_folder_works_by_its_variable_too(discovered, sweep, cluster):
    completed = sweep("profiles", "drift", "lab_vector", env=cluster | {"VIT_SWEEP_CONF": str(discovered)})
    assert (completed.returncode, completed.stdout) == (0, "lab_vector agrees with cluster lab\n")


def write(tmp_path, **changes):
    text = (TEST_CONF / "partition" / "lab_vector.yaml").read_text()
    for old, new in changes.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{old}:"))
        text = text.replace(line, f"{old}: {new}")
    (tmp_path / "c" / "partition").mkdir(parents=True)
    (tmp_path / "c" / "partition" / "lab_vector.yaml").write_text(text)
    return str(tmp_path / "c")


def test_what_drifted_is_told_key_by_key(sweep, cluster, tmp_path):
    folder = write(tmp_path, nodes=6, gpus_per_node=4)
    completed = sweep("profiles", "drift", "lab_vector", "--config-dir", folder, env=cluster)
    assert completed.returncode == 1
    assert completed.stdout.splitlines() == [
        "nodes: the profile says 6, the cluster 4",
        "gpus_per_node: the profile says 4, the cluster 8",
    ]


def test_a_partition_that_is_gone_drifts(sweep, cluster, tmp_path):
    folder = write(tmp_path, partition="t4v2")
    completed = sweep("profiles", "drift", "lab_vector", "--config-dir", folder, env=cluster)
    assert completed.returncode == 1
    assert completed.stdout == "partition: t4v2 is not on cluster lab, which has vector, nebula\n"


@pytest.mark.parametrize(("key", "value"), [("partition", "nowhere"), ("nodes", 5), ("mem_per_cpu_gib", 1000)])
def test_check_fails_with_slurms_own_words_where_slurm_refuses(key, value, sweep, cluster, tmp_path):
    completed = sweep("profiles", "check", "lab_vector", "--config-dir", write(tmp_path, **{key: value}), env=cluster)
    assert completed.returncode == 1
    assert "sbatch --test-only refuses it: " in completed.stdout


def test_without_a_name_profiles_of_other_clusters_are_not_asked(sweep, cluster):
    completed = sweep("profiles", "check", "--config-dir", str(TEST_CONF), env=cluster)
    assert completed.returncode == 0, completed.stdout
    assert "this Slurm has no partition t4v2" in completed.stdout
    assert "4 nodes x 8 GPUs, 1440 min: Slurm accepts it" in completed.stdout


def test_asking_leaves_no_job_behind(discovered, sweep, cluster, ask):
    before = ask("squeue", "--noheader", "--format=%A").split()
    sweep("profiles", "check", "--config-dir", str(discovered), env=cluster)
    assert set(ask("squeue", "--noheader", "--format=%A").split()) <= set(before)
