"""Found by Python at its start: every rank of a local queue gets the trainer of `tests/slurm/ranks/trivial`.

The server that forks ranks is a fresh interpreter, which no stand-in of its parent reaches. A cell takes CHAOS_CELL_S.
"""

import os
import sys
import time
import types
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

TRIVIAL = Path(__file__).resolve().parents[2] / "slurm" / "ranks" / "trivial"


def train(file, me, **given):
    """Take a while, so that there is something to kill, and leave what a finished run leaves."""
    time.sleep(float(os.environ["CHAOS_CELL_S"]))
    loader = SourceFileLoader("trivial", str(TRIVIAL))
    spec = spec_from_loader("trivial", loader)
    assert spec is not None
    trivial = module_from_spec(spec)
    loader.exec_module(trivial)
    trivial.train(file, me, **given)


if "CHAOS_CELL_S" in os.environ:
    sys.dont_write_bytecode = True
    stand_in: Any = types.ModuleType("vit_sweep.job.train.imports.preload")
    stand_in.train = train
    sys.modules["vit_sweep.job.train.imports.preload"] = stand_in
