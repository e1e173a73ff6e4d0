"""A finished study without any training: planned by the command itself, its records made up by Amdahl's law."""

import random
from pathlib import Path

from launchers.checked import to_json
from tests import warm
from tests.unit.builders import record
from vit_sweep.report.figure import SWITCH
from vit_sweep.study.store import Study

SERIAL = 0.03
"""Part of the work that is serial in `made_up`."""


def planned(folder, *words, name="made_up"):
    """A study that was planned and not run."""
    answer = warm.run("-m", *words, "partition=vector_t4v2", "dry_run=true", f"study={name}", cwd=folder, env={})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return Study(Path(folder) / "outputs" / name)


def made_up(folder, *words, name="made_up", without=()):
    """Every cell ran but those whose id contains one of `without`: 100 s on a GPU, Amdahl's law, 1 % noise."""
    study = planned(folder, *(words or ("gpus=1,2,4,8", "seed=0,1,2")), name=name)
    for file in study.cell_files():
        if any(part in file.cell_id for part in without):
            continue
        noise = random.Random(file.cell_id)
        time = 100 * (SERIAL + (1 - SERIAL) / file.cell.gpus)
        epochs = (1.5 * time, *(time * noise.uniform(0.99, 1.01) for _ in range(file.cell.epochs - 1)))
        made = record(file.cell, epoch_seconds=epochs, versions={"python": "3.11", "torch": "2.11"}, code="c0ffee")
        (study.cell_dir(file.cell_id) / "record.json").write_text(to_json(made))
    return study


def report(study, *words):
    """What the verb says: exit code, what it printed, what it complained of."""
    return warm.run("report", study.folder, *words, cwd=study.folder, env={SWITCH: "svg"})
