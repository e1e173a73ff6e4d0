"""How the ranks of a job find each other, without a fixed port and without MPI.

Rank 0 binds a port below the ephemeral range (whose start depends on the job, so that neighbours rarely
meet), and publishes host and port in the attempt's folder; the others wait for that file. In it, for this user's eyes
only, lies the secret by which ranks know each other's messages: torch's store takes everybody's.
"""

import errno
import ipaddress
import json
import math
import os
import secrets
import socket
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # re-exported without saying so

from launchers.atomic import read, write
from launchers.process.identity import FIRST_PORT, LAST_PORT, RankIdentity
from launchers.profile import Device
from vit_sweep.job.guardian import WAIT_S
from vit_sweep.job.heartbeat import Signs
from vit_sweep.job.rank_log import say
from vit_sweep.job.train.signing import signed, verified
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError

REACH_TIMEOUT = timedelta(seconds=WAIT_S - 10)
"""How long rank 0 is called, by itself too, once it listens: the guardian, who gives up later, knows less of why."""
_LOOPBACK = ("127.0.0.1", "::1")
_FAR = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses kept free for documents: asking for the way there sends nothing, and says which interface it begins at."""
WATCHDOG_FIRST = timedelta(minutes=2)
"""How much longer than the watchdog a collective waits: the watchdog names the rank, the step and the place."""
_PROBE_S = 10.0
"""How long a node may take to reach itself over its loopback device."""
_POLL_S, _LOOK_S = 0.05, 1.0
_ALL_HERE = "vit_sweep/here"
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
        return TCPStore(self.host, self.port, self.world_size, is_master=False, timeout=REACH_TIMEOUT)


def connect(
    identity: RankIdentity, device: Device, attempt: Path, *, hang_minutes: float, tell: Callable[[str], None]
) -> Meeting:
    """Start the process group (gloo on CPU, NCCL on CUDA) once all ranks are there; raises `JobError` if not.

    `hang_minutes`: how long the watchdog waits; collectives give up later than it does. `tell` gets, before each
    wait and in its course, what is waited for.
    """
    # DeepSpeed insists on these and would else look for MPI.
    os.environ.update(RANK=str(identity.rank), WORLD_SIZE=str(identity.world_size), LOCAL_RANK=str(identity.local_rank))
    tell(f"waiting for name service and network of its own node, {identity.node_name}")
    host = meeting_host(identity)
    if host in _LOOPBACK and "lo" in dict(socket.if_nameindex()).values():
        for library in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo")
    # Named by the job: were two jobs ever to run one attempt, their ranks must not meet.
    path = attempt / f"rendezvous-{identity.job_id}.{identity.restart}.json"
    if identity.rank == 0:
        tell(f"waiting for itself to answer at {host}")
        store = _bind(identity, host)
        secret = secrets.token_hex(32)
        meeting = {"host": host, "address": _address_for_others(host, identity), "port": store.port, "secret": secret}
        write(path, json.dumps(meeting) + "\n", private=True)
    else:
        store, secret = _join(path, identity, tell)
    _gather(store, identity, Signs(attempt, identity), bytes.fromhex(secret), tell)
    backend = "gloo" if device is Device.CPU else "nccl"
    timeout = timedelta(minutes=hang_minutes) + WATCHDOG_FIRST
    tell(f"waiting for the connections between all {identity.world_size} ranks ({backend})")
    dist.init_process_group(backend, store=store, rank=identity.rank, world_size=identity.world_size, timeout=timeout)
    dist.barrier()  # NCCL connects only when it must
    tell("")
    return Meeting(host=store.host, port=store.port, world_size=identity.world_size, secret=bytes.fromhex(secret))


def meeting_host(identity: RankIdentity) -> str:
    """Where rank 0 listens: the loopback device for one node, which needs no name service, else the node's name.

    Its own address where there is no loopback device, or where the name is none that resolves (cloud, containers).
    Raises `JobError` where it has none.
    """
    if identity.nodes > 1:
        return identity.node_name if _resolved(identity.node_name) else _own_address(identity)
    for host in _LOOPBACK:
        # A loopback device that is down can be bound to, and be reached by nobody.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with suppress(OSError), socket.create_server((host, 0), family=family) as probe:
            socket.create_connection(probe.getsockname()[:2], timeout=_PROBE_S).close()
            return host
    return _own_address(identity)


def _resolved(host: str) -> str | None:
    """The address of a host; None where its name does not resolve here."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return None


def _own_address(identity: RankIdentity) -> str:
    for family, far in _FAR:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            return str(probe.getsockname()[0])
    why = (
        "does not resolve on its own node"
        if identity.nodes > 1
        else "has no loopback device that is up (ip link set lo up)"
    )
    message = f"{identity.node_name} {why}, and no interface of the node has an address"
    raise JobError(Cause.COMMUNICATION, message)


