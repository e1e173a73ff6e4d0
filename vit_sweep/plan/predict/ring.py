"""Collectives over rings and trees: what links carry, and how long that takes. Pure.

S bytes over n ranks are cut into n parts; each part goes round once to be summed and once to be handed out, so every
rank sends 2 (n-1) messages of S/n bytes (Patarasuk and Yuan 2009; nccl-tests, PERFORMANCE.md):

    ring   2 (n-1) latency + 2 (n-1)/n x S/B

Over N nodes of g GPUs each there is the tree too: a chain inside each node, and two binary trees over the nodes that
share the load (Sanders, Speck and Träff 2009, as in NCCL):

    tree   2 (g-1) latency inside + 2 log2 N latency between + 2 S/B

B is the slowest of what carries all bytes: the links inside a node, or its ports together, of which a job uses one for
each of its GPUs at most. The faster of both is taken, as NCCL's tuner does.
"""

import math

from launchers.profile import Link, Network


def messages(ranks: int) -> int:
    """Messages that each rank sends, one after the other; 0 on one rank."""
    return 2 * (ranks - 1)


def traffic(ranks: int) -> float:
    """Bytes over the slowest link per byte that is reduced."""
    return messages(ranks) / ranks


def bus_factor(kind: str, ranks: int) -> float:
    """Bytes over the slowest link per byte of the tensor (nccl-tests, PERFORMANCE.md).

    2 (n-1)/n for an all-reduce, (n-1)/n for all-gather, reduce-scatter and all-to-all, 1 for reduce and broadcast.
    """
    if kind.startswith("all_reduce"):
        return traffic(ranks)
    return traffic(ranks) / 2 if kind.startswith(("all_gather", "reduce_scatter", "all_to_all")) else 1.0


def allreduce_s(ranks: int, *, size_bytes: float, latency_s: float, seconds_per_byte: float) -> float:
    """Seconds of a ring's all-reduce; 0 on one rank."""
    return messages(ranks) * latency_s + traffic(ranks) * size_bytes * seconds_per_byte


def all_to_all_s(network: Network, *, ranks: int, nodes: int, size_bytes: float, calls: int) -> float:
    """Seconds of `calls` all-to-alls of `size_bytes` together, over `ranks` of `nodes` nodes; 0 on one rank.

    Of its tensor a rank keeps a part and sends one to every other, all at once: those of a node share its ports.
    """
    if ranks == 1:
        return 0.0
    intra_node, inter_node = network.inside, network.between or network.inside
    if nodes == 1:
        speed, share = _bytes_per_s(intra_node, 1), (ranks - 1) / ranks
        return calls * _latency_s(intra_node, ranks - 1) + share * size_bytes / speed
    local = ranks / nodes
    speed, share = _bytes_per_s(inter_node, min(inter_node.ports, local)) / local, (ranks - local) / ranks
    return calls * _latency_s(inter_node, ranks - 1) + share * size_bytes / speed


def pass_on_s(network: Network, *, nodes: int, size_bytes: float, calls: int) -> float:
    """Seconds in which every rank hands `size_bytes` to the next one in `calls` messages, over the slowest link."""
    link = network.inside if nodes == 1 else network.between or network.inside
    return calls * _latency_s(link, 1) + size_bytes / _bytes_per_s(link, 1)


def over_nodes_s(network: Network, *, gpus: int, nodes: int, size_bytes: float, calls: int = 1) -> float:
    """Seconds of `calls` all-reduces of `size_bytes` together, by the faster of ring and tree; 0 on one GPU.

    Where the profile has no link between nodes, it is taken to be as the one inside.
    """
    if gpus == 1:
        return 0.0
    intra_node, inter_node = network.inside, network.between or network.inside
    if nodes == 1:
        return calls * _latency_s(intra_node, messages(gpus)) + traffic(gpus) * size_bytes / _bytes_per_s(intra_node, 1)
    local = gpus / nodes
    speed = _bytes_per_s(inter_node, min(inter_node.ports, local))
    if local > 1:
        speed = min(speed, _bytes_per_s(intra_node, 1))
    ring_s = calls * _latency_s(inter_node, messages(gpus)) + traffic(gpus) * size_bytes / speed
    hops_s = _latency_s(intra_node, 2 * (local - 1)) + _latency_s(inter_node, 2 * math.log2(nodes))
    return min(ring_s, calls * hops_s + 2 * size_bytes / speed)


def _latency_s(link: Link, hops: float) -> float:
    return 1e-6 * link.latency_us * hops


def _bytes_per_s(link: Link, ports: float) -> float:
    return 1e9 * link.gb_per_s * ports
