"""A job asks its own node for room and its own DeepSpeed for keys before it builds anything."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.conftest import LONG
from tests.e2e.train.ranks import SMALL, be_one_of_two, run_all, small_cell
from vit_sweep.job.train.engines import offload
from vit_sweep.outcome.failure import JobError
from vit_sweep.plan.choices import Offload
from vit_sweep.plan.engine import deepspeed_keys
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

ME = SimpleNamespace(local_world_size=2)
ON_HOST = small_cell(gpus=2, engine=EngineSpec(name="zero3", zero_stage=3, offload_optimizer=Offload.CPU))
ON_DISK = small_cell(gpus=2, engine=EngineSpec(name="zero3", zero_stage=3, offload_optimizer=Offload.NVME))


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))


def test_a_node_without_the_memory_is_refused(monkeypatch):
    offload.require_room(ON_HOST, ME, None)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    with pytest.raises(JobError, match=r"need about 0\.0 GiB of memory a node, .* now has 0\.0; use more nodes"):
        offload.require_room(ON_HOST, ME, None)
    offload.require_room(small_cell(gpus=2), ME, None)


def test_a_folder_for_swapping_must_be_there_and_have_room(tmp_path, monkeypatch):
    for missing in (None, str(tmp_path / "none"), "$NOT_SET_ANYWHERE/x"):
        with pytest.raises(JobError, match=r"is no folder that can be written to on .*; name another in the profile"):
            offload.require_room(ON_DISK, ME, missing)
    monkeypatch.setenv("SCRATCH_OF_THE_TEST", str(tmp_path))
    offload.require_room(ON_DISK, ME, "$SCRATCH_OF_THE_TEST")
    assert offload.nvme_folder() == str(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(JobError, match=r"GiB on disk a node, .* now has 0\.0"):
        offload.require_room(ON_DISK, ME, str(tmp_path))


@pytest.mark.skipif(not LONG, reason="DeepSpeed first compiles what reads and writes files: VIT_SWEEP_LONG_TESTS=1")
def test_states_in_files_train_bit_for_bit_as_those_in_memory(tmp_path):
    run_all(_swap, [(str(tmp_path), rank) for rank in range(2)], folder=tmp_path, seconds=1800)
    for rank in range(2):
        parsed = json.loads((tmp_path / f"{rank}.json").read_text())
        assert parsed["same"]
        assert parsed["moved"], "nothing was trained"
        assert parsed["files"]["cpu"] == []
        assert {"exp_avg", "exp_avg_sq"} <= {name.partition("-")[0] for name in parsed["files"]["nvme"]}


def _swap(folder, rank):
    be_one_of_two(folder, rank, lambda: _swapped(Path(folder), rank))


def _swapped(folder, rank):
    """A model of which each rank has a part that DeepSpeed takes for large enough to be written, 1 MiB."""
    import torch

    from vit_sweep.job.train.proof import rehearsal

    weights, files = {}, {}
    for place in (Offload.CPU, Offload.NVME):
        swap = folder / place / str(rank)
        swap.mkdir(parents=True)
        os.environ["VIT_SWEEP_NVME"] = str(swap)
        spec = EngineSpec(name="zero3", zero_stage=3, offload_optimizer=place)
        cell = small_cell(gpus=2, engine=spec, model=replace(SMALL, width=512, mlp_width=1024, heads=4))
        copy = rehearsal.small(cell, cell.optimizer)
        before = rehearsal.first_weights(copy)
        weights[place] = rehearsal.by_engine(copy, steps=3, rank=rank, device=torch.device("cpu")).weights
        files[place] = [path.name for path in swap.rglob("*.swp") if path.stat().st_size >= 2**20]
    one, other = weights.values()
    return {
        "same": all(torch.equal(one[name], other[name]) for name in one),
        "moved": any(not torch.equal(one[name], before[name]) for name in one),
        "files": files,
    }


TABLE = Path(deepspeed_keys.__file__)


def test_a_job_asks_its_own_deepspeed_for_keys_and_for_what_nvme_takes(tmp_path, request):
    """In a forked process, which has imported DeepSpeed already; what it reads is the plan's table."""
    run_all(_ask_deepspeed, [(str(tmp_path),)], folder=tmp_path, seconds=120)
    version, keys = json.loads((tmp_path / "keys.json").read_text())
    if request.config.getoption("--renew-golden"):
        sections = "".join(
            f"    {section!r}: frozenset({{\n{''.join(f'        {key!r},{chr(10)}' for key in names)}    }}),\n"
            for section, names in keys.items()
        ).replace("'", '"')
        head = TABLE.read_text().partition("VERSION = ")[0]
        TABLE.write_text(f'{head}VERSION = "{version}"\nKEYS = {{\n{sections}}}\n"""By section."""\n')
        return
    read = {section: frozenset(names) for section, names in keys.items()}
    assert read == deepspeed_keys.KEYS, "--renew-golden writes the table anew"


def _ask_deepspeed(folder):
    import deepspeed

    from vit_sweep.job.train.engines import deepspeed as engine
    from vit_sweep.job.train.engines.deepspeed_schema import keys_read

    keys = {section: sorted(names) for section, names in sorted(keys_read().items())}
    (Path(folder) / "keys.json").write_text(json.dumps([deepspeed.__version__, keys]))
    spec = EngineSpec(name="zero2", zero_stage=2, config=("zero_optimization.round_robin=true",))
    with pytest.raises(JobError, match=r"engine.config.zero_optimization.round_robin: DeepSpeed .* does not read it"):
        engine.configuration(small_cell(engine=spec))
    good = replace(spec, config=("zero_optimization.round_robin_gradients=true",))
    assert engine.configuration(small_cell(engine=good))["zero_optimization"]["round_robin_gradients"] is True
    os.environ["VIT_SWEEP_NVME"] = folder
    deepspeed.ops.op_builder.AsyncIOBuilder.is_compatible = lambda self: False
    with pytest.raises(JobError, match=r"cannot build what reads and writes its files .* install libaio-dev, or use"):
        engine.configuration(ON_DISK)
    sys.exit(0)
