"""What a step consists of is counted alike in every run, and one more of anything is one more in the counts.

All in a few processes: DeepSpeed takes seconds to import.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.train.ranks import be_one_of_two, run_all
from tests.e2e.train.trainers import measured_cell, run, trainer_of
from tests.unit.builders import MODEL
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

ZERO = [EngineSpec(name=f"zero{stage}", zero_stage=stage) for stage in range(4)]
DDP = EngineSpec(name="ddp", zero_stage=None, kind="ddp")
FSDP2 = EngineSpec(name="fsdp2", zero_stage=None, kind="fsdp2", reshard_after_forward=True)
ACCELERATE = EngineSpec(name="accelerate", zero_stage=None, kind="accelerate")
CASES = (
    (DDP, {}),
    (FSDP2, {}),
    (DDP, {"accum": 2, "activation_checkpointing": True}),
    (FSDP2, {"accum": 2, "activation_checkpointing": True}),
    (ACCELERATE, {"accum": 2}),
    (ZERO[0], {}),
    (ZERO[1], {"accum": 2}),
    (ZERO[2], {"activation_checkpointing": True}),
    (replace(ACCELERATE, zero_stage=2), {}),
    (ZERO[3], {"accum": 2}),
)
"""ZeRO 3 last: it leaves linear layers of its own behind, for whatever this process trains next."""
BYTES = 4 * 19428
"""Of all weights, or of their gradients."""
WIDE = replace(MODEL, image_size=8, patch_size=4, width=128, mlp_width=256, layers=4)
"""Of more than DDP's first bucket, which has one MiB at most."""
ITEMS, HELD = 10, 1_000_000


def small(**changes):
    """A cell of two ranks that trains for two steps: enough for an engine to be as it is in a run."""
    return measured_cell(gpus=2, epochs=1, steps=2, **changes)


