"""Predicted time, time limits, budgets and throttles."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.batch import Batch, Shape, Task, throttle
from launchers.errors import UserError
from launchers.profile import Device, Link, Network, OffloadLinks
from tests.unit.builders import MODEL, cell, point, profile, record
from vit_sweep.plan.cell import DeepSpeedProfiler, JobOptions
from vit_sweep.plan.choices import Offload, Precision, SequenceMethod
from vit_sweep.plan.plan import Knowledge, make_plan
from vit_sweep.plan.plan_file import plan_file
from vit_sweep.plan.predict import offload, ring
from vit_sweep.plan.predict.cost import STARTUP_S, Throughput, communicates_s, gradient_bytes, predict
from vit_sweep.plan.predict.measuring import (
    AT_MOST_S,
    DEVICE_S,
    ONE_S,
    PROFILER_S,
    after_s,
    certificate_s,
    preflight_s,
    sizes,
)
from vit_sweep.plan.predict.sequence import exchange
from vit_sweep.plan.specs import EngineSpec, ModelCounts
from vit_sweep.record.stats import throughput

T4 = profile(
    device=Device.CUDA,
    gpu_model="Tesla T4",
    peak_tflops={"fp32": 8.1},
    max_minutes=600,
    default_minutes=60,
    network=Network(inside=Link(gb_per_s=4.5), between=Link(gb_per_s=1.0)),
)


@pytest.mark.parametrize(
    ("stage", "accum", "units"),
    [(0, 1, 1), (0, 4, 1), (1, 1, 1.5), (1, 4, 1.5), (2, 1, 1.5), (2, 4, 4.5), (3, 1, 1), (3, 4, 4)],
)
def test_a_plan_knows_what_the_zero_stage_communicates(stage, accum, units):
    """In all-reduces of the gradient, as counted on DeepSpeed 0.19.8 (`tests/e2e/train/engines/test_traffic.py`)."""
    plain, staged = (
        cell(gpus=8, nodes=1, device=Device.CUDA, accum=accum, engine=EngineSpec(name=f"zero{z}", zero_stage=z))
        for z in (0, stage)
    )
    assert communicates_s(staged, T4) == pytest.approx(units * communicates_s(plain, T4))
    computing_ms = predict(plain, T4, ()).step_ms - 1000 * communicates_s(plain, T4)
    assert predict(staged, T4, ()).step_ms == pytest.approx(computing_ms + 1000 * communicates_s(staged, T4))


def test_what_a_finished_run_communicated_is_taken_off_by_its_own_accumulation():
    """A step of 100 ms: the rate of an image alone is what another GPU count is predicted from."""
    spent = cell(gpus=8, nodes=1, device=Device.CUDA, engine=EngineSpec(name="zero2", zero_stage=2), accum=4)
    step_s = 64 * 0.001 + communicates_s(spent, T4)
    finished = (Throughput(cell=spent, images_per_s=64 / step_s),)
    assert predict(replace(spent, gpus=1), T4, finished).step_ms == pytest.approx(64.0)
    assert gradient_bytes(replace(spent, precision=Precision.FP16)) == gradient_bytes(spent) / 2


def test_autocast_computes_as_16_bits_do_and_communicates_as_fp32_does():
    plain = cell(gpus=1, nodes=1, device=Device.CUDA)
    wide, cast, half = (replace(plain, precision=p) for p in (Precision.FP32, Precision.FP16_AMP, Precision.FP16))
    fast = replace(T4, peak_tflops=T4.peak_tflops | {"fp16": 65.0})
    assert predict(cast, fast, ()).step_ms == predict(half, fast, ()).step_ms < predict(wide, fast, ()).step_ms
    assert gradient_bytes(cast) == gradient_bytes(wide)


def test_without_runs_the_estimate_is_a_stated_fraction_of_the_peak():
    estimate = predict(cell(device=Device.CUDA), T4, ())
    assert "30% of 8.1 TFLOP/s" in estimate.basis
    assert not estimate.measured
    assert estimate.seconds > STARTUP_S


def test_a_start_that_was_seen_replaces_the_assumed_one_on_no_more_nodes_than_it_was_seen_on():
    one, two = (cell(gpus=8 * nodes, nodes=nodes, device=Device.CUDA) for nodes in (1, 2))
    finished = [Throughput(cell=one, images_per_s=100, startup_s=startup_s) for startup_s in (7, 12, 9)]
    unknown = [Throughput(cell=one, images_per_s=100)]
    assert predict(one, T4, unknown).seconds - predict(one, T4, finished).seconds == pytest.approx(STARTUP_S - 12)
    assert predict(two, T4, unknown).seconds == predict(two, T4, finished).seconds
    slow = [Throughput(cell=two, images_per_s=100, startup_s=400)]
    assert predict(one, T4, slow).seconds > predict(one, T4, unknown).seconds + 300


NOTHING_BESIDE = JobOptions(preflight=False, profile_steps=0)
MANY = 10**6
"""Steps of a run that is long beside what is measured after it."""
COUNTED_S = 3 * 0.1
"""What is counted in a step of 0.1 s takes two more before it."""


def test_what_a_job_measures_is_in_its_time_and_its_time_limit():
    """One GPU: matrix products and a profile. Several: all-reduces and, whatever the options, blocks without them."""
    for gpus in (1, 8):
        wanted = cell(gpus=gpus, device=Device.CUDA)
        bare, usual = (predict(wanted, T4, (), options) for options in (NOTHING_BESIDE, JobOptions()))
        only_profile = predict(wanted, T4, (), JobOptions(preflight=False))
        step_s = bare.step_ms / 1000
        assert usual.step_ms == bare.step_ms
        assert only_profile.seconds - bare.seconds == pytest.approx(PROFILER_S + 3 * step_s)
        assert usual.seconds > only_profile.seconds + DEVICE_S
        unmeasured_s = STARTUP_S + wanted.epochs * wanted.steps_per_epoch * step_s  # and the tests
        assert bare.seconds >= unmeasured_s + after_s(
            step_s, ranks=gpus, trained_steps=wanted.steps_here, profile_steps=0
        )
    assert after_s(0.1, ranks=1, trained_steps=MANY, profile_steps=0) == pytest.approx(COUNTED_S)
    assert after_s(0.1, ranks=2, trained_steps=MANY, profile_steps=0, exposed=False) == pytest.approx(COUNTED_S)
    blocks_s = after_s(0.1, ranks=2, trained_steps=MANY, profile_steps=0) - COUNTED_S
    assert blocks_s == pytest.approx((3 * 9 * 3 + 2) * 0.1), "blocks, and two to warm up"
    short_s = after_s(0.1, ranks=2, trained_steps=30, profile_steps=0) - COUNTED_S
    assert short_s == pytest.approx((3 * 9 + 2) * 0.1), "of a short run"
    certified = predict(cell(gpus=8, device=Device.CUDA), T4, (), replace(NOTHING_BESIDE, certify=True))
    assert certified.seconds - bare.seconds == pytest.approx(50 * 9 * 0.02), "50 steps of its own, and those of 8 ranks"
    assert certificate_s(0.3, ranks=8, accum=4, blocks=12) == pytest.approx(50 * 2 * 9 * 2 * 0.3 / 6)
    assert certificate_s(0.3, ranks=8, accum=1, blocks=0) == pytest.approx(50 * 9 * 2 * 0.3), (
        "of others' models the whole"
    )
    more = after_s(0.1, ranks=1, trained_steps=MANY, profile_steps=0, profilers=tuple(DeepSpeedProfiler))
    assert more == pytest.approx(COUNTED_S + 0.1), "one rank has no collectives to log"
    assert after_s(0.1, ranks=2, trained_steps=MANY, profile_steps=0, profilers=tuple(DeepSpeedProfiler)) > 7.4 + more
    wanted = point(partition=T4, gpus=8)
    limits = [make_plan([wanted], Knowledge(options=options)).cells for options in (NOTHING_BESIDE, JobOptions())]
    (short_,), (usual_,) = (reasons.values() for reasons in limits)
    assert usual_.shape.minutes >= short_.shape.minutes
    assert usual_.time.seconds > short_.time.seconds


@given(
    step_s=st.floats(0.0001, 3.3),
    ranks=st.integers(1, 64),
    profile_steps=st.integers(0, 3),
    bandwidth=st.floats(0.1, 500),
    parameters=st.integers(1_000_000, 1_000_000_000),
)
def test_measuring_is_bounded_whatever_the_network(step_s, ranks, profile_steps, bandwidth, parameters):
    """Of steps of up to 3.3 s the blocks keep to their minute; no message is sent that would take over ten seconds."""
    blocks = after_s(step_s, ranks=ranks, trained_steps=MANY, profile_steps=0)
    assert blocks <= AT_MOST_S + 5.01 * step_s
    assert (
        after_s(step_s, ranks=ranks, trained_steps=MANY, profile_steps=profile_steps)
        <= blocks + PROFILER_S + 3.01 * step_s
    )
    network = Network(inside=Link(gb_per_s=bandwidth, latency_us=20))
    messages = sizes(4 * parameters) if ranks > 1 else []
    times = [ring.over_nodes_s(network, gpus=ranks, nodes=1, size_bytes=size) for size in messages]
    least = preflight_s([], 0)
    assert least <= preflight_s(times, len(times)) <= least + 2 * ONE_S + sum(min(t, ONE_S) * 2 + 1 for t in times[:-1])


def test_an_all_reduce_that_would_take_too_long_is_not_predicted_either():
    assert preflight_s([0.1, ONE_S + 1], 2) == pytest.approx(preflight_s([0.1], 1))
    assert preflight_s(None, 5) > preflight_s(None, 0)


def test_recomputation_costs_a_third_more_time_and_no_model_flop():
    plain, again = (predict(cell(device=Device.CUDA, activation_checkpointing=on), T4, ()) for on in (False, True))
    assert again.step_ms == pytest.approx(plain.step_ms * 4 / 3)
    assert "recomputation" in again.basis
    assert "recomputation" not in plain.basis


@pytest.mark.parametrize("other", [{"activation_checkpointing": True}, {"compile": True}])
def test_a_run_that_computes_otherwise_says_nothing_of_the_time(other):
    finished = cell(gpus=1, nodes=1)
    assert predict(replace(finished, **other), profile(), (throughput(record(finished, (9.0, 2.0))),)) is None


def test_tf32_without_a_peak_of_its_own_is_judged_by_fp32s():
    assert "25% of 8.1 TFLOP/s" in predict(cell(device=Device.CUDA, precision=Precision.TF32), T4, ()).basis


def test_crossing_nodes_costs_the_link_between_them():
    near, far = (predict(cell(gpus=4, nodes=n, device=Device.CUDA), T4, ()).step_ms for n in (1, 4))
    assert far > near


def test_without_peak_and_runs_there_is_no_estimate():
    assert predict(cell(), profile(), ()) is None


def test_finished_runs_of_the_same_model_and_gpu_replace_the_formula():
    finished = cell(gpus=1, nodes=1)
    estimate = predict(replace(finished, epochs=7), profile(), (throughput(record(finished, (9.0, 2.0, 2.0))),))
    assert estimate.measured
    assert finished.cell_id in estimate.basis
    step_s = 2.0 / finished.steps_per_epoch
    assert estimate.step_ms == pytest.approx(1000 * step_s)
    other = replace(finished, gpu_model="another GPU")
    assert predict(other, profile(), (throughput(record(finished, (9.0, 2.0))),)) is None


def test_the_time_limit_has_a_margin_and_stays_within_the_partitions():
    (short,) = make_plan([point(partition=T4)]).cells.values()
    assert short.shape.minutes * 60 > short.time.seconds
    assert short.shape.minutes % 5 == 0
    (given_,) = make_plan([point(partition=T4)], Knowledge(minutes=17)).cells.values()
    assert given_.shape.minutes == 17
    (unknown,) = make_plan([point()]).cells.values()
    assert unknown.shape.minutes == unknown.profile.default_minutes


def test_cells_of_one_shape_share_the_longest_limit_so_that_they_stay_one_array():
    cells = make_plan([point(partition=T4, epochs=e) for e in (1, 100_000)]).cells.values()
    assert len({c.shape for c in cells}) == 1


def test_a_run_longer_than_the_partition_allows_is_refused_with_the_hours():
    (refused,) = make_plan([point(partition=T4, epochs=10_000_000)]).points
    assert refused.cell_id is None
    assert "ends a job after 10 h" in refused.reasons[0]
    assert refused.reasons[0].startswith("epochs=10000000")
    (accepted,) = make_plan([point(partition=T4, epochs=10_000_000)], Knowledge(minutes=30)).points
    assert accepted.cell_id is not None


def test_the_plans_digest_depends_on_its_input_only():
    grid = [point(), point(gpus=2), point(gpus=99)]
    first, again, other = (plan_file(make_plan(g), None).digest for g in (grid, list(grid), grid[:2]))
    assert first == again != other


# --- throttle ------------------------------------------------------------------------------------------------


def batches(shapes):
    return [
        Batch(
            study="s",
            study_dir="/s",
            profile=profile(),
            module="m",
            shape=Shape(nodes=1, gpus_per_node=gpus, minutes=5),
            tasks=tuple(Task(name=f"c{i}", attempt=1) for i in range(tasks)),
        )
        for gpus, tasks in shapes
    ]


@given(
    shapes=st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(1, 20)), min_size=1, max_size=5),
    room=st.integers(0, 100),
)
def test_arrays_together_never_exceed_the_gpus_in_flight_and_waste_none(shapes, room):
    most = sum(gpus for gpus, _ in shapes) + room
    throttled = throttle(batches(shapes), most)
    used = sum(batch.parallel * batch.shape.gpus for batch in throttled)
    assert used <= most
    waiting = [batch.shape.gpus for batch in throttled if batch.parallel < len(batch.tasks)]
    assert all(used + gpus > most for gpus in waiting)


def test_fewer_gpus_than_one_task_of_each_array_are_refused_with_the_sum():
    with pytest.raises(UserError, match=r"max_gpus_in_flight=8: .* 1 \+ 8 = 9 GPUs; use 9 or more"):
        throttle(batches([(1, 3), (8, 3)]), 8)


def test_a_task_on_whole_nodes_counts_with_all_their_gpus():
    whole = profile(exclusive=True)
    whole_node_batches = [replace(batch, profile=whole) for batch in batches([(1, 3)])]
    most = 3 * whole.gpus_per_node - 1
    assert [batch.parallel for batch in throttle(whole_node_batches, most)] == [2]


# --- tokens over several ranks -----------------------------------------------------------------------------


def shared(**changes):
    """8 GPUs in groups of 2 on one node; 9 of 17 tokens each."""
    return cell(**({"gpus": 8, "nodes": 1, "sequence": 2, "device": Device.CUDA} | changes))


@pytest.mark.parametrize(
    ("changes", "calls", "tensors"),
    [
        ({}, 16, 16),
        ({"accum": 3}, 48, 48),
        ({"activation_checkpointing": True}, 24, 24),
        ({"sequence_method": SequenceMethod.RING}, 2 * (1 + 1 + 2), 2 * 2 * (1 + 1 + 2)),
        ({"sequence": 1}, 0, 0),
    ],
)
def test_what_attention_exchanges_is_counted_by_blocks_passes_and_micro_steps(changes, calls, tensors):
    exchanged = exchange(shared(**changes))
    assert (exchanged.calls, exchanged.size_bytes) == (calls, tensors * 16 * 9 * 64 * 4)


def test_a_step_of_a_group_computes_its_part_and_waits_for_its_exchanges():
    """Half of each tensor goes to the other rank: over the links inside a node, or through the ports of two."""
    ring_cell, plain = shared(), shared(sequence=1)
    moved, links = exchange(ring_cell), (4.5e9, 1.0e9)
    waits = [ring.all_to_all_s(T4.network, ranks=2, nodes=n, size_bytes=8e9, calls=0) for n in (1, 2)]
    assert waits == pytest.approx([8e9 / 2 / speed for speed in links])
    step_s = predict(ring_cell, T4, ()).step_ms / 1000
    computes_s = predict(plain, T4, ()).step_ms / 1000 - communicates_s(plain, T4)
    exchanged_s = moved.size_bytes / 2 / 4.5e9 + moved.calls * 1e-6 * T4.network.inside.latency_us
    assert step_s == pytest.approx(computes_s / 2 + communicates_s(ring_cell, T4) + exchanged_s)
    assert predict(replace(ring_cell, nodes=8), T4, ()).step_ms > predict(ring_cell, T4, ()).step_ms


def test_a_finished_run_of_a_group_says_how_long_an_image_takes_and_only_to_its_like():
    shared_batch = shared(accum=2, micro_batch=4096)  # so that it computes longer than it waits
    rate = shared_batch.global_batch / (predict(shared_batch, T4, ()).step_ms / 1000)
    finished = (Throughput(cell=shared_batch, images_per_s=rate / 8),)
    assert predict(shared_batch, T4, finished).step_ms == pytest.approx(predict(shared_batch, T4, ()).step_ms)
    assert not predict(replace(shared_batch, sequence=1), T4, finished).measured


# --- states outside of the GPU ------------------------------------------------------------------------------


COUNTS = ModelCounts(parameters=2_000_000, flop_per_image=1e11)


def offloaded(stage, **places):
    return EngineSpec(name=f"zero{stage}", zero_stage=stage, **places)


def test_offloaded_states_take_their_copies_their_update_and_their_files():
    """ZeRO 3, a million weights a rank of fp16, two micro steps; every link 1 GB/s, shared by two ranks."""
    links = OffloadLinks(gpu_gb_per_s=1, memory_gb_per_s=2, core_gb_per_s=10, read_gb_per_s=1, write_gb_per_s=1)
    slow = replace(T4, offload=links)
    of_others = replace(MODEL, layers=0, counts=COUNTS)
    shape = {"gpus": 2, "nodes": 1, "device": Device.CUDA, "accum": 2, "model": of_others}

    def offload_ms(**places):
        this_cell = cell(**shape, precision=Precision.FP16, engine=offloaded(3, **places))
        plain = replace(this_cell, engine=offloaded(3))
        with_fp16 = replace(slow, peak_tflops={"fp16": 65.0})
        ms = predict(this_cell, with_fp16, ()).step_ms - predict(plain, with_fp16, ()).step_ms
        # From a finished run it is the same: what its own states took is taken off first.
        step_s = predict(this_cell, with_fp16, ()).step_ms / 1000
        ran = Throughput(cell=this_cell, images_per_s=this_cell.micro_batch * this_cell.accum / step_s)
        assert predict(this_cell, with_fp16, (ran,)).step_ms == pytest.approx(1000 * step_s)
        return pytest.approx(ms)

    on_host, both = {"offload_optimizer": Offload.CPU}, {"offload_param": Offload.CPU}
    update = 28 + 4 + 2
    assert offload_ms(**on_host) == (4 + 2 * 2) + (2 * 2 + 2) + update
    assert offload_ms(**on_host, **both) == (4 + 2 * 2) + (2 * 2 + 2 * 2) + update
    assert offload_ms(**both) == 2 + 2 * 2
    states = 8 + 8  # weights, gradients, two moments
    in_files = offload_ms(offload_optimizer=Offload.NVME)
    assert in_files == (4 + 2 * 2) + (2 * 2 + 2) + update + 2 * (states + states)
    assert offload_ms(offload_param=Offload.NVME) == 2 + 2 * 2 + 2 * (2 * 2 + 2)


def test_an_estimate_says_that_offload_is_in_it_and_a_cpu_partition_offloads_to_itself():
    engine = offloaded(2, offload_optimizer=Offload.CPU)
    this_cell = cell(gpus=2, device=Device.CUDA, engine=engine)
    assert predict(this_cell, T4, ()).basis.endswith("+ offload")
    assert predict(replace(this_cell, engine=offloaded(2)), T4, ()).basis.endswith("+ communication")
    assert offload.step_s(replace(this_cell, device=Device.CPU), T4.offload) == 0


def test_few_cores_slow_an_update_down_until_the_nodes_memory_is_full():
    engine = offloaded(2, offload_optimizer=Offload.CPU)
    cores = [cell(gpus=1, device=Device.CUDA, engine=engine, cpus_per_gpu=n) for n in (1, 2, 10, 20)]
    alone, two, full, more = (offload.step_s(each, T4.offload) for each in cores)
    assert alone > two > full == more
