"""Ranks that are told to stop, all or some of them, stop before the same unit of work, wherever they are."""

import random
import threading
import time
from itertools import count

import pytest

from vit_sweep.job.train import stopping
from vit_sweep.job.train.signing import signed, verified
from vit_sweep.job.train.stopping import StopAgreed, Stopper
from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, StopRequest

WORD = StopRequest(cause=Cause.PREEMPTED, message="told", signal="SIGUSR2")


class OneStore:
    """A TCPStore's words, for threads of one process."""

    def __init__(self):
        self.values, self.lock = {}, threading.Lock()

    def set_timeout(self, timeout):
        pass

    def check(self, keys):
        with self.lock:
            return all(key in self.values for key in keys)

    def get(self, key):
        with self.lock:
            return as_bytes(self.values[key])

    def set(self, key, value):
        with self.lock:
            self.values[key] = value

    def compare_set(self, key, expected, desired):
        with self.lock:
            if as_bytes(self.values.get(key, "")) == as_bytes(expected):
                self.values[key] = desired
            return as_bytes(self.values[key])


def as_bytes(value):
    return value if isinstance(value, bytes) else value.encode()


def walk(stopper, units, meet, pauses):
    """Be one rank: every unit but each third one has a collective in it, as steps without a reduction have none."""
    done = 0
    try:
        for unit in units:
            stopper.enter()
            time.sleep(pauses[unit % len(pauses)])
            if unit % 3:
                meet.wait(timeout=300)
            done += 1
    except StopAgreed as stop:
        return done, stop.request
    return done, None


def run(ranks, stopped_ranks, seed, units=None):
    """Where each rank stopped, and why; without `units` they go on until they are told."""
    chance, store, meet, ends = random.Random(seed), OneStore(), threading.Barrier(ranks), {}
    stoppers = [Stopper(rank=r, world_size=ranks, connect=lambda: store, secret=b"secret") for r in range(ranks)]
    pauses = [[chance.choice((0, 0, 0.001, 0.004)) for _ in range(400)] for _ in range(ranks)]

    def be(rank):
        ends[rank] = walk(stoppers[rank], count() if units is None else range(units), meet, pauses[rank])

    threads = [threading.Thread(target=be, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for rank in stopped_ranks:
        time.sleep(chance.random() * 0.03)
        stoppers[rank].request_stop(WORD)
    for thread in threads:
        thread.join(timeout=300)
    for stopper in stoppers:
        stopper.close()
    return ends


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(stopping, "_POLL_S", 0.003)
    monkeypatch.setattr(stopping, "_SOON_S", 0.001)


@pytest.mark.parametrize("seed", range(25))
def test_all_ranks_stop_before_the_same_unit_whoever_was_told(seed):
    chance = random.Random(seed)
    ranks = chance.randint(1, 5)
    stopped_ranks = chance.sample(range(ranks), chance.randint(1, ranks))
    ends = run(ranks, stopped_ranks, seed)
    assert sorted(ends) == list(range(ranks)), "a rank never came back"
    (ended,) = set(ends.values())
    assert ended[1] == WORD


def test_nobody_told_means_that_every_unit_is_run():
    assert run(3, [], 0, units=50) == dict.fromkeys(range(3), (50, None))


def test_the_first_word_stays():
    store = OneStore()
    stopper = Stopper(rank=0, world_size=1, connect=lambda: store, secret=b"secret")
    stopper.request_stop(WORD)
    stopper.request_stop(StopRequest(cause=Cause.TERMINATED, message="later", signal="SIGTERM"))
    with pytest.raises(StopAgreed) as stop:
        while True:
            stopper.enter()
    assert stop.value.request == WORD
    stopper.close()


def test_without_an_answer_a_rank_ends_with_a_name_and_not_never(monkeypatch):
    monkeypatch.setattr(stopping, "AGREE_S", 0.05)
    store = OneStore()
    # The other rank never says where it is.
    alone = Stopper(rank=0, world_size=2, connect=lambda: store, secret=b"secret")
    alone.request_stop(WORD)
    with pytest.raises(JobError, match=r"could not agree where to stop within 0\.05 s") as failure:
        while True:
            alone.enter()
    assert failure.value.cause is Cause.COMMUNICATION
    alone.close()


def test_a_store_that_is_gone_is_said_and_harms_no_step(capfd):
    def gone():
        raise RuntimeError("connection refused")

    stopper = Stopper(rank=0, world_size=1, connect=gone, secret=b"secret")
    for _ in range(10):
        stopper.enter()
    stopper._listener.join(timeout=300)
    stopper.close()
    assert "no more stopping in good order: connection refused" in capfd.readouterr().err


@pytest.mark.parametrize(
    "forged", ["{", '{"cause": "bug", "message": "", "signal": ""}', b"\xff\xfe", "told by others"]
)
def test_what_no_rank_signed_stops_nobody_and_does_not_keep_the_ranks_from_stopping(forged, capfd):
    """Whoever reaches the port of torch's store may write into it."""
    store = OneStore()
    for key in ("vit_sweep/stop", "vit_sweep/at/0", "vit_sweep/at/1"):
        store.set(key, forged)
    stoppers = [Stopper(rank=r, world_size=2, connect=lambda: store, secret=b"secret") for r in (0, 1)]
    while "vit_sweep/stop is not signed" not in capfd.readouterr().err:
        for stopper in stoppers:
            stopper.enter()
    stoppers[0].request_stop(WORD)
    assert all(stopper._agreed.wait(300) for stopper in stoppers)
    last = {walk(stopper, count(), threading.Barrier(1), [0])[1] for stopper in stoppers}
    assert last == {WORD}
    for stopper in stoppers:
        stopper.close()
    err = capfd.readouterr().err
    assert "vit_sweep/at/1 is not signed by a rank of this job; it is ignored" in err
    assert "no more stopping" not in err


def test_a_message_of_another_job_or_under_another_key_is_nobodys():
    message = signed(b"secret", "vit_sweep/at/0", "5").encode()
    assert verified(b"secret", "vit_sweep/at/0", message) == "5"
    assert verified(b"secret", "vit_sweep/at/1", message) is None
    assert verified(b"another", "vit_sweep/at/0", message) is None


def test_a_number_that_was_deleted_is_posted_again():
    store = OneStore()
    first = Stopper(rank=0, world_size=2, connect=lambda: store, secret=b"secret")
    first.request_stop(WORD)
    for _ in range(3):
        while not store.check(["vit_sweep/at/0"]):
            time.sleep(0.001)
        with store.lock:
            store.values.clear()
    second = Stopper(rank=1, world_size=2, connect=lambda: store, secret=b"secret")
    assert first._agreed.wait(300)
    assert second._agreed.wait(300)
    for stopper in (first, second):
        stopper.close()
