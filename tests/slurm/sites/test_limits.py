"""Limits of a site and of a disk: the client waits and feeds, and what found no room is not lost."""

import json
import os
import shutil
import subprocess

import pytest

from tests.conftest import LONG
from tests.slurm.conftest import running_cluster, trivial, wait_for
from tests.slurm.studies import Lab, program

pytestmark = pytest.mark.slurm


@pytest.fixture
def study(tmp_path):
    return tmp_path / "outputs" / "s"


def test_many_cells_run_once_each_in_arrays_of_a_part_of_them(sweep, shared_cluster, study):
    """24 cells in arrays of 8; with VIT_SWEEP_LONG_TESTS=1 300 in arrays of 100, which takes minutes."""
    part = 100 if LONG else 8
    lab = Lab(sweep, shared_cluster, study)
    completed = lab.run(
        f"seed=range({3 * part})", f"++partition.max_array_size={part}", variables=trivial(), timeout=1800
    )
    assert completed.returncode == 0, completed.stdout[-2000:] + completed.stderr
    assert [len(entry["tasks"]) for entry in lab.journal() if entry["event"] == "submitted"] == [part] * 3
    table = lab.table()
    assert sorted(table) == list(range(3 * part))
    assert set(table.values()) == {("done", "", "")}
    attempts = [path.name for path in study.glob("cells/*/attempts/*")]
    assert attempts == ["1"] * 3 * part


def test_one_sweep_submits_at_a_time_and_any_number_may_watch(sweep, shared_cluster, study, tmp_path):
    lab = Lab(sweep, shared_cluster, study)
    (tmp_path / "slow").touch()
    slow = program(tmp_path / "bin", "sbatch", before=f"while [ -e {tmp_path}/slow ]; do sleep 0.1; done")
    variables = trivial(s1="hold")
    with lab.client(
        *lab.words("seed=1,2"), variables=variables | {"PATH": f"{slow}:{variables['PATH']}"}, cwd=tmp_path
    ) as first:
        wait_for((study / "jobs.jsonl").exists)
        second = lab.run("seed=1,2,3", variables=variables)
        assert second.returncode == 2, second.stdout
        assert f"is being changed by process {first.pid}" in second.stderr
        (tmp_path / "slow").unlink()
        lab.wait_until_running(1)
        with lab.watching(variables=variables) as watcher, lab.watching(variables=variables) as another:
            lab.release()
            assert [client.wait(timeout=300) for client in (watcher, another, first)] == [0, 0, 0]
    assert set(lab.table().values()) == {("done", "", "")}
    assert lab.attempts(1) == lab.attempts(2) == ["1"]


def test_what_a_second_command_adds_waits_for_the_gpus_that_the_jobs_of_the_first_one_hold(
    sweep, shared_cluster, study, tmp_path
):
    lab, variables = Lab(sweep, shared_cluster, study), trivial(s1="hold", s2="hold")
    lab.start("seed=1,2", "max_gpus_in_flight=2", variables=variables)
    for seed in (1, 2):
        lab.wait_until_running(seed)
    said, words = tmp_path / "said", lab.words("seed=1,2,3", "max_gpus_in_flight=2")
    with said.open("w") as file, lab.client(*words, variables=variables, cwd=tmp_path, stdout=file) as second:
        wait_for(
            lambda: "1 cell waits until the study's other jobs have ended" in said.read_text(), what=said.read_text
        )
        assert [entry["event"] for entry in lab.journal()].count("submitted") == 1
        lab.release()
        assert second.wait(timeout=300) == 0, said.read_text()
    assert lab.table() == dict.fromkeys((1, 2, 3), ("done", "", ""))
    assert [lab.attempts(seed) for seed in (1, 2, 3)] == [["1"]] * 3


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 6 MiB, mounted before the cluster starts: its nodes see what was mounted then."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_disk_that_is_full_when_a_record_is_written_costs_that_cell_only(sweep, small_disk, tmp_path_factory):
    variables = trivial(s2="hold")
    with running_cluster(tmp_path_factory.mktemp("full")) as cluster:
        lab = Lab(sweep, cluster, small_disk / "outputs" / "s")
        lab.start("seed=1,2", f"outputs={small_disk}/outputs", variables=variables)
        lab.wait_until_running(2)
        wait_for(lambda: lab.record(1))
        wait_for(lambda: lab.read(1, "1", "exit.json"))
        fill(small_disk / "filler")
        lab.release()
        wait_for(lambda: lab.read(2, "1", "exit.json"), what=lab.logs)
        assert lab.read(2, "1", "exit.json")["cause"] == "storage"
        # Slurm may call the job running a moment longer than it took to write that.
        wait_for(lambda: "storage: " in lab.verb("status", variables=variables).stdout, what=lab.logs)
        assert lab.record(2) is None
        (small_disk / "filler").unlink()
        again = lab.run("seed=1,2", f"outputs={small_disk}/outputs", variables=variables)
        assert again.returncode == 0, again.stdout + again.stderr
        assert lab.table() == {1: ("done", "", ""), 2: ("done", "", "storage")}
        assert lab.attempts(1) == ["1"]


def fill(path):
    """Write until there is no room for another byte."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_a_study_in_another_place_is_collected_and_goes_on_there(sweep, shared_cluster, study, tmp_path):
    lab = Lab(sweep, shared_cluster, study)
    variables = trivial(s2="hold")
    lab.start("seed=1,2", variables=variables)
    lab.wait_until_running(2)
    wait_for(lambda: lab.record(1))
    shared_cluster.ask("scancel", lab.task(2))
    assert lab.verb("status", "--watch", variables=variables).returncode == 1
    before = sorted(path.relative_to(study) for path in study.rglob("*"))
    copy = Lab(sweep, shared_cluster, tmp_path / "elsewhere" / "t")
    shutil.copytree(study, copy.folder)
    collected = copy.verb("collect", variables=variables)
    assert collected.returncode == 0, collected.stdout + collected.stderr
    assert copy.table() == {1: ("done", "", ""), 2: ("cancelled", "cancelled", "")}
    copy.release()
    resumed = copy.verb("resume", "--trust", variables=variables)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert copy.table() == {1: ("done", "", ""), 2: ("done", "", "cancelled")}
    assert copy.attempts(1) == ["1"]
    assert sorted(path.relative_to(study) for path in study.rglob("*")) == before
    assert str(study) not in copy.scripts()[-1]
    assert (
        os.fspath(copy.folder)
        in json.loads((copy.folder / "jobs" / copy.journal()[-1]["batch"] / "batch.json").read_text())["study_dir"]
    )
