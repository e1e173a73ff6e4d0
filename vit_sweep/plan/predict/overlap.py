"""How much of a step's communication computation can hide, at best. Pure.

Gradients can hide behind the backward pass that makes them: that of the last micro step with ZeRO 0 and 1, which reduce
once a step, of each with 2 and 3. Weights can hide behind the forward pass that waits for them: of the first micro step
with ZeRO 1 and 2, which gather once a step. With ZeRO 3 and FSDP2 any pass may hide any of it. DDP is as ZeRO 0.
Backward is two thirds of a step's operations, three quarters where it computes every block again. No engine reaches
this bound: the first gradients must be there before anything is sent, and the last ones have nothing to hide behind.
"""

from dataclasses import replace

from launchers.profile import Network
from vit_sweep.plan.cell import Cell
from vit_sweep.plan.engine.kinds import FSDP2, sharding
from vit_sweep.plan.predict import cost, ring


def exposed_s(cell: Cell, network: Network, *, gpus: int, nodes: int, compute_s: float) -> tuple[float, float]:
    """Seconds of a step's communication that nothing hides: where nothing is hidden, and where all that can be is.

    What a sequence group exchanges is in both: attention waits for it. On `gpus` GPUs of `nodes` nodes, whatever the
    cell says; `compute_s`: a rank's computation in an optimizer step.
    """
    moved = cost.traffic_of(cell)
    placed = replace(cell, gpus=gpus, nodes=nodes if gpus % nodes == 0 else 1)
    exchanged_s = cost.exchanges_s(placed, network)
    whole_s = ring.over_nodes_s(
        network, gpus=gpus, nodes=nodes, size_bytes=cost.gradient_bytes(cell), calls=moved.buckets
    )
    gradients_s, weights_s = moved.gradients * whole_s, moved.weights * whole_s
    stage = sharding(cell.engine)
    if stage == 3 or cell.engine.kind == FSDP2:
        whole_s = gradients_s + weights_s
        return whole_s + exchanged_s, max(0.0, whole_s - compute_s) + exchanged_s
    forward_s = compute_s / (4 if cell.activation_checkpointing else 3)
    behind_backward_s = (compute_s - forward_s) / (cell.accum if stage < 2 else 1)
    least_s = max(0.0, gradients_s - behind_backward_s) + max(0.0, weights_s - forward_s / cell.accum)
    return gradients_s + weights_s + exchanged_s, least_s + exchanged_s
