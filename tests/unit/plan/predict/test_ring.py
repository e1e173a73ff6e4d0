"""Collectives take what their formulas say; over nodes the faster of ring and tree."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.profile import Link, Network
from vit_sweep.plan.predict import ring

H100 = Network(inside=Link(gb_per_s=360, latency_us=10), between=Link(gb_per_s=45, latency_us=20, ports=8))


def one_node(gb_per_s, gpus):
    network = Network(inside=Link(gb_per_s=gb_per_s, latency_us=20))
    return ring.over_nodes_s(network, gpus=gpus, nodes=1, size_bytes=346e6)


def test_an_all_reduce_inside_a_node_is_the_rings():
    """346 MB over 7 GPUs at 4.6 GB/s bus bandwidth: 129 ms, the paper's T4 node showed 122 (2 (n-1)/n S/B)."""
    assert one_node(4.6, 7) == pytest.approx(0.129, rel=0.01)
    assert one_node(4.6, 1) == 0
    assert one_node(4.5, 8) == pytest.approx(0.13484, abs=1e-5), "14 x 20 us + 14/8 x 76.9 ms"
    same = ring.allreduce_s(8, size_bytes=346e6, latency_s=20e-6, seconds_per_byte=1 / 4.5e9)
    assert one_node(4.5, 8) == pytest.approx(same)


def test_a_thousand_gpus_wait_for_the_depth_of_a_tree_and_not_for_the_length_of_a_ring():
    """128 nodes of 8: 14 x 10 us inside, 2 x 7 x 20 us between, where a flat ring takes 2046 x 20 us = 41 ms."""
    latency = ring.over_nodes_s(H100, gpus=1024, nodes=128, size_bytes=0)
    assert latency == pytest.approx(14 * 10e-6 + 2 * log2(128) * 20e-6)
    assert ring.over_nodes_s(H100, gpus=1024, nodes=128, size_bytes=0, calls=3) == pytest.approx(3 * latency)


def test_a_large_message_over_two_nodes_takes_the_ring():
    """2 x 15/16 S/B against the tree's 2 S/B: 64 ms of 34 GB less, 30 x 20 us more."""
    size = 34e9
    assert ring.over_nodes_s(H100, gpus=16, nodes=2, size_bytes=size) == pytest.approx(
        30 * 20e-6 + 30 / 16 * size / 360e9
    )


@pytest.mark.parametrize(
    ("gpus", "nodes", "ports", "gb_per_s"),
    [(16, 2, 8, 360), (16, 2, 1, 45), (4, 2, 8, 90), (8, 8, 8, 45), (64, 8, 16, 360)],
)
def test_every_gpu_of_a_job_has_a_port_as_long_as_there_are_any(gpus, nodes, ports, gb_per_s):
    """8 ports of 45 GB/s are as fast as the 360 GB/s inside; one GPU on each node uses one of them."""
    network = Network(inside=H100.inside, between=Link(gb_per_s=45, latency_us=20, ports=ports))
    small, large = (ring.over_nodes_s(network, gpus=gpus, nodes=nodes, size_bytes=size) for size in (1e12, 2e12))
    assert (large - small) == pytest.approx(ring.traffic(gpus) * 1e12 / (gb_per_s * 1e9))


def test_without_a_link_between_nodes_the_one_inside_stands_for_it():
    inner = Network(inside=H100.inside)
    assert ring.over_nodes_s(inner, gpus=4, nodes=4, size_bytes=1e9) == pytest.approx(
        ring.over_nodes_s(inner, gpus=4, nodes=1, size_bytes=1e9), rel=0.05
    )


@given(st.integers(1, 64), st.sampled_from([1, 2, 4, 8]), st.floats(0, 1e10), st.integers(1, 8))
def test_more_bytes_more_calls_and_more_nodes_never_take_less(nodes, local, size, calls):
    def seconds(nodes, size, calls):
        return ring.over_nodes_s(H100, gpus=nodes * local, nodes=nodes, size_bytes=size, calls=calls)

    duration = seconds(nodes, size, calls)
    assert duration <= seconds(nodes, 2 * size, calls)
    assert duration <= seconds(nodes, size, calls + 1)
    assert duration <= seconds(2 * nodes, size, calls)


def test_ports_that_carry_more_than_the_links_inside_are_as_fast_as_these():
    """8 ports of 45 GB/s beside 100 GB/s inside; with one GPU on each node nothing goes over the links inside."""
    slow = Network(inside=Link(gb_per_s=100, latency_us=1), between=Link(gb_per_s=45, latency_us=1, ports=8))
    assert ring.over_nodes_s(slow, gpus=16, nodes=2, size_bytes=1e12) == pytest.approx(
        ring.traffic(16) * 1e12 / 100e9, rel=1e-3
    )
    narrow = Network(inside=Link(gb_per_s=10, latency_us=1), between=slow.between)
    assert ring.over_nodes_s(narrow, gpus=2, nodes=2, size_bytes=1e12) == pytest.approx(1e12 / 45e9, rel=1e-3)
