"""The all-reduce of a ring: what its links carry, and how long that takes. Pure.

S bytes over n ranks are cut into n parts; each part goes round once to be summed and once to be handed out, so every
rank sends 2 (n-1) messages of S/n bytes (Patarasuk and Yuan 2009; nccl-tests, PERFORMANCE.md):

    2 (n-1) latency + 2 (n-1)/n x S/B
"""


def messages(ranks: int) -> int:
    """Messages that each rank sends, one after the other; 0 on one rank."""
    return 2 * (ranks - 1)


def traffic(ranks: int) -> float:
    """Bytes over the slowest link per byte that is reduced."""
    return messages(ranks) / ranks


def allreduce_s(ranks: int, *, size_bytes: float, latency_s: float, seconds_per_byte: float) -> float:
    """Seconds of an all-reduce; 0 on one rank."""
    return messages(ranks) * latency_s + traffic(ranks) * size_bytes * seconds_per_byte
