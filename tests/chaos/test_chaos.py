"""Twenty trivial cells under a seeded monkey; afterwards `check` and the journal must find every cell done once.

On the local queue a study takes minutes, so it stands behind a switch; on Slurm one seed always runs.
VIT_SWEEP_CHAOS_MINUTES=M goes on with the next seed until M minutes are over, VIT_SWEEP_LONG_TESTS=1 for an hour;
VIT_SWEEP_CHAOS_SEED=N gives the first one.
"""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from functools import partial

import pytest

from tests.chaos.local import LocalMonkey
from tests.chaos.monkey import CELLS
from tests.chaos.slurm import PackedMonkey, SlurmMonkey
from tests.conftest import LONG, wait_for
from tests.slurm.conftest import running_cluster
from vit_sweep.study.check import check
from vit_sweep.study.journal import Event
from vit_sweep.study.store import Study

FIRST_SEED = int(os.environ.get("VIT_SWEEP_CHAOS_SEED", "1"))
MINUTES = float(os.environ.get("VIT_SWEEP_CHAOS_MINUTES", "60" if LONG else "0"))


@pytest.mark.skipif(not MINUTES, reason="minutes each: set VIT_SWEEP_CHAOS_MINUTES")
def test_every_cell_is_done_once_whatever_the_monkey_does(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        run_seeds(tmp_path, disk, LocalMonkey)


@pytest.mark.slurm
def test_every_cell_is_done_once_whatever_the_monkey_does_to_slurm(tmp_path, tmp_path_factory):
    # Mounted before the cluster starts: its nodes see what was mounted then.
    with small_disk(tmp_path / "disk") as disk, running_cluster(tmp_path_factory.mktemp("c")) as cluster:
        run_seeds(tmp_path, disk, partial(SlurmMonkey, cluster=cluster))


@pytest.mark.slurm
@pytest.mark.skipif(not MINUTES, reason="minutes each: set VIT_SWEEP_CHAOS_MINUTES")
def test_every_packed_cell_is_done_once_whatever_the_monkey_does_to_slurm(tmp_path, tmp_path_factory):
    with small_disk(tmp_path / "disk") as disk, running_cluster(tmp_path_factory.mktemp("c")) as cluster:
        run_seeds(tmp_path, disk, partial(PackedMonkey, cluster=cluster))


@contextmanager
def small_disk(folder):
    """A disk of 24 MiB, or None where none can be mounted."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(words, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run_seeds(folder, disk, kind):
    """One study after another until time is over, each with the next seed."""
    end, seed = time.monotonic() + 60 * MINUTES, FIRST_SEED
    while True:
        beside = folder / str(seed)
        beside.mkdir()
        place = (disk or beside) / "p"
        place.mkdir()
        one_study(kind(seed, place, beside, small_disk=disk is not None))
        shutil.rmtree(place)
        seed += 1
        if time.monotonic() >= end:
            return


def one_study(monkey):
    """Torment a study, let it end, and hold it against what is promised."""
    begun = time.monotonic()
    try:
        codes = monkey.settle(monkey.torment())
        story = f"{monkey.story()}; codes {codes}"
        print(f"{story} after {time.monotonic() - begun:.0f} s")
        judge(monkey, codes, f"{story}\n{monkey.tail()}")
    finally:
        for process in monkey.processes(""):
            process.kill()


def judge(monkey, codes, story):
    """What is promised, whatever was done."""
    assert codes[-1] == 0, story
    assert "Traceback" not in monkey.log.read_text(), story
    wait_for(lambda: not monkey.left(), what=lambda: f"left: {monkey.left()}\n{story}")
    study = Study(monkey.study)
    seen = check(study)
    assert (seen.wrong, seen.notes, seen.cells, seen.records) == ((), (), CELLS, CELLS), story
    last = {cell: attempt for entry in study.jobs() if entry.event is Event.SUBMITTED for cell, attempt in entry.tasks}
    recorded = {record.cell_id: record.attempt_number for record in study.records()}
    assert recorded == last, f"a finished cell was submitted again\n{story}"
    assert monkey.seen.keys() == recorded.keys()
    twice = monkey.locks / "twice"
    assert not twice.exists(), f"{twice.read_text()}\n{story}"
