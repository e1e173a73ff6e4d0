"""Twenty trivial cells under a seeded monkey; afterwards `check` and the journal must find every cell done once.

Minutes each, so behind a switch: VIT_SWEEP_CHAOS_MINUTES=M goes on with the next seed until M minutes are over,
VIT_SWEEP_LONG_TESTS=1 for an hour; VIT_SWEEP_CHAOS_SEED=N gives the first one.
"""

import os
import subprocess
import time

import pytest

from tests.chaos.monkey import CELLS, Monkey
from tests.conftest import LONG, wait_for
from vit_sweep.study.check import check
from vit_sweep.study.journal import Event
from vit_sweep.study.store import Study

FIRST_SEED = int(os.environ.get("VIT_SWEEP_CHAOS_SEED", "1"))
MINUTES = float(os.environ.get("VIT_SWEEP_CHAOS_MINUTES", "60" if LONG else "0"))

pytestmark = pytest.mark.skipif(not MINUTES, reason="minutes each: set VIT_SWEEP_CHAOS_MINUTES")


def test_every_cell_is_done_once_whatever_the_monkey_does(tmp_path):
    end, seed = time.monotonic() + 60 * MINUTES, FIRST_SEED
    while True:
        one_study(tmp_path / str(seed), seed)
        seed += 1
        if time.monotonic() >= end:
            return


def one_study(folder, seed):
    """Torment a study with this seed, let it end, and hold it against what is promised."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    small = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(small, capture_output=True).returncode == 0
    begun = time.monotonic()
    monkey = Monkey(seed, disk, small_disk=mounted)
    try:
        codes = monkey.settle(monkey.torment())
        print(
            f"seed {seed} after {time.monotonic() - begun:.0f} s: {' '.join(monkey.acts)}; codes {codes}"
            + ("" if mounted else "; no disk was filled")
        )
        judge(monkey, codes, f"seed {seed}: {monkey.acts}; {codes}\n{monkey.log.read_text()[-6000:]}")
    finally:
        for process in monkey.processes(""):
            process.kill()
        if mounted:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def judge(monkey, codes, story):
    """What is promised, whatever was done."""
    assert codes[-1] == 0, story
    assert "Traceback" not in monkey.log.read_text(), story
    wait_for(lambda: not monkey.processes(""), what=f"a process was left\n{story}")
    study = Study(monkey.study)
    seen = check(study)
    assert (seen.wrong, seen.notes, seen.cells, seen.records) == ((), (), CELLS, CELLS), story
    last = {cell: attempt for entry in study.jobs() if entry.event is Event.SUBMITTED for cell, attempt in entry.tasks}
    recorded = {record.cell_id: int(record.attempt.split(".")[0]) for record in study.records()}
    assert recorded == last, f"a finished cell was submitted again\n{story}"
    assert monkey.seen.keys() == recorded.keys()
