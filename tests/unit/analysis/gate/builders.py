"""Runs with counts, for the tests of the gate."""

from tests.unit.analysis.builders import run
from vit_sweep.record.machine import Fingerprint

NOON = "2026-03-02T12:00:00+00:00"
COUNTS = {
    "collectives.all_reduce.bytes": 4e6,
    "collectives.all_reduce.calls": 4.0,
    "flop": 1e9,
    "host_reads": 2.0,
    "operations": 900.0,
    "parameters": 1e6,
    "peak_memory_bytes": 5e7,
}
SOFTWARE = (("python", "3.11.2"), ("torch", "2.11.0"))
HERE = (Fingerprint(rank=0, host="node0", cpu="AMD EPYC 7B13"),)


def side(times, *, counts=COUNTS, **changes):
    """A run of each time, by GPU count: `{2: (10.0, 10.1)}`, all of one session."""
    given = {"software": SOFTWARE, "machine": HERE, "started_at": NOON} | changes
    return [
        run(
            gpus,
            (seconds,),
            seed=seed,
            run_id=f"n1-g{gpus}-{seed}",
            counts=tuple(sorted(counts.items())),
            **given,
        )
        for gpus, repeats in times.items()
        for seed, seconds in enumerate(repeats)
    ]
