"""Floors and the roofline, on numbers that a pencil confirms."""

import pytest

from tests.unit.analysis.builders import run
from vit_sweep.analysis.bounds import compute_floor_ms, link_floor_ms, no_bounds, of_matmul, roofline
from vit_sweep.report.tables.runs import runs_table

KNOWN = {
    "step_flop": 2e12,
    "moved_bytes": 5e10,
    "matmul_tflops": 10.0,
    "memory_gb_per_s": 100.0,
    "bytes_per_step": 1e9,
    "bus_gb_per_s": 15.0,
    "step_ms": 500.0,
}


def test_floors_are_work_over_the_rates_that_were_measured():
    """2 TFLOP at 10 TFLOP/s are 200 ms; a ring of 4 sends 2 x 3/4 x 1 GB over 15 GB/s in 100 ms."""
    made = run(4, **KNOWN)
    assert (compute_floor_ms(made), link_floor_ms(made), of_matmul(made)) == pytest.approx((200.0, 100.0, 0.4))


def test_below_the_ridge_memory_is_the_roof_and_above_it_products_are():
    """40 FLOP a byte at 100 GB/s allow 4 TFLOP/s, 200 allow 20, which is more than the products reach."""
    low, high = roofline(run(1, **KNOWN)), roofline(run(1, **KNOWN | {"moved_bytes": 1e10}))
    assert (low.flop_per_byte, low.tflops, low.roof_tflops) == pytest.approx((40.0, 4.0, 4.0))
    assert (high.flop_per_byte, high.roof_tflops) == pytest.approx((200.0, 10.0))


@pytest.mark.parametrize("unknown", KNOWN)
def test_what_was_not_measured_has_no_bound(unknown):
    made = run(4, **KNOWN | {unknown: None})
    assert (compute_floor_ms(made) is None) == (unknown in ("step_flop", "matmul_tflops"))
    assert (link_floor_ms(made) is None) == (unknown in ("bytes_per_step", "bus_gb_per_s"))
    assert (roofline(made) is None) == (unknown not in ("bytes_per_step", "bus_gb_per_s"))


@pytest.mark.parametrize("calls", [1, 10])
def test_every_collective_pays_the_latency_that_the_preflight_measured(calls):
    """Planted: an all-reduce takes 5 ms and S / B, so 1 GB at bus 15 GB/s takes 100 ms, of which 95 are its bytes'."""
    latency = {"latency_us": 5000.0, "collectives_per_step": float(calls), "bus_bytes": 1e9}
    assert link_floor_ms(run(4, **KNOWN | latency)) == pytest.approx(5 * calls + 95)
    twice = latency | {"bytes_per_step": 2e9}
    assert link_floor_ms(run(4, **KNOWN | twice)) == pytest.approx(5 * calls + 190)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"step_ms": 99.0}, "100 is no bound, since the step took 99 ms: training was faster than the preflight"),
        ({"flags": ("throttled: rank 1", "host contended: rank 0")}, "100 is no bound, since others used the host"),
    ],
)
def test_what_lies_above_the_step_or_was_measured_beside_others_is_no_bound_and_says_so(changes, why):
    made = run(4, **KNOWN | changes)
    assert (compute_floor_ms(made), link_floor_ms(made)) == (None, None)
    products, link = no_bounds(made)
    assert products.startswith("compute_floor_ms: 200 is no bound")
    assert link.startswith(f"link_floor_ms: {why}")
    assert runs_table([made], {}, {}).values["measuring_notes"] == [f"{products}; {link}"]
    assert of_matmul(made) == pytest.approx(200 / made.step_ms), "that the training was faster is worth knowing"


def test_a_bound_below_the_step_is_one_and_needs_no_word():
    assert no_bounds(run(4, **KNOWN)) == no_bounds(run(1)) == ()


def test_one_gpu_has_no_link():
    assert link_floor_ms(run(1, **KNOWN)) is None
