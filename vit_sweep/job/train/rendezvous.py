"""How the ranks of a job find each other, without a fixed port and without MPI.

Rank 0 binds a port below the ephemeral range (whose start depends on the job, so that neighbours rarely
meet), and publishes host and port in the attempt's folder; the others wait for that file. In it, for this user's eyes
only, lies the secret by which ranks know each other's messages: torch's store takes everybody's.
"""

import errno
import ipaddress
import json
import os
import secrets
import socket
import time
import zlib
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # re-exported without saying so

from launchers.atomic import read, write
from launchers.identity import FIRST_PORT, LAST_PORT, RankIdentity
from launchers.profile import Device
from vit_sweep.job.rank_log import say
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError

CONNECT_TIMEOUT = timedelta(minutes=11)
"""Data is staged before: one node may have to copy for minutes what another one has."""
WATCHDOG_FIRST = timedelta(minutes=2)
"""How much longer than the watchdog a collective waits: the watchdog names the rank, the step and the place."""
_TRIES = 64
_BACKLOG = 4096
"""Ranks that may call at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meeting:
    """Where the ranks of this job have met."""

    host: str
    port: int
    world_size: int
    secret: bytes = field(repr=False)
    """Known to the ranks of this start of the job."""

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
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    # Named by the job: were two jobs ever to run one attempt, their ranks must not meet.
    path = attempt / f"rendezvous-{me.job_id}.{me.restart}.json"
    if me.rank == 0:
        store = _bind(me, host)
        secret = secrets.token_hex(32)
        write(path, json.dumps({"host": host, "port": store.port, "secret": secret}) + "\n", private=True)
    else:
        store, secret = _join(path, me)
    backend = "gloo" if device is Device.CPU else "nccl"
    timeout = timedelta(minutes=hang_minutes) + WATCHDOG_FIRST
    dist.init_process_group(backend, store=store, rank=me.rank, world_size=me.world_size, timeout=timeout)
    return Meeting(host=store.host, port=store.port, world_size=me.world_size, secret=bytes.fromhex(secret))


def candidate_ports(key: str) -> list[int]:
    """Ports to try, in the order that `key` (job, index, restart) gives; the same on every host."""
    span = LAST_PORT - FIRST_PORT + 1
    start = zlib.crc32(key.encode()) % span
    return [FIRST_PORT + (start + 97 * i) % span for i in range(_TRIES)]


def _bind(me: RankIdentity, host: str) -> TCPStore:
    for port in candidate_ports(f"{me.job_id}/{me.restart}"):
        try:
            listener = _listen(host, port, nodes=me.nodes)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        return TCPStore(
            host,
            port,
            me.world_size,
            is_master=True,
            timeout=CONNECT_TIMEOUT,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),  # by itself it would listen on every interface
        )
    raise JobError(Cause.COMMUNICATION, f"none of {_TRIES} ports in {FIRST_PORT}-{LAST_PORT} is free on {host}")


def _listen(host: str, port: int, *, nodes: int) -> socket.socket:
    """Listen where the job's nodes reach `host`, and nowhere else; raises `OSError`.

    On every interface only where the name does not say which: Debian gives a machine's own name to its loopback
    device, and a cloud may give a node an address that none of its interfaces has.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if nodes == 1 or not ipaddress.ip_address(address[0]).is_loopback:
        try:
            return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
    say(f"{host} is {address[0]} here, which other nodes cannot reach: listening on all interfaces")
    both = socket.has_dualstack_ipv6()
    every = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(("", port), family=every, backlog=_BACKLOG, dualstack_ipv6=both)


def _join(path: Path, me: RankIdentity) -> tuple[TCPStore, str]:
    deadline = time.monotonic() + CONNECT_TIMEOUT.total_seconds()
    while not path.exists():
        if time.monotonic() > deadline:
            raise JobError(
                Cause.COMMUNICATION,
                f"rank {me.rank} waited {CONNECT_TIMEOUT.total_seconds():g} s for rank 0, which published no address",
            )
        time.sleep(0.05)
    where = json.loads(read(path))
    store = TCPStore(where["host"], where["port"], me.world_size, is_master=False, timeout=CONNECT_TIMEOUT)
    return store, where["secret"]


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
