"""What it takes a step that states lie outside of the GPU: copies, the update on cores, files. Pure.

Of a rank, for each weight of its shard (parameters / ranks), with w bytes of a weight and A micro steps, as DeepSpeed
0.19.8 does it (`tests/e2e/train/engines/test_offloaded_bytes.py` counts it anew):

| | from the GPU | to the GPU |
|---|---|---|
| ZeRO 1, optimizer | 4: fp32 gradients | w: new weights |
| ZeRO 2, optimizer | 4, and A w of partial sums if A > 1 | w, and (A - 1) w |
| ZeRO 3, optimizer | 4 + A w | A w, and w where the weights stay on the GPU |
| ZeRO 3, weights | w where the optimizer stays on the GPU | w each time that weights are gathered |

The update itself is bound by the memory of the node: an optimizer reads and writes `UPDATE_BYTES` a weight, and new
weights are cast (4 + w). In files lie fp32 weights, gradients and moments, read and written once a step, and weights,
read whenever they are gathered and written once. One after the other, as DeepSpeed does it without `pin_memory` and
pipelines (ZeRO-Offload, Ren et al. 2021, arXiv:2101.06840, hides a part; ZeRO-Infinity, Rajbhandari et al. 2021,
arXiv:2104.07857, section 4, has the same bytes).
"""

from typing import NamedTuple

from launchers.profile import Device, OffloadLinks
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.choices import Offload
from vit_sweep.plan.optimizers import UPDATE_BYTES, moment_bytes
from vit_sweep.plan.predict import traffic
from vit_sweep.plan.predict.vit import parameters


class Moved(NamedTuple):
    """Bytes of one rank in an optimizer step."""

    from_gpu: float = 0.0
    to_gpu: float = 0.0
    updated: float = 0.0
    """Read and written in the memory of the node by the update."""
    read: float = 0.0
    """From files."""
    written: float = 0.0


def of_step(cell: Cell) -> Moved:
    """What a step of the cell moves for its offloaded states; nothing where there are none."""
    engine, accum, weight = cell.engine, cell.accum, cell.precision.bytes
    count = parameters(cell.model, cell.outputs)
    shard = count / cell.gpus
    optimizer, weights = engine.offload_optimizer is not Offload.NONE, engine.offload_param is not Offload.NONE
    from_gpu = to_gpu = updated = read = written = 0.0
    if optimizer:
        partial = {1: 0, 2: accum if accum > 1 else 0, 3: accum}[engine.zero_stage or 1]
        from_gpu += 4 + partial * weight
        to_gpu += weight * (partial if engine.zero_stage == 3 else max(0, partial - 1)) + (0 if weights else weight)
        updated += UPDATE_BYTES.get(cell.optimizer.kind, max(UPDATE_BYTES.values())) + 4 + weight
    if weights:
        gathered = traffic.of_step(engine, accum, count, blocks=cell.model.layers).gathered
        from_gpu += 0 if optimizer else weight
        to_gpu += weight * gathered
        if engine.offload_param is Offload.NVME:
            read, written = weight * gathered, weight
    if engine.offload_optimizer is Offload.NVME:
        states = 8 + moment_bytes(cell.optimizer, cell.model, cell.outputs) / count
        read, written = read + states, written + states
    return Moved(*(shard * each for each in (from_gpu, to_gpu, updated, read, written)))


def step_s(cell: Cell, links: OffloadLinks) -> float:
    """Seconds of a step for its offloaded states, which nothing hides.

    Where ranks are processes on cores, all their memory is the node's: files alone take time.
    """
    moved, ranks = of_step(cell), cell.gpus_per_node
    seconds = ranks * (moved.read / links.read_gb_per_s + moved.written / links.write_gb_per_s)
    if cell.device is not Device.CPU:
        memory = min(cell.cpus_per_gpu * links.core_gb_per_s, links.memory_gb_per_s / ranks)
        seconds += (moved.from_gpu + moved.to_gpu) / links.gpu_gb_per_s + moved.updated / memory
    return seconds / 1e9
