"""Which machine it was: fingerprints compared, a record judged."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.checked import parse_json, to_json
from launchers.profile import Device
from tests.conftest import ROOT
from tests.unit.builders import cell, record
from vit_sweep.record.breakdown import Breakdown, Collective, Phases, RankPhases
from vit_sweep.record.flags import explanation, flags_of, joules_per_image, machine_columns, rank_times
from vit_sweep.record.machine import (
    FACTS,
    AllReduce,
    EnergySource,
    Fingerprint,
    Gpu,
    HostTime,
    Preflight,
    Samples,
    Spread,
    differences,
    facts_of,
    may_pool,
)
from vit_sweep.record.record import Compilations, Record
from vit_sweep.record.stats import compiled
from vit_sweep.record.stragglers import Blame

T4 = Gpu(
    model="Tesla T4",
    memory_mib=15360.0,
    driver="550.54",
    mig=None,
    nvlinks=None,
    pcie_generation=3,
    pcie_width=16,
    max_sm_clock_mhz=1590,
    power_limit_w=70.0,
    other_processes=0,
    other_mib=0.0,
)


def one(rank=0, host="a", gpu=T4, **changes):
    defaults = {"cpu": "EPYC", "cuda": "12.4", "nccl": "2.21.5", "torch": "2.5.1", "deepspeed": "0.15.3"}
    return Fingerprint(rank=rank, host=host, gpu=gpu, **(defaults | changes))


def run(count=2, **changes):
    return tuple(one(rank, f"node{rank}", **changes) for rank in range(count))


def test_equal_ranks_on_unlike_hosts_are_alike():
    assert differences(run(4)) == ()
    assert may_pool(run(2), tuple(replace(rank, host="other", kernel="6.1") for rank in run(2))) == (True, "")


def test_an_unlike_gpu_is_named_with_its_host():
    mixed = (*run(2), one(2, "ecetesla3", gpu=replace(T4, model="GTX 1070")))
    assert differences(mixed) == ("GPU model: GTX 1070 (on ecetesla3), Tesla T4 (on node0, node1)",)


@pytest.mark.parametrize(
    ("changes", "clause"),
    [
        ({"torch": "2.6.0"}, "torch: 2.5.1 against 2.6.0"),
        ({"deepspeed": "0.19.8"}, "deepspeed: 0.15.3 against 0.19.8"),
        ({"cuda": "12.6"}, "CUDA: 12.4 against 12.6"),
        ({"nccl": "2.23.4"}, "NCCL: 2.21.5 against 2.23.4"),
        ({"cpu": "Xeon"}, "CPU: EPYC against Xeon"),
        ({"gpu": replace(T4, driver="560.1")}, "driver: 550.54 against 560.1"),
        ({"gpu": replace(T4, model="A40")}, "GPU model: Tesla T4 against A40"),
        ({"gpu": replace(T4, memory_mib=16384.0)}, "GPU memory: 15 GiB against 16 GiB"),
        ({"gpu": replace(T4, power_limit_w=60.0)}, "power limit: 70 W against 60 W"),
        ({"gpu": replace(T4, pcie_width=8)}, "PCIe: generation 3 x16 against generation 3 x8"),
    ],
)
def test_runs_that_differ_in_what_matters_are_not_pooled(changes, clause):
    assert may_pool(run(), run(**changes)) == (False, clause)
    assert len(differences((*run(), *run(**changes)))) == 1


def test_one_slow_host_more_is_another_machine_even_if_the_kinds_are_the_same():
    weak = replace(T4, model="P4")
    mostly_t4 = (one(0), one(1), one(2, gpu=weak))
    mostly_p4 = (one(0), one(1, gpu=weak), one(2, gpu=weak))
    assert may_pool(mostly_t4, mostly_p4) == (False, "GPU model: 1 x P4 + 2 x Tesla T4 against 2 x P4 + 1 x Tesla T4")
    assert may_pool(mostly_t4, mostly_t4[::-1]) == (True, "")


def test_what_is_unknown_makes_no_difference_but_an_unknown_machine_is_not_pooled_with_a_known_one():
    assert may_pool(run(), run(nccl=None)) == (True, "")
    assert differences((*run(), *run(gpu=None))) == ()
    assert may_pool((), ()) == (True, "")
    assert may_pool(run(), ()) == (False, "the machine of one of the runs is not recorded")


def test_a_few_mib_of_memory_are_no_difference():
    assert may_pool(run(), run(gpu=replace(T4, memory_mib=15109.75))) == (True, "")


gpus = st.builds(Gpu, model=st.sampled_from([None, "T4", "A40"]), driver=st.sampled_from([None, "1", "2"]))
machines = st.lists(
    st.builds(
        Fingerprint,
        rank=st.integers(0, 3),
        host=st.sampled_from("ab"),
        gpu=st.none() | gpus,
        torch=st.sampled_from(["2.5", "2.6", None]),
    ),
    max_size=4,
).map(tuple)


@given(machines, machines)
def test_pooling_asks_both_ways_and_everyone_is_like_himself(a, b):
    assert may_pool(a, b)[0] == may_pool(b, a)[0]
    assert may_pool(a, a) == (True, "")
    if a and b and not differences((*a, *b)):
        assert may_pool(a, b)[0]


@given(machines, st.randoms(use_true_random=False))
def test_the_order_of_ranks_says_nothing(machine, random):
    shuffled = tuple(random.sample(machine, len(machine)))
    assert differences(shuffled) == differences(machine)
    assert may_pool(shuffled, machine)[0]


def test_every_fact_can_be_read_of_an_empty_fingerprint():
    assert {name: fact(Fingerprint(rank=0, host="a")) for name, fact in FACTS.items()} == dict.fromkeys(FACTS)


def test_bandwidths_follow_nccl_tests():
    reduction = AllReduce(size_bytes=346_000_000, repetitions=3, min_ms=90.0, median_ms=100.0)
    assert reduction.algorithm_gb_per_s == pytest.approx(3.46)
    assert reduction.bus_gb_per_s(8) == pytest.approx(3.46 * 2 * 7 / 8)
    assert reduction.bus_gb_per_s(1) == 0


def test_latency_is_what_small_messages_take_beside_their_bytes():
    """Planted: 0.3 ms and 10 GB/s; the smallest message alone was unlucky."""
    sizes = [4096, 65_536, 2**20, 2**24, 346_000_000]
    times = {size: 0.3 + size / 1e10 * 1e3 for size in sizes} | {4096: 2.5}
    messages = tuple(AllReduce(size_bytes=size, repetitions=5, min_ms=ms, median_ms=ms) for size, ms in times.items())
    probe = Preflight(rank=0, precision="fp32", all_reduce=messages, seconds=1.0)
    assert probe.latency_ms == pytest.approx(0.3, rel=0.05)
    assert replace(probe, all_reduce=messages[:1]).latency_ms == 2.5
    assert replace(probe, all_reduce=()).latency_ms is None


NEXT_TO_NOTHING = Samples(rank=0, count=1, seconds=0.0)


def samples(rank, throttled_s=0.0, reasons=(), energy_j=7000.0):
    return Samples(
        rank=rank,
        count=101,
        seconds=100.0,
        sm_clock_mhz=Spread(min=1000.0, median=1200.0 + rank, max=1590.0),
        throttled_s=throttled_s,
        throttled_s_by_reason=tuple((reason, throttled_s) for reason in reasons),
        energy_j=energy_j,
        energy_from=EnergySource.COUNTER,
    )


def done(gpus=2, **changes):
    base_record = record(cell(gpus=gpus))
    return replace(base_record, **({"machine": run(gpus)} | changes))


def test_a_clean_run_and_one_whose_machine_is_unknown_have_no_flags():
    assert flags_of(done(samples=(samples(0), samples(1)))) == ()
    assert flags_of(record(cell())) == ()


def test_flags_name_the_rank_the_host_and_the_figure():
    machine = (
        one(0, "a", gpu=replace(T4, other_processes=2, other_mib=2540.4)),
        one(1, "b", gpu=replace(T4, mig=True, model="A100")),
    )
    flags = flags_of(done(machine=machine, samples=(samples(0, 32.0, ("power_cap", "thermal_software")), samples(1))))
    assert flags == (
        "unlike GPUs in one job: GPU model: A100 (on b), Tesla T4 (on a)",
        "other processes on the GPU: rank 0 on a (2 with 2540 MiB)",
        "throttled: rank 0 on a (32% of the time: thermal_software)",
        "MIG: rank 1 on b",
    )


@pytest.mark.parametrize(("seconds", "flagged"), [(5.0, False), (5.1, True)])
def test_throttling_is_flagged_above_five_percent(seconds, flagged):
    assert bool(flags_of(done(samples=(samples(0, seconds, ("thermal_hardware",)),)))) is flagged
    assert flags_of(done(samples=(NEXT_TO_NOTHING,))) == ()


def test_a_gpu_at_its_power_limit_is_a_gpu_at_work():
    finished_record = done(samples=(samples(0, 100.0, ("power_cap",)), samples(1, 100.0, ("power_cap",))))
    assert flags_of(finished_record) == ()
    assert machine_columns(finished_record)["throttled"] == 0


def on_host(record_, *, host_cores=8, **changes):
    """The record with this cost on its hosts in every epoch but the first, which is cold and waited all the time."""
    usual = HostTime(seconds=10.0, cpu_s=9.5, waited_s=0.1, load=2.0, pressure=0.02)
    cold = replace(usual, waited_s=10.0)
    epochs = tuple(
        replace(epoch, host_by_rank=(cold if number == 0 else replace(usual, **changes), usual))
        for number, epoch in enumerate(record_.epochs)
    )
    ranks = tuple(replace(rank, host_cores=host_cores) for rank in record_.ranks)
    return replace(record_, epochs=epochs, ranks=ranks)


def test_a_graph_that_was_compiled_again_in_an_epoch_that_counts_is_flagged():
    nothing, two = Compilations(graphs=0, breaks=0), Compilations(graphs=2, breaks=1)

    def with_graphs(cold, warm):
        first, *others = done().epochs
        counts = (replace(first, compiled_by_rank=cold), *(replace(epoch, compiled_by_rank=warm) for epoch in others))
        return replace(done(), epochs=counts)

    assert flags_of(with_graphs((two, two), (nothing, nothing))) == ()
    assert compiled(with_graphs((two, nothing), (nothing, nothing))) == two
    again = with_graphs((two, two), (nothing, two))
    assert flags_of(again)[0].startswith("compiled in timed steps: epoch 2 (2 graphs)")
    assert compiled(again).graphs == 2 * len(again.epochs)
    assert compiled(done()) is None


def test_a_rank_that_waited_for_a_core_is_flagged_unless_its_own_run_is_the_crowd():
    assert flags_of(on_host(done())) == ()
    busy = on_host(done(), waited_s=2.3, load=13.0)
    assert flags_of(busy) == ("host contended: rank 0 on node0 (no core for 23% of the time, load 13.0 on 8 cores)",)
    alone_on_one = on_host(done(), waited_s=2.3, load=7.6, host_cores=1)
    (alone,) = flags_of(alone_on_one)
    assert alone.endswith("load 7.6 on 1 core)")
    whole = replace(alone_on_one, machine=(Fingerprint(rank=0, host="node0", host_cores=16),))
    assert flags_of(whole)[0].endswith("load 7.6 on 16 cores)"), "a load is of the whole host"
    columns = machine_columns(busy)
    assert (columns["host_waited"], columns["host_load"]) == (pytest.approx(0.23), 13.0)
    crowd = replace(done(), requested=cell(gpus=2, device=Device.CPU))
    assert flags_of(on_host(crowd, waited_s=2.3, load=13.0, host_cores=1)) == ()
    assert flags_of(on_host(done(), waited_s=None)) == (), "a kernel that does not say"


def test_an_epoch_in_which_the_process_stood_still_is_flagged_by_name():
    record_of_host = on_host(done())
    stopped = replace(record_of_host.epochs[1].host_by_rank[0], stopped_s=30.2)
    second = replace(record_of_host.epochs[1], interrupted=True, host_by_rank=(stopped, stopped))
    assert flags_of(replace(record_of_host, epochs=(record_of_host.epochs[0], second, *record_of_host.epochs[2:]))) == (
        "suspended: epoch 2 (30 s)",
    )


def test_many_ranks_of_a_kind_are_counted_not_listed():
    crowded = tuple(one(rank, f"n{rank}", gpu=replace(T4, other_processes=1)) for rank in range(8))
    assert flags_of(done(8, machine=crowded)) == (
        "other processes on the GPU: rank 0 on n0 (1 with 0 MiB), rank 1 on n1 (1 with 0 MiB), "
        "rank 2 on n2 (1 with 0 MiB) and 5 more",
    )


def test_joules_per_image_are_power_times_time_by_images_of_all_gpus():
    finished_record = done(samples=(samples(0, energy_j=7000.0), samples(1, energy_j=5000.0)))  # 70 W and 50 W
    images = finished_record.epochs[-1].images
    assert joules_per_image(finished_record) == pytest.approx(
        (70 + 50) * 1.0 / images
    )  # an epoch takes a second in steady state
    assert joules_per_image(done(samples=(samples(0),))) is None, "one GPU of two is not the run"
    assert joules_per_image(done(samples=(samples(0), samples(1, energy_j=None)))) is None


def test_the_columns_are_all_there_for_every_record():
    unknown = machine_columns(record(cell()))
    assert set(unknown.values()) == {None}
    probes = tuple(
        Preflight(
            rank=rank,
            precision="fp32",
            matmul_size=512,
            matmul_tflops=4.0 - rank,
            seconds=1.0,
            note="a note",
            all_reduce=(AllReduce(size_bytes=10**6, repetitions=1, min_ms=1.0, median_ms=1.0 + rank),),
        )
        for rank in range(2)
    )
    columns = machine_columns(done(preflight=probes, samples=(samples(0, 10.0, ("thermal_hardware",)), samples(1))))
    assert list(columns) == list(unknown)
    assert columns["matmul_tflops"] == 3.0
    assert columns["all_reduce_bus_gb_per_s"] == pytest.approx(0.5)
    assert columns["power_w"] == pytest.approx(140)
    assert columns["throttled"] == pytest.approx(0.1)
    assert columns["sm_clock_mhz"] == 1200
    assert columns["preflight_notes"] == "a note"


def test_every_flag_is_explained():
    page = (ROOT / "docs" / "results" / "machine.md").read_text()
    titles = ("unlike GPUs in one job", "other processes on the GPU", "throttled", "MIG", "slow", "slow link")
    titles += ("host contended", "suspended", "compiled in timed steps")
    assert [name for name in titles if f"| `{name}` |" not in page] == []


def phases(compute=100.0, communication=10.0, data_wait=0.0):
    return Phases(
        data_wait=data_wait,
        copy=1.0,
        forward=compute / 2,
        backward=compute / 2,
        communication=communication,
        optimizer=0.0,
        other=0.0,
    )


def measured(by_rank, **changes):
    """A finished run on as many GPUs, a host each, whose epochs all went like this."""
    base_record = record(cell(gpus=len(by_rank), nodes=len(by_rank)))
    phases = tuple(RankPhases(steps=1, sum_ms=times, median_ms=times) for times in by_rank)
    return replace(
        base_record, epochs=tuple(replace(epoch, phases_by_rank=phases) for epoch in base_record.epochs), **changes
    )


def test_a_slow_gpu_of_a_record_is_flagged_with_its_host():
    measured_record = measured([phases(), phases(), phases(150.0, 1.0), phases()])
    assert explanation(measured_record).blame is Blame.GPUS
    assert flags_of(measured_record) == ("slow: rank 2 on node2 (1.5 x)",)


def test_what_takes_the_steps_of_a_run_on_a_contended_host_is_said_with_that():
    measured_record = measured([phases(communication=40.0)] * 2)
    quiet, busy = (explanation(on_host(measured_record, waited_s=waited_s)).sentence for waited_s in (0.0, 0.6))
    assert busy == f"{quiet}; others used the host, and waiting for a core is in all of this"


def test_a_thin_link_of_a_record_is_flagged_with_its_host():
    ring = [1.0, 1.0, 0.118, 0.118, 1.0]
    probes = tuple(Preflight(rank=r, precision="fp32", seconds=1.0, to_next_gb_per_s=s) for r, s in enumerate(ring))
    measured_record = measured([phases(communication=4700.0)] * 5, preflight=probes)
    assert explanation(measured_record).blame is Blame.LINK
    assert flags_of(measured_record) == ("slow link: node3 (8.47 x)",)


def test_with_zero_1_to_3_the_profiled_window_says_how_long_ranks_communicate():
    hidden = [replace(phases(), communication=None)] * 2
    assert rank_times(measured(hidden)) == ()
    window = Collective(steps=3, kinds=(), ms_by_rank=(30.0, 40.0), pure_ms=30.0)
    times = rank_times(measured(hidden, breakdown=Breakdown(collective=window)))
    assert [(rank.compute_ms, rank.communication_ms) for rank in times] == [(71.0, 30.0), (61.0, 40.0)]


def test_one_rank_waits_for_nobody():
    assert explanation(measured([phases()])) is None


def test_a_record_with_all_of_it_survives_its_file():
    finished_record = done(
        samples=(samples(0, 1.0, ("power_cap",)),),
        preflight=(Preflight(rank=0, precision="bf16", seconds=0.5, to_next_gb_per_s=1.0),),
    )
    assert parse_json(Record, to_json(finished_record), source="record") == finished_record


def test_facts_that_were_recorded_alike_are_alike_by_every_rule():
    """`facts_of` is the short way: whatever `differences` or `may_pool` could name must be in it."""
    plain = Fingerprint(rank=0, host="a", gpu=Gpu())
    for owner, kind in ((plain, Fingerprint), (plain.gpu, Gpu)):
        for field in fields(kind):
            if field.name in ("rank", "host", "gpu"):
                continue
            for value in ("x", 1, 2.0, True):
                try:
                    changed = replace(owner, **{field.name: value})
                except ValueError:
                    continue
                other = changed if kind is Fingerprint else replace(plain, gpu=changed)
                if any(fact(other) != fact(plain) for fact in FACTS.values()):
                    assert facts_of([other]) != facts_of([plain]), field.name