def _address_for_others(host: str, identity: RankIdentity) -> str:
    """The address for nodes on which the name does not resolve; loopback is this node's alone."""
    address = _resolved(host) or host
    with suppress(JobError):
        if identity.nodes > 1 and ipaddress.ip_address(address).is_loopback:
            return _own_address(identity)
    return address


def candidate_ports(key: str) -> list[int]:
    """Ports to try, in the order that `key` (job, index, restart) gives; the same on every host."""
    span = LAST_PORT - FIRST_PORT + 1
    start = zlib.crc32(key.encode()) % span
    return [FIRST_PORT + (start + 97 * i) % span for i in range(_TRIES)]


def _bind(identity: RankIdentity, host: str) -> TCPStore:
    for port in candidate_ports(f"{identity.job_id}/{identity.restart}"):
        try:
            listener = _listen(host, port, nodes=identity.nodes)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        return _store(
            identity,
            host,
            port,
            is_master=True,
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
    dual_stack = socket.has_dualstack_ipv6()
    address_family = socket.AF_INET6 if dual_stack else socket.AF_INET
    return socket.create_server(("", port), family=address_family, backlog=_BACKLOG, dualstack_ipv6=dual_stack)


def _join(path: Path, identity: RankIdentity, tell: Callable[[str], None]) -> tuple[TCPStore, str]:
    signs = Signs(path.parent, identity)
    _wait(path.exists, lambda: tell(signs.look([0], "to publish its address")))
    meeting = json.loads(read(path))
    tell(f"waiting for rank 0 to answer at {meeting['host']} ({meeting['address']}), port {meeting['port']}")
    host = meeting["host"] if _resolved(meeting["host"]) else meeting["address"]
    return _store(identity, host, meeting["port"]), meeting["secret"]


def _gather(store: TCPStore, identity: RankIdentity, signs: Signs, secret: bytes, tell: Callable[[str], None]) -> None:
    """Wait until every rank has reached the store: rank 0 for all of them, the others for its word."""

    def is_there(key: str) -> bool:
        return store.check([key]) and verified(secret, key, store.get(key)) is not None

    keys = {rank: f"{_ALL_HERE}/{rank}" for rank in range(identity.world_size)}
    absent = set(keys)

    def are_all_here() -> bool:
        absent.difference_update([rank for rank in absent if is_there(keys[rank])])
        return not absent

    store.set(keys[identity.rank], signed(secret, keys[identity.rank], identity.node_name))
    if identity.rank == 0:
        _wait(are_all_here, lambda: tell(signs.look(absent, "to arrive")))
        store.set(_ALL_HERE, signed(secret, _ALL_HERE, str(identity.world_size)))
    _wait(lambda: is_there(_ALL_HERE), lambda: tell(signs.look([0], "to see all ranks arrive")))


def _wait(is_over: Callable[[], bool], look: Callable[[], None]) -> None:
    """Ask often whether a wait is over, and `look` once in a while: that reads a file of each rank waited for."""
    looked_at = -math.inf
    while not is_over():
        if time.monotonic() >= looked_at + _LOOK_S:
            look()
            looked_at = time.monotonic()
        time.sleep(_POLL_S)


def _store(identity: RankIdentity, host: str, port: int, **listening: Any) -> TCPStore:
    """Connect to rank 0's store, as rank 0 itself does; raises `JobError` where that is not reached in time."""
    try:
        store = TCPStore(host, port, identity.world_size, timeout=REACH_TIMEOUT, wait_for_workers=False, **listening)
    except (RuntimeError, OSError) as error:
        raise JobError(
            Cause.COMMUNICATION,
            f"rank {identity.rank} on {identity.node_name} did not reach rank 0 at {host}, port {port}, within "
            f"{REACH_TIMEOUT.total_seconds():g} s: {str(error).splitlines()[0][:200]}",
        ) from None
    return store


def pick_device(identity: RankIdentity, device: Device) -> torch.device:
    """This rank's device: the only visible GPU, or the one of its local rank."""
    if device is Device.CPU:
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if count == 0:
        raise JobError(
            Cause.CONFIGURATION, f"no CUDA device on {identity.node_name}, but the partition's device is cuda"
        )
    if count > 1 and identity.local_rank >= count:
        raise JobError(
            Cause.MISMATCH,
            f"local rank {identity.local_rank} on {identity.node_name}, where only {count} GPUs are visible",
        )
    cuda = torch.device("cuda", 0 if count == 1 else identity.local_rank)
    torch.cuda.set_device(cuda)
    return cuda
