"""How ranks find each other: no fixed port, below the ephemeral range, tested where it is bound."""

import ctypes
import os
import shutil
import socket
import subprocess
from functools import partial

import psutil
import pytest

from tests.unit.builders import rank_identity

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")]

CLONE_NEWNET = 0x40000000


me = partial(rank_identity, node_name="here", task_index=3, job_id="17_3")


def test_ports_lie_below_the_ephemeral_range_and_depend_on_job_index_and_restart():
    from vit_sweep.job.train.rendezvous import candidate_ports

    keys = [f"{job}_{index}/{restart}" for job in (17, 18) for index in (0, 1) for restart in (0, 1)]
    ports = {key: candidate_ports(key) for key in keys}
    assert all(20000 <= port <= 32767 for used in ports.values() for port in used)
    assert all(len(set(used)) == len(used) for used in ports.values())
    assert len({used[0] for used in ports.values()}) == len(keys)
    assert candidate_ports("17_0/0") == ports["17_0/0"]


def test_a_taken_port_is_passed_over_for_the_next():
    from vit_sweep.job.train.rendezvous import _bind, candidate_ports

    first, second, *_ = candidate_ports("17_3/0")
    with socket.socket() as busy_socket:
        busy_socket.bind(("127.0.0.1", first))
        busy_socket.listen()
        assert _bind(me(), "127.0.0.1").port == second


def listening(port):
    """Addresses of this process that listen on a port."""
    return {c.laddr.ip for c in psutil.Process().net_connections() if c.status == "LISTEN" and c.laddr.port == port}


def test_the_store_of_one_node_listens_on_the_loopback_device_alone():
    from vit_sweep.job.train.rendezvous import _bind

    store = _bind(me(), "127.0.0.1")
    assert listening(store.port) == {"127.0.0.1"}


@pytest.mark.parametrize(("address", "expected"), [("127.0.0.2", {"::", "0.0.0.0"}), ("192.0.2.1", {"::", "0.0.0.0"})])
def test_several_nodes_meet_on_all_interfaces_only_where_the_name_names_none(*, address, expected, capfd):
    """Loopback is this node's alone; the second address is kept free for documents, no interface has it."""
    from vit_sweep.job.train.rendezvous import _listen

    with _listen(address, 0, nodes=2) as listener:
        assert listener.getsockname()[0] in expected
    assert f"{address} is {address} here, which other nodes cannot reach" in capfd.readouterr().err


def test_several_nodes_meet_on_the_interface_of_their_name():
    from vit_sweep.job.train.rendezvous import _bind

    addresses = [
        address.address
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family is socket.AF_INET and not address.address.startswith("127.")
    ]
    if not addresses:
        pytest.skip("this machine has no interface but loopback")
    store = _bind(me(nodes=2, node_name=addresses[0]), addresses[0])
    assert listening(store.port) == {addresses[0]}


def test_the_secret_of_the_ranks_is_for_their_user_alone(tmp_path, monkeypatch):
    """Another user of the machine reaches the store of one node too, and can sign nothing."""
    import torch.distributed as dist

    from launchers.profile import Device
    from vit_sweep.job.train.rendezvous import connect

    monkeypatch.setattr(os, "environ", dict(os.environ))  # which rank this is, no later test may inherit
    tmp_path.chmod(0o755)
    sentences: list[str] = []
    meeting = connect(me(), Device.CPU, tmp_path, hang_minutes=1, tell=sentences.append)
    dist.destroy_process_group()
    first, sentences = meeting.secret, []
    meeting = connect(me(), Device.CPU, tmp_path, hang_minutes=1, tell=sentences.append)
    try:
        assert meeting.secret != first, "whoever knew it of an earlier start knows nothing"
        assert [os.environ[f"{library}_SOCKET_IFNAME"] for library in ("GLOO", "NCCL")] == ["lo", "lo"]
        (path,) = tmp_path.glob("rendezvous-*.json")
        assert path.stat().st_mode & 0o777 == 0o600
        assert meeting.secret.hex() in path.read_text()
        assert meeting.secret.hex() not in repr(meeting)
        assert sentences == [
            "waiting for name service and network of its own node, here",
            "waiting for itself to answer at 127.0.0.1",
            "waiting for the connections between all 1 ranks (gloo)",
            "",
        ]
    finally:
        dist.destroy_process_group()


def test_a_rank_whose_rank_zero_stays_away_says_so(tmp_path, monkeypatch):
    from vit_sweep.job import heartbeat
    from vit_sweep.job.train import rendezvous
    from vit_sweep.outcome.ending import Cause
    from vit_sweep.outcome.failure import JobError

    monkeypatch.setattr(heartbeat, "WAIT_S", 0.0)
    sentence = "rank 1 on here waited for rank 0 to publish its address: no sign of it in 0 s"
    with pytest.raises(JobError, match=sentence) as failure:
        rendezvous._join(tmp_path / "rendezvous.json", me(rank=1), print)
    assert failure.value.cause is Cause.COMMUNICATION


