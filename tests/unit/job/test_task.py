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


@pytest.mark.parametrize(("attempt", "done"), [(2, True), (3, False)], ids=["this attempt's", "an earlier one's"])
def test_ranks_leave_a_record_of_their_own_attempt_alone(tmp_path, attempt, done):
    """A record of an earlier attempt is there to be renewed (`rerun=stale`): then the rank goes on to train."""
    folder = tmp_path / "cells" / ONE.cell_id
    folder.mkdir(parents=True)
    file = CellFile(cell_id=ONE.cell_id, cell=ONE, series=(series(),), data_root="/data")
    (folder / "cell.json").write_text(to_json(file))
    before = to_json(replace(record(ONE), attempt="2"))
    (folder / "record.json").write_text(before)
    made = batch(study_dir=str(tmp_path), tasks=(Task(name=ONE.cell_id, attempt=attempt),))
    Path(made.folder).mkdir(parents=True)
    (Path(made.folder) / "batch.json").write_text(to_json(made))
    # No torch: whoever trains stops here.
    (tmp_path / "torch.py").write_text("raise ImportError('torch was asked for')\n")
    environment = {
        "VIT_SWEEP_JOB_ID": "9_0",
        "VIT_SWEEP_TASK_INDEX": "0",
        "VIT_SWEEP_RESTART": "1",
        "SLURM_NNODES": "1",
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "1",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "PATH": os.environ["PATH"],
    }
    ended = subprocess.run([sys.executable, "-m", "vit_sweep.job.task", made.folder], env=environment, cwd=tmp_path)
    end = json.loads((folder / "attempts" / f"{attempt}.1" / "rank0.json").read_text())["end"]
    if done:
        assert (ended.returncode, end["cause"]) == (0, "done")
        assert (folder / "record.json").read_text() == before
    else:
        assert ended.returncode == 1
        assert "torch was asked for" in end["message"]
