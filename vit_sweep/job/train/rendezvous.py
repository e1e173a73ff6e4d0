"""How the ranks of a job find each other, without a fixed port and without MPI.

Rank 0 binds a port below the ephemeral range (whose start depends on the job, so that neighbours rarely
meet), and publishes host and port in the attempt's folder; the others wait for that file.
"""

import json
import os
import time
import zlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # re-exported without saying so

from launchers.atomic import read, write
from launchers.identity import FIRST_PORT, LAST_PORT, RankIdentity
from launchers.profile import Device
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError

CONNECT_TIMEOUT = timedelta(minutes=11)
"""Data is staged before: one node may have to copy for minutes what another one has."""
WATCHDOG_FIRST = timedelta(minutes=2)
"""How much longer than the watchdog a collective waits: the watchdog names the rank, the step and the place."""
_TRIES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Meeting:
    """Where the ranks of this job have met."""

    host: str
    port: int
    world_size: int

    def client(self) -> TCPStore:
        """One more connection to the store, for a thread that must not wait for the others."""
        return TCPStore(self.host, self.port, self.world_size, is_master=False, timeout=CONNECT_TIMEOUT)


def connect(me: RankIdentity, device: Device, attempt: Path, *, hang_minutes: float) -> Meeting:
    """Start the process group (gloo on CPU, NCCL on CUDA); raises `JobError` when ranks stay away.

    `hang_minutes`: how long the watchdog waits; collectives give up later than it does.
    """
    # DeepSpeed insists on these and would else look for MPI.
    os.environ.update(RANK=str(me.rank), WORLD_SIZE=str(me.world_size), LOCAL_RANK=str(me.local_rank))
    # One node needs no name service: the loopback device is always there.
    host = "127.0.0.1" if me.nodes == 1 else me.node_name
    if me.nodes == 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Named by the job: were two jobs ever to run one attempt, their ranks must not meet.
    path = attempt / f"rendezvous-{me.job_id}.{me.restart}.json"
    if me.rank == 0:
        store = _bind(me, host)
        write(path, json.dumps({"host": host, "port": store.port}) + "\n")
    else:
        store = _join(path, me)
    backend = "gloo" if device is Device.CPU else "nccl"
    timeout = timedelta(minutes=hang_minutes) + WATCHDOG_FIRST
    dist.init_process_group(backend, store=store, rank=me.rank, world_size=me.world_size, timeout=timeout)
    return Meeting(host=store.host, port=store.port, world_size=me.world_size)


def candidate_ports(key: str) -> list[int]:
    """Ports to try, in the order that `key` (job, index, restart) gives; the same on every host."""
    span = LAST_PORT - FIRST_PORT + 1
    start = zlib.crc32(key.encode()) % span
    return [FIRST_PORT + (start + 97 * i) % span for i in range(_TRIES)]


def _bind(me: RankIdentity, host: str) -> TCPStore:
    for port in candidate_ports(f"{me.job_id}/{me.restart}"):
        try:
            return TCPStore(host, port, me.world_size, is_master=True, timeout=CONNECT_TIMEOUT, wait_for_workers=False)
        except (RuntimeError, OSError) as error:
            if "address already in use" not in str(error).lower() and "EADDRINUSE" not in str(error):
                raise
    raise JobError(Cause.COMMUNICATION, f"none of {_TRIES} ports in {FIRST_PORT}-{LAST_PORT} is free on {host}")


def _join(path: Path, me: RankIdentity) -> TCPStore:
    deadline = time.monotonic() + CONNECT_TIMEOUT.total_seconds()
    while not path.exists():
        if time.monotonic() > deadline:
            raise JobError(
                Cause.COMMUNICATION,
                f"rank {me.rank} waited {CONNECT_TIMEOUT.total_seconds():g} s for rank 0, which published no address",
            )
        time.sleep(0.05)
    where = json.loads(read(path))
    return TCPStore(where["host"], where["port"], me.world_size, is_master=False, timeout=CONNECT_TIMEOUT)


def pick_device(me: RankIdentity, device: Device) -> torch.device:
    """This rank's device: the only visible GPU, or the one of its local rank."""
    if device is Device.CPU:
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if count == 0:
        raise JobError(Cause.CONFIGURATION, f"no CUDA device on {me.node_name}, but the partition's device is cuda")
    if count > 1 and me.local_rank >= count:
        raise JobError(
            Cause.MISMATCH,
            f"local rank {me.local_rank} on {me.node_name}, where only {count} GPUs are visible",
        )
    chosen = torch.device("cuda", 0 if count == 1 else me.local_rank)
    torch.cuda.set_device(chosen)
    return chosen
