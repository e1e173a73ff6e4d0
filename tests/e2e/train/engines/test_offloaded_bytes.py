"""What a step with offloaded states copies, and what an update touches, counted anew, is what the plan says."""

import json
from dataclasses import replace

import pytest

from tests.e2e.train.ranks import be_one_of_two, run_all, small_cell
from tests.e2e.train.trainers import measured_cell, trainer_of
from tests.unit.builders import MODEL
from vit_sweep.plan.choices import Offload, Precision
from vit_sweep.plan.optimizers import UPDATE_BYTES
from vit_sweep.plan.predict import offload
from vit_sweep.plan.predict.vit import parameters
from vit_sweep.plan.specs import EngineSpec

pytestmark = pytest.mark.train

WIDE = replace(MODEL, image_size=16, patch_size=4, width=320, mlp_width=640, layers=4)
"""Its matrices are above ZeRO 3's persistence threshold, as those of every real ViT are."""
SIZE = parameters(WIDE, 4)
OPTIMIZER, WEIGHTS = {"offload_optimizer": Offload.CPU}, {"offload_param": Offload.CPU}


def _cell(stage, accum, precision, places):
    engine = EngineSpec(name=f"zero{stage}", zero_stage=stage, **places)
    return measured_cell(gpus=2, accum=accum, precision=precision, model=WIDE, engine=engine)


CASES = (
    _cell(1, 2, Precision.FP32, OPTIMIZER),
    _cell(2, 1, Precision.FP32, OPTIMIZER),
    _cell(2, 3, Precision.BF16, OPTIMIZER),
    _cell(3, 1, Precision.FP32, OPTIMIZER),
    _cell(3, 3, Precision.BF16, OPTIMIZER),
    _cell(3, 2, Precision.FP32, OPTIMIZER | WEIGHTS),
    _cell(3, 2, Precision.FP32, WEIGHTS),
)
"""All in one pair of processes: DeepSpeed takes ten seconds to import."""


def test_every_offload_copies_what_the_plan_says_and_updates_touch_what_it_says(tmp_path):
    """Within 7 %: a parameter across the border of two shards is summed whole on both ranks."""
    run_all(_rank, [(str(tmp_path), rank) for rank in range(2)], folder=tmp_path, seconds=300)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for number, cell in enumerate(CASES):
        planned = offload.of_step(cell)
        for way, expected in zip(("from_gpu", "to_gpu"), planned[:2], strict=True):
            counted = sum(rank["copies"][number][way] for rank in ranks) / 2
            assert 0.99 * expected <= counted <= 1.07 * expected, (cell.engine, cell.accum, way, counted / SIZE)
    assert ranks[0]["updates"] == pytest.approx({kind.value: size for kind, size in UPDATE_BYTES.items()}, abs=0.1)


def _rank(folder, rank):
    be_one_of_two(
        folder,
        rank,
        lambda: {
            "updates": {kind.value: _update_bytes(kind) for kind in UPDATE_BYTES},
            "copies": [_copies(cell, rank) for cell in CASES],
        },
    )


def _copies(cell, rank):
    """Bytes of a step that cross the border, where the host is what DeepSpeed's optimizer keeps there.

    Both are this process's memory: DeepSpeed is told that those tensors are on no accelerator, and what it moves to one
    becomes another tensor.
    """
    import deepspeed
    from torch import Tensor, dtype
    from torch.overrides import TorchFunctionMode

    trainer, engine = trainer_of(cell, rank)
    engine.module.train()
    batches = trainer._pipeline.epoch(1)
    moved = {"from_gpu": 0, "to_gpu": 0}

    def on_host(tensor):
        return tensor.untyped_storage().data_ptr() in _host(engine)

    class Copies(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), options=None):
            options = options or {}
            if function is Tensor.copy_ and on_host(args[0]) != on_host(args[1]):
                moved["from_gpu" if on_host(args[0]) else "to_gpu"] += args[0].nbytes
            if function is Tensor.to and on_host(args[0]) and not isinstance((*args, *options.values())[1], dtype):
                moved["to_gpu"] += args[0].nbytes
                return args[0].clone()
            return function(*args, **options)

    def step():
        for micro in range(cell.accum):
            trainer._micro_step(batches, boundary=micro == cell.accum - 1)

    step()
    with pytest.MonkeyPatch.context() as patch, Copies():
        patch.setattr(deepspeed.accelerator.get_accelerator(), "on_accelerator", lambda tensor: not on_host(tensor))
        step()
    return moved


def _host(engine):
    """Where tensors begin that DeepSpeed keeps on the host."""
    optimizer, spec = engine.optimizer, engine._engine.config["zero_optimization"]
    tensors = []
    if "offload_optimizer" in spec:
        for name in ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat"):
            for weights in getattr(optimizer, name, ()):
                tensors += [weights, weights.grad]
        tensors += getattr(optimizer, "param_buffer_of_bit16_for_cpu_offload_groups", ())
        tensors += getattr(optimizer, "accumulated_grads_in_cpu", {}).values()
        tensors += getattr(optimizer, "_DeepSpeedZeroOptimizer_Stage3__param_id_to_grad_partition", {}).values()
    if "offload_param" in spec:
        tensors += [weight.ds_tensor for weight in engine.module.parameters()]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor is not None}


def _update_bytes(kind, numbers=10_000):
    """Bytes a weight that the operators of a second step read and write, of an optimizer as a GPU's job makes it."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    from launchers.profile import Device
    from vit_sweep.job.train.model import optimizer

    class Touched(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, types, args=(), options=None):
            output = function(*args, **(options or {}))
            if not function.is_view and not function._schema.name.startswith("aten::empty"):
                self.size += sum(tensor.nbytes for tensor in tree_leaves((args, options, output)) if _is_tensor(tensor))
            if function._schema.name.startswith("aten::_fused"):
                # It writes its weights and moments in place, and returns nothing.
                self.size += sum(tensor.nbytes for some in (args[0], *args[2:4]) for tensor in some)
            return output

    def _is_tensor(value):
        return isinstance(value, torch.Tensor)

    cell = small_cell(device=Device.CUDA)
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.randn(numbers))
    optimizer_made = optimizer(replace(cell, optimizer=replace(cell.optimizer, kind=kind)), model)
    for _ in range(2):
        model.weight.grad = torch.randn(numbers)
        with Touched() as touched:
            optimizer_made.step()
    return touched.size / numbers