def test_a_name_that_does_not_resolve_gives_way_to_the_nodes_own_address():
    from vit_sweep.job.train.rendezvous import _own_address, meeting_host

    nameless = me(nodes=2, node_name="node.invalid")
    assert meeting_host(nameless) == _own_address(nameless)
    assert meeting_host(me(nodes=2, node_name="localhost")) == "localhost"
    assert meeting_host(me(node_name="node.invalid")) == "127.0.0.1"


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([], "here has no loopback device that is up (ip link set lo up), and no interface of the node has an address"),
        (["ip link set lo up"], "127.0.0.1"),
        (["ip link set lo up", "ip address del 127.0.0.1/8 dev lo"], "::1"),
    ],
    ids=["down", "up", "only-ipv6"],
)
def test_where_one_node_meets_depends_on_its_loopback_device(commands, expected):
    """In a network of its own, whose loopback device is down at first: it can be bound to all the same."""
    assert in_own_network(commands) == expected


def in_own_network(commands):
    """What `meeting_host` says there, or how it fails."""
    from vit_sweep.job.train.rendezvous import meeting_host
    from vit_sweep.outcome.failure import JobError

    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network of its own takes root, and iproute2")
    hears, says = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ctypes.CDLL(None).unshare(CLONE_NEWNET)
            for command in commands:
                subprocess.run(command.split(), check=True)
            os.write(says, meeting_host(me()).encode())
        except JobError as error:
            os.write(says, str(error).encode())
        finally:
            os._exit(0)
    os.close(says)
    with os.fdopen(hears) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def test_a_rank_that_cannot_resolve_rank_zeros_name_calls_its_address(tmp_path):
    import json

    from vit_sweep.job.train.rendezvous import _bind, _join

    store = _bind(me(world_size=2), "127.0.0.1")
    path = tmp_path / "rendezvous.json"
    where = {"host": "node.invalid", "address": "127.0.0.1", "port": store.port, "secret": "00"}
    path.write_text(json.dumps(where))
    joined, _ = _join(path, me(rank=1, world_size=2), print)
    joined.set("name", "rank 1")
    assert store.get("name") == b"rank 1"


def test_a_rank_zero_that_is_not_reached_is_named_within_bounds(tmp_path, monkeypatch):
    import json
    from datetime import timedelta

    from vit_sweep.job.train import rendezvous
    from vit_sweep.outcome.failure import JobError

    monkeypatch.setattr(rendezvous, "REACH_TIMEOUT", timedelta(seconds=1))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, so that nobody else listens there
        port = silent.getsockname()[1]
        path = tmp_path / "rendezvous.json"
        path.write_text(json.dumps({"host": "127.0.0.1", "address": "127.0.0.1", "port": port, "secret": "00"}))
        with pytest.raises(
            JobError, match=f"rank 1 on here did not reach rank 0 at 127.0.0.1, port {port}, within 1 s"
        ):
            rendezvous._join(path, me(rank=1, world_size=2), print)


def test_ranks_agree_where_to_stop_over_the_real_store_and_on_one_reason():
    from vit_sweep.job.train.rendezvous import Meeting, _bind
    from vit_sweep.job.train.stopping import StopAgreed, Stopper
    from vit_sweep.outcome.ending import Cause
    from vit_sweep.outcome.failure import StopRequest

    store = _bind(me(world_size=2), "127.0.0.1")
    meeting = Meeting(host="127.0.0.1", port=store.port, world_size=2, secret=b"secret")
    stoppers = [Stopper(rank=rank, world_size=2, connect=meeting.client, secret=meeting.secret) for rank in (0, 1)]
    for units, stopper in zip((3, 5), stoppers, strict=True):
        for _ in range(units):
            stopper.enter()
    for stopper, cause in zip(stoppers, (Cause.PREEMPTED, Cause.TERMINATED), strict=True):
        stopper.request_stop(StopRequest(cause=cause, message="told", signal="SIGTERM"))
    assert all(stopper._agreed.wait(300) for stopper in stoppers)
    words = []
    for missing, stopper in zip((2, 0), stoppers, strict=True):
        for _ in range(missing):
            stopper.enter()
        with pytest.raises(StopAgreed) as stop:
            stopper.enter()
        words.append(stop.value.request)
        stopper.close()
    assert words[0] == words[1]


def test_a_cuda_partition_without_a_cuda_device_is_a_named_failure():
    import torch

    from launchers.profile import Device
    from vit_sweep.job.train.rendezvous import pick_device
    from vit_sweep.outcome.failure import JobError

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(JobError, match="no CUDA device on here"):
        pick_device(me(), Device.CUDA)


def test_rank_zero_names_whom_it_waits_for_and_goes_on_once_all_are_there(tmp_path):
    """The other rank comes when rank 0 has said that it waits; a word that no rank signed is no arrival."""
    import threading

    from vit_sweep.job.heartbeat import Signs
    from vit_sweep.job.train.rendezvous import Meeting, _bind, _gather

    zero, one = me(world_size=2), me(rank=1, world_size=2)
    store = _bind(zero, "127.0.0.1")
    store.set("vit_sweep/here/1", "not signed")
    client = Meeting(host="127.0.0.1", port=store.port, world_size=2, secret=b"secret").client()
    sentences: list[str] = []
    other = threading.Thread(target=_gather, args=(client, one, Signs(tmp_path, one), b"secret", print), daemon=True)

    def tell(sentence):
        if not sentences:
            other.start()
        sentences.append(sentence)

    _gather(store, zero, Signs(tmp_path, zero), b"secret", tell)
    other.join(300)
    assert not other.is_alive()
    assert set(sentences) == {"waiting for rank 1 to arrive"}
