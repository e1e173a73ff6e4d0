"""A shared batch without Slurm: its cores or hosts are taken once, for the largest task, and kept to the end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from launchers.batch import Batch, Shape, Task
from launchers.checked import parse_json, to_json
from launchers.hostfile.backend import HostfileLauncher
from launchers.profile import Device, Host, Scheduler
from launchers.queue.files import read_states
from tests.conftest import ROOT, wait_for
from tests.unit.builders import batch, profile, put_programs
from tests.unit.launchers.local.queue_run import cores, work_off

CORES = len(os.sched_getaffinity(0))


def parts(*shapes):
    """Tasks on so many (nodes, GPUs a node), in this order."""
    return tuple(
        Task(name=f"c{index}", attempt=1, shape=Shape(nodes=nodes, gpus_per_node=gpus, minutes=1))
        for index, (nodes, gpus) in enumerate(shapes)
    )


def written(shared_batch, **files):
    folder = Path(shared_batch.folder)
    folder.mkdir(parents=True)
    for name, text in ({"batch.json": to_json(shared_batch)} | files).items():
        (folder / name).write_text(text)
    return folder


def locked(folder, name):
    """Whether somebody holds a slot of this user."""
    try:
        with FileLock(folder / f"vit_sweep-{os.getuid()}" / f"{name}.lock", timeout=0):
            return False
    except Timeout:
        return True


# --- this machine ---------------------------------------------------------------------------------------


def local_batch(tmp_path, *sizes, exclusive=False, **environment):
    return batch(
        study_dir=str(tmp_path),
        module="tests.unit.launchers.local.local_probe",
        shared=True,
        profile=cores(exclusive=exclusive, **environment),
        shape=Shape(nodes=1, gpus_per_node=max(sizes), minutes=5),
        tasks=parts(*((1, size) for size in sizes)),
    )


def notes(folder):
    """What the ranks noted, by task and rank."""
    notes_by_rank = {}
    for path in folder.glob("note-*.json"):
        _, index, rank = path.stem.split("-")
        notes_by_rank[int(index), int(rank)] = json.loads(path.read_text())
    return notes_by_rank


@pytest.mark.skipif(CORES < 2, reason="one core cannot be shared out")
@pytest.mark.parametrize("exclusive", [False, True])
def test_tasks_run_one_by_one_in_their_order_on_the_first_of_the_same_cores(tmp_path, exclusive):
    folder = written(local_batch(tmp_path, 1, 2, 1, exclusive=exclusive))
    work_off(tmp_path, folder)
    ran = notes(folder)
    assert sorted(ran) == [(0, 0), (1, 0), (1, 1), (2, 0)]
    assert ran[0, 0]["ended"] <= min(ran[1, 0]["begun"], ran[1, 1]["begun"])
    assert max(ran[1, 0]["ended"], ran[1, 1]["ended"]) <= ran[2, 0]["begun"]
    assert ran[0, 0]["cores"] == ran[1, 0]["cores"] == ran[2, 0]["cores"] != ran[1, 1]["cores"]
    assert len(ran[0, 0]["cores"]) == 1
    assert {task.detail for task in read_states(folder).values()} == {""}


@pytest.mark.skipif(CORES < 2, reason="one core cannot be shared out")
def test_a_failed_task_does_not_stop_its_curve(tmp_path):
    folder = written(local_batch(tmp_path, 2, 1, FAIL_INDEX="0"))
    work_off(tmp_path, folder)
    assert [task.ended.value for _, task in sorted(read_states(folder).items())] == ["failed", "completed"]


@pytest.mark.skipif(CORES < 2, reason="one core cannot be shared out")
def test_what_a_curve_held_is_free_for_the_next_one_and_nobody_comes_in_between(tmp_path):
    """Two curves that need all cores: the tasks of one never lie between those of the other."""
    shared_batches = [local_batch(tmp_path / name, 1, CORES, 1) for name in ("a", "b")]
    folders = [written(shared) for shared in shared_batches]
    work_off(tmp_path, *folders)
    first, other = ([note["begun"] for note in notes(folder).values()] for folder in folders)
    assert max(first) < min(other) or max(other) < min(first)
    assert all(len(notes(folder)) == CORES + 2 for folder in folders)


# --- hosts ----------------------------------------------------------------------------------------------

SITE = profile(
    name="lab",
    scheduler=Scheduler.HOSTFILE,
    nodes=3,
    gpus_per_node=2,
    device=Device.CPU,
    hosts=tuple(Host(name=name, slots=2) for name in "abc"),
)


def over_hosts(tmp_path, *shapes):
    shape = Shape(nodes=max(n for n, _ in shapes), gpus_per_node=max(g for _, g in shapes), minutes=5)
    return batch(study_dir=str(tmp_path), profile=SITE, shape=shape, tasks=parts(*shapes), shared=True)


def test_every_task_has_a_hostfile_with_the_first_hosts_and_a_script_for_them(tmp_path):
    files = HostfileLauncher().render(over_hosts(tmp_path, (2, 2), (1, 1), (3, 2))).files
    hostfiles = [[line.split("  #")[0] for line in files[f"hostfile-{i}"].splitlines()] for i in range(3)]
    assert hostfiles == [["a slots=2", "b slots=2"], ["a slots=1"], ["a slots=2", "b slots=2", "c slots=2"]]
    assert "-np 4 --map-by ppr:2:node" in files["job-0.sh"]
    assert "VIT_SWEEP_NODES=1 " in files["job-1.sh"]
    assert "${VIT_SWEEP_ALLOCATED_GPUS:+-x VIT_SWEEP_ALLOCATED_GPUS}" in files["job-2.sh"]
    assert "hostfile" not in files
    assert parse_json(Batch, files["batch.json"], source="it").tasks[1].shape == Shape(
        nodes=1, gpus_per_node=1, minutes=1
    )


def test_all_hosts_are_held_from_the_first_task_to_the_last(tmp_path):
    hosts_batch = over_hosts(tmp_path, (2, 1), (1, 2), (3, 1))
    folder = written(hosts_batch, **HostfileLauncher().render(hosts_batch).files)
    mpirun = (
        f'echo "$VIT_SWEEP_TASK_INDEX $VIT_SWEEP_NODES $VIT_SWEEP_ALLOCATED_GPUS" >> {tmp_path}/ran\n'
        f"until [ -e {tmp_path}/go-$VIT_SWEEP_TASK_INDEX ]; do sleep 0.05; done"
    )
    put_programs(tmp_path / "bin", mpirun=mpirun)
    process = subprocess.Popen(
        [sys.executable, "-m", "launchers.hostfile.queue", str(folder)],
        cwd=ROOT,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
    )
    try:
        for index in range(3):
            wait_for(lambda: (tmp_path / "ran").exists() and len(ran(tmp_path)) > index)  # noqa: B023 - at once
            assert [locked(tmp_path, f"host-{name}") for name in "abc"] == [True] * 3
            (tmp_path / f"go-{index}").touch()
        assert process.wait(timeout=300) == 0
    finally:
        process.kill()
        process.wait()
    assert ran(tmp_path) == ["0 2 6", "1 1 6", "2 3 6"]
    assert [task.hosts for _, task in sorted(read_states(folder).items())] == ["a b", "a", "a b c"]
    assert not any(locked(tmp_path, f"host-{name}") for name in "abc")


def ran(tmp_path):
    return (tmp_path / "ran").read_text().splitlines()