def test_two_runs_of_a_cell_have_equal_counts_whatever_was_measured_before(tmp_path):
    """Each rank has the same of all, and has its weights as they were: the ranks assert that."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    arguments = [(str(folder), rank, folder.name == "b") for folder in folders for rank in range(2)]
    run_all(_rank_of_all_engines, arguments, folder=folders[0], seconds=600)
    first, second = (json.loads((folder / "0.json").read_text()) for folder in folders)
    for case, one, other in zip(CASES, first, second, strict=True):
        assert one == other, case
        assert one["parameters"] == one["all_parameters"] == 19428
        assert one["flop"] > 0
        assert one["peak_memory_bytes"] > BYTES
        assert (one["kernels"], one["synchronisations"]) == (None, None)
    ddp, fsdp2 = (
        {kind["name"]: (kind["calls"], kind["bytes"]) for kind in first[number]["collectives"]} for number in (0, 1)
    )
    assert ddp == {"all_reduce": (1, BYTES)}
    # Two blocks and the rest: weights of the blocks are gathered twice, gradients of all are scattered once, padded.
    assert (fsdp2["all_gather_into_tensor"][0], fsdp2["reduce_scatter_tensor"][0]) == (5, 3)
    assert BYTES < fsdp2["reduce_scatter_tensor"][1] < 1.05 * BYTES
    of_a_micro_step, of_two = first[1]["flop"], first[3]["flop"]
    assert of_two > 2 * of_a_micro_step  # what is recomputed is counted


def _rank_of_all_engines(folder, rank, measured_before):
    def work():
        counts = []
        for engine, changes in CASES:
            trainer, built_engine = trainer_of(small(engine=engine, **changes), rank)
            trainer.epoch()
            more = {"exposed": True, "profile_steps": 1} if measured_before and engine.kind != "accelerate" else {}
            counts.append(_counted(trainer, built_engine, folder, **more))
        return counts

    be_one_of_two(folder, rank, work)


def _counted(trainer, engine, folder, **more):
    """The counts, as a file has them; the weights stay."""
    import torch

    from launchers.checked import to_plain

    before = {name: weight.clone() for name, weight in engine.weights().items()}  # FSDP2 may free what it gives
    measured = trainer.measure(**({"exposed": False, "profile_steps": 0, "trace": Path(folder, "trace.json")} | more))
    assert measured.notes == (), measured.notes
    assert all(torch.equal(weight, before[name]) for name, weight in engine.weights().items())
    return to_plain(measured.counts)


def test_one_more_of_anything_changes_its_count_by_as_much_and_no_other(tmp_path):
    run_all(_rank_with_plants, [(str(tmp_path), rank) for rank in range(2)], folder=tmp_path, seconds=300)
    for planted, counted in json.loads((tmp_path / "0.json").read_text()).items():
        assert counted == PLANTED.get(planted, PLANTED[planted.partition(" ")[0]]), planted


PLANTED = {
    # Each reads a tensor of its own, whose bytes are there at the peak too.
    "nothing": {},
    "all_reduce": {"all_reduce.calls": 1, "all_reduce.bytes": 4 * ITEMS, "peak_memory_bytes": 4 * ITEMS},
    "item": {"host_reads": 1, "operations": 1, "peak_memory_bytes": 4},
    "tolist": {"host_reads": 1},
    "tolist_of_one_rank": {"host_reads": 0.5},
    "matmul": {"operations": 1, "flop": 2 * 4 * 5 * 6, "peak_memory_bytes": 4 * (4 * 5 + 5 * 6)},
    "held": {"operations": 1, "peak_memory_bytes": HELD},
    "frozen": {"all_parameters": ITEMS},
    "trained": {"all_parameters": ITEMS, "parameters": ITEMS},
    # ZeRO 0 gives one that no loss hangs on a gradient of zeros, and reduces it.
    "trained zero0": {
        "all_parameters": ITEMS,
        "parameters": ITEMS,
        "all_reduce.bytes": 4 * ITEMS,
        "operations": 6,
    },
}


def _rank_with_plants(folder, rank):
    be_one_of_two(folder, rank, lambda: _differences(folder, rank))


def _differences(folder, rank):
    """By plant and engine: which counts it changes, and by how much."""
    import torch
    import torch.distributed as dist

    alive = []
    sent, number = torch.zeros(ITEMS), torch.zeros(())
    left, right = torch.zeros(4, 5), torch.zeros(5, 6)
    plants = {
        "nothing": lambda: None,
        "all_reduce": lambda: dist.all_reduce(sent),
        "item": number.item,
        "tolist": number.tolist,
        "tolist_of_one_rank": lambda: rank == 1 and number.tolist(),
        "matmul": lambda: torch.mm(left, right),
        "held": lambda: alive.append(torch.empty(HELD, dtype=torch.uint8)),
    }
    counts_by_plant = {}
    for engine in (ZERO[0], DDP, FSDP2):
        trainer, built_engine = trainer_of(small(engine=engine), rank)
        trainer.epoch()
        plain = _flat(_counted(trainer, built_engine, folder))

        def changes(plain=plain, trainer=trainer, made=built_engine):
            after = _flat(_counted(trainer, made, folder))
            more = {name: value - plain.get(name, 0) for name, value in after.items()}
            return {name: difference for name, difference in more.items() if difference}

        for name, plant in plants.items():
            alive.clear()
            hook = built_engine.module.register_forward_pre_hook(lambda *_, plant=plant: (plant(), None)[1])
            counts_by_plant[f"{name} {engine.name}"] = changes()
            hook.remove()
        for name, trained in {"frozen": False, "trained": True}.items():
            built_engine.module.more = torch.nn.Parameter(torch.zeros(ITEMS), requires_grad=trained)
            counts_by_plant[f"{name} {engine.name}"] = changes()
            del built_engine.module.more
    return counts_by_plant


def _flat(counts):
    """Every number by its name."""
    kinds = {f"{kind['name']}.{part}": kind[part] for kind in counts["collectives"] for part in ("calls", "bytes")}
    return {name: value for name, value in counts.items() if isinstance(value, int | float)} | kinds


def test_a_larger_bucket_is_fewer_calls_and_as_many_bytes(tmp_path):
    """By as many as DDP says itself that it has buckets."""
    run_all(_rank_with_buckets, [(str(tmp_path), rank) for rank in range(2)], folder=tmp_path, seconds=300)
    (small, many), (large, few) = json.loads((tmp_path / "0.json").read_text())
    assert many > few
    assert [small["all_reduce.calls"], large["all_reduce.calls"]] == [many, few]
    assert small["all_reduce.bytes"] == large["all_reduce.bytes"] == 4 * small["parameters"]
    assert small["flop"] == large["flop"]


def _rank_with_buckets(folder, rank):
    def work():
        from vit_sweep.job.train.engines import ddp

        results = []
        for bucket_bytes in (2**20, 2**25):
            ddp.DDP_BUCKET_BYTES = bucket_bytes
            trainer, engine = trainer_of(small(engine=DDP, model=WIDE), rank)
            trainer.epoch()
            results.append((_flat(_counted(trainer, engine, folder)), len(engine._buckets())))
        return results

    be_one_of_two(folder, rank, work)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_one_rank_is_counted_as_its_model_is_written(tmp_path, compiled):
    _, after, ranks = run(tmp_path / "run", measured_cell(gpus=1, engine=DDP, compile=compiled))
    assert after.notes == ()
    assert after.counts.flop == 16233472
    assert after.counts.operations == 706
    assert ranks[0]["before"] == ranks[0]["after"]


class Event(NamedTuple):
    """Of torch's profiler, as far as it is asked."""

    label: str
    begun: int
    on_gpu: bool = False
    ended: int = 0
    annotates: bool = False

    def name(self):
        return self.label

    def start_ns(self):
        return self.begun

    def end_ns(self):
        return self.ended

    def device_type(self):
        from torch._C._autograd import DeviceType

        return DeviceType.CUDA if self.on_gpu else DeviceType.CPU

    def is_user_annotation(self):
        return self.annotates


def test_kernels_and_waits_are_those_of_the_steps_whenever_the_gpu_runs_them():
    """The wait for the end of the window is none of a step's; copies and marks of a trace are no kernels."""
    from vit_sweep.job.train.measure.window import device_calls

    events = [
        Event("cudaDeviceSynchronize", 5),
        Event("gemm", 6, on_gpu=True),
        Event("vit_sweep steps", 10, ended=50),
        Event("vit_sweep steps", 12, on_gpu=True, ended=90, annotates=True),
        *(Event("gemm", at, on_gpu=True) for at in (20, 40, 70)),
        Event("ncclDevKernel_AllReduce", 80, on_gpu=True),
        Event("Memcpy DtoH (Device -> Pageable)", 30, on_gpu=True),
        Event("Memset (Device)", 31, on_gpu=True),
        Event("cudaStreamSynchronize", 30),
        Event("cudaLaunchKernel", 30),
        Event("cudaDeviceSynchronize", 51),
    ]
    assert device_calls(events, steps=2) == (2.0, 0.5)
