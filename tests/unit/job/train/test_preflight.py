"""What is probed before training, and that the training cannot notice it."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vit_sweep.job.train.measure import preflight
from vit_sweep.job.train.measure.preflight import rounds
from vit_sweep.plan.choices import Precision
from vit_sweep.plan.predict.measuring import sizes
from vit_sweep.record.machine import AllReduce

pytestmark = pytest.mark.train
CPU = torch.device("cpu")


def probe(ranks=1, parameters=1000, **changes):
    defaults = {"rank": 0, "device": CPU, "precision": Precision.FP32, "beat": lambda: None}
    return preflight.preflight(ranks=ranks, parameters=parameters, **(defaults | changes))


def test_messages_grow_from_4_kib_to_the_gradient():
    vit_b = 86_567_656 * 4
    assert sizes(vit_b) == [4096, 65536, 2**20, 16 * 2**20, vit_b]
    assert sizes(100) == [100]


@given(st.integers(1, 10**10))
def test_the_last_message_is_the_gradient_and_stands_apart_from_the_others(gradient):
    *smaller, last = sizes(gradient)
    assert last == gradient
    assert all(4 * size <= gradient for size in smaller)


@given(st.integers(2, 70))
def test_every_link_of_the_ring_is_measured_once_and_no_rank_has_two_at_a_time(ranks):
    stages = rounds(ranks)
    links = [link for links in stages for link in links]
    assert sorted(links) == [(rank, (rank + 1) % ranks) for rank in range(ranks if ranks > 2 else 1)]
    for together in stages:
        ends = [rank for link in together for rank in link]
        assert len(ends) == len(set(ends))
    assert len(stages) <= 3


def test_no_random_number_is_taken_from_the_training():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    measured = probe()
    assert measured.matmul_tflops > 0
    assert measured.note == ""
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


def test_matrix_products_are_large_enough_for_the_16_bit_units_of_a_gpu():
    gpu = torch.device("cuda")
    assert preflight._matmul_size(gpu, torch.bfloat16) == preflight._matmul_size(gpu, torch.float16) == 8192
    assert preflight._matmul_size(gpu, torch.float32) < 8192


def test_a_probe_is_timed_in_batches_of_calls_between_marks_of_its_own_device(monkeypatch):
    """Each batch takes 8 ms and has 4 calls; the first of 6 only raises the clock."""
    calls, marked = [], []

    class Marks:
        def mark(self):
            marked.append(len(calls))

        def gaps_ms(self):
            return [8.0]

    devices = []
    monkeypatch.setattr(preflight, "marks_of", lambda device: devices.append(device) or Marks())
    assert preflight._device_ms(lambda: calls.append(0), torch.device("cuda")) == 2.0
    assert marked == [0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24]
    assert devices == [torch.device("cuda")]


def test_one_rank_has_nobody_to_talk_to():
    measured = probe()
    assert measured.all_reduce == ()
    assert measured.to_next_gb_per_s is None
    assert measured.largest is None


def test_a_probe_that_cannot_run_is_a_note(monkeypatch):
    def refuse(*_):
        raise RuntimeError("CUDA out of memory\nand more")

    monkeypatch.setattr(preflight, "matmul_tflops", refuse)
    measured = probe()
    assert measured.matmul_tflops is None
    assert measured.note == "no matrix product: CUDA out of memory"


@pytest.fixture
def network(monkeypatch):
    """Two ranks on a made-up network of some bytes a second; gives what was reduced."""
    reduced = []

    def make(bytes_per_s, out_of_memory_at=None):
        def all_reduce(buffer):
            size = buffer.numel() * buffer.element_size()
            reduced.append(size)
            seconds = size / bytes_per_s
            return AllReduce(size_bytes=size, repetitions=1, min_ms=1000 * seconds, median_ms=1000 * seconds), seconds

        zeros = preflight._zeros

        def limited(size, dtype, device):
            full = out_of_memory_at is not None and size >= out_of_memory_at
            return None if full else zeros(size, dtype, device)

        monkeypatch.setattr(preflight, "_all_reduce", all_reduce)
        monkeypatch.setattr(preflight, "_zeros", limited)
        monkeypatch.setattr(preflight, "_slowest", lambda seconds, device: seconds)
        monkeypatch.setattr(preflight, "_to_next", lambda rank, ranks, device: 1.0)
        return reduced

    return make


def test_a_message_that_would_take_too_long_is_left_out_and_said(network):
    reduced = network(1e6)  # 8 Mbit/s: the gradient would take 16 s
    measured = probe(ranks=2, parameters=4 * 10**6)
    assert reduced == [4096, 65536, 2**20]
    assert [message.size_bytes for message in measured.all_reduce] == reduced
    assert measured.note == "no all-reduce of 16000000 bytes: it would take about 16 s"
    assert measured.to_next_gb_per_s == 1.0, "the rest is measured all the same"


def test_a_message_without_memory_is_left_out_and_said(network):
    network(1e9, out_of_memory_at=2**20)
    measured = probe(ranks=2, parameters=2 * 10**6)
    assert [message.size_bytes for message in measured.all_reduce] == [4096, 65536]
    assert measured.note == "no all-reduce of 1048576 bytes: not enough memory"


def test_work_is_reported_so_that_the_watchdog_knows(network):
    network(1e9)
    beats = []
    probe(ranks=2, parameters=10**6, beat=lambda: beats.append(1))
    assert len(beats) == len(sizes(4 * 10**6)) + 1
