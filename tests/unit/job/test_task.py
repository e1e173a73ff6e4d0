"""A job that Slurm starts again after its run had finished does nothing: its record stays as it is."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.batch import Task
from launchers.checked import to_json
from tests.conftest import ROOT
from tests.unit.builders import batch, cell, record, series
from vit_sweep.plan.cell import CellFile

ONE = cell()
PLACE = {
    "VIT_SWEEP_JOB_ID": "9_0",
    "VIT_SWEEP_TASK_INDEX": "0",
    "SLURM_NNODES": "1",
    "SLURM_PROCID": "0",
    "SLURM_NTASKS": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
"""The only rank of a job."""


@pytest.mark.parametrize(("attempt", "done"), [(2, True), (3, False)], ids=["this attempt's", "an earlier one's"])
def test_ranks_leave_a_record_of_their_own_attempt_alone(tmp_path, attempt, done):
    """A record of an earlier attempt is there to be renewed (`rerun=stale`): then the rank goes on to train."""
    folder = tmp_path / "cells" / ONE.cell_id
    folder.mkdir(parents=True)
    file = CellFile(cell_id=ONE.cell_id, cell=ONE, series=(series(),), data_root="/data")
    (folder / "cell.json").write_text(to_json(file))
    before = to_json(replace(record(ONE), attempt="2"))
    (folder / "record.json").write_text(before)
    this_batch = batch(study_dir=str(tmp_path), tasks=(Task(name=ONE.cell_id, attempt=attempt),))
    Path(this_batch.folder).mkdir(parents=True)
    (Path(this_batch.folder) / "batch.json").write_text(to_json(this_batch))
    # No torch: whoever trains stops here, and says whether a loader's workers could have a socket.
    (tmp_path / "torch.py").write_text(
        "from multiprocessing.connection import Listener\nListener(family='AF_UNIX')\n"
        "raise ImportError('torch was asked for')\n"
    )
    (tmp_path / ("t" * 120)).mkdir()
    environment = PLACE | {
        "VIT_SWEEP_RESTART": "1",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "PATH": os.environ["PATH"],
        "TMPDIR": str(tmp_path / ("t" * 120)),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "vit_sweep.job.task", this_batch.folder], env=environment, cwd=tmp_path
    )
    end = json.loads((folder / "attempts" / f"{attempt}.1" / "rank0.json").read_text())["end"]
    if done:
        assert (ended.returncode, end["cause"]) == (0, "done")
        assert (folder / "record.json").read_text() == before
    else:
        assert ended.returncode == 1
        assert "torch was asked for" in end["message"]


def test_a_rank_that_may_start_no_thread_says_so_and_does_not_wait_for_one(tmp_path):
    """What libraries do at exit may wait for ever; the thread that would end that wait cannot be started either."""
    folder = tmp_path / "cells" / ONE.cell_id
    folder.mkdir(parents=True)
    this_batch = batch(study_dir=str(tmp_path), tasks=(Task(name=ONE.cell_id, attempt=1),))
    Path(this_batch.folder).mkdir(parents=True)
    (Path(this_batch.folder) / "batch.json").write_text(to_json(this_batch))
    script = f"""
import atexit, faulthandler, sys, threading, time
from vit_sweep.job.task import main

def none(*_arguments, **_words):
    raise RuntimeError("can't start new thread")

threading.Thread.start = none
faulthandler.dump_traceback_later = none
atexit.register(time.sleep, 3600)
sys.exit(main([{this_batch.folder!r}]))
"""
    environment = os.environ | PLACE | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, timeout=300)
    assert ended.returncode == 1
    end = json.loads((folder / "attempts/1/rank0.json").read_text())["end"]
    assert (end["cause"], end["message"].split(" – ")[0]) == ("configuration", "can't start new thread")
    assert "no more processes and threads (ulimit -u)" in end["message"]
