"""A run says which machine it had, and what that machine could do; asking changes nothing of what is trained."""

import os
import platform
from dataclasses import replace
from itertools import accumulate

import pytest

from launchers.checked import parse_json
from tests.e2e.train import ranks
from tests.e2e.train.ranks import Job, small_cell
from tests.e2e.train.ranks import _rank as real_rank
from tests.e2e.train.trainers import measured_cell
from tests.e2e.train.trainers import run as measured
from tests.unit.builders import DATA
from tests.unit.builders import record as built
from vit_sweep.job.train.measure.preflight import sizes
from vit_sweep.plan.choices import Precision
from vit_sweep.record.flags import explanation, flags_of, joules_per_image, machine_columns
from vit_sweep.record.machine import EnergySource, differences, may_pool
from vit_sweep.record.record import Record
from vit_sweep.record.stats import epoch_time
from vit_sweep.record.stragglers import Blame

pytestmark = pytest.mark.train


def own_flags(record):
    """What the run says of itself; that others use the host of the tests meanwhile is true, and none of it."""
    return [flag for flag in flags_of(record) if not flag.startswith("host contended")]


def run(folder, cell, **options):
    job = Job(folder, cell, **({"preflight": True} | options))
    assert job.run() == [0] * cell.gpus, job.log()
    return parse_json(Record, (job.dir / "record.json").read_bytes(), source="record")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The record of two ranks."""
    return run(tmp_path_factory.mktemp("pair"), small_cell(gpus=2))


def losses(record):
    return [(epoch.train_loss, epoch.test_loss) for epoch in record.epochs]


def test_every_rank_has_its_fingerprint(pair):
    assert [rank.rank for rank in pair.machine] == [0, 1]
    for rank, report in zip(pair.machine, pair.ranks, strict=True):
        assert rank.host == report.host
        assert rank.cpu == report.device
        assert rank.gpu is rank.cuda is rank.nccl is None, "what a CPU run does not use is not its machine"
        # torch itself also says for which CUDA it was built: 2.11.0+cu130.
        assert rank.torch.split("+")[0] == pair.versions["torch"]
        assert rank.deepspeed == pair.versions["deepspeed"]
        assert (rank.python, rank.kernel) == (platform.python_version(), platform.release())
        assert rank.host_cores == os.cpu_count()
        assert rank.host_memory_mib > 500
    assert differences(pair.machine) == ()
    assert may_pool(pair.machine, pair.machine) == (True, "")
    assert own_flags(pair) == []


def test_every_rank_has_its_preflight_up_to_the_gradients_size(pair):
    assert [probe.rank for probe in pair.preflight] == [0, 1]
    gradient = 4 * pair.resolved.parameters
    for probe in pair.preflight:
        assert probe.precision == "fp32"
        assert [message_times.size_bytes for message_times in probe.all_reduce] == sizes(gradient)
        assert all(0 < message_times.min_ms <= message_times.median_ms for message_times in probe.all_reduce)
        assert probe.matmul_tflops > 0
        assert probe.memory_gb_per_s > 0
        assert probe.to_next_gb_per_s > 0
        assert probe.note == ""
        assert probe.seconds < pair.startup_s, "the preflight is a part of the start"


def test_the_clock_of_an_epoch_runs_from_the_first_look_at_the_data_over_preflight_and_evaluations(pair):
    walls = [epoch.wall_s for epoch in pair.epochs]
    trained = list(accumulate(epoch.seconds for epoch in pair.epochs))
    before = max(probe.seconds for probe in pair.preflight)
    assert all(wall > before + seconds for wall, seconds in zip(walls, trained, strict=True))
    assert all(
        later - earlier > e.seconds for earlier, later, e in zip(walls, walls[1:], pair.epochs[1:], strict=False)
    )


def test_without_nvml_there_are_no_samples_and_every_column_still_has_its_place(pair):
    assert pair.samples == ()
    columns = machine_columns(pair)
    assert list(columns) == list(machine_columns(built(small_cell())))
    assert columns["matmul_tflops"] == min(probe.matmul_tflops for probe in pair.preflight)
    assert columns["power_w"] is joules_per_image(pair) is None


def test_the_training_is_the_same_with_and_without_a_preflight(pair, tmp_path):
    without = run(tmp_path, small_cell(gpus=2), preflight=False)
    assert without.preflight == ()
    assert without.machine != (), "the fingerprint is no part of it"
    assert losses(without) == losses(pair)


def test_an_odd_ring_in_bf16_is_measured_too(tmp_path):
    record = run(tmp_path, small_cell(gpus=3, micro_batch=4, precision=Precision.BF16, epochs=1))
    assert [probe.to_next_gb_per_s is not None for probe in record.preflight] == [True] * 3
    assert record.preflight[0].precision == "bf16"
    assert record.preflight[0].largest.size_bytes == 2 * record.resolved.parameters


@pytest.mark.parametrize("stage", [1, 3])
def test_zero_stages_are_probed_with_the_whole_gradient(stage, tmp_path):
    record = run(tmp_path, small_cell(gpus=2, zero=stage, epochs=1))
    assert record.preflight[1].largest.size_bytes == 4 * record.resolved.parameters


@pytest.mark.parametrize(
    ("delay", "who", "blame"),
    [("forward", 1, Blame.GPUS), ("data", 2, Blame.DATA), ("all_reduce", None, Blame.NETWORK)],
)
def test_who_makes_four_ranks_wait_is_found_in_what_they_measured(delay, who, blame, tmp_path):
    """80 ms a step beside 10 of every rank's own, by clocks that nothing else moves."""
    trained_cell = measured_cell(gpus=4)
    delays = [("backward", None, 0.01), (delay, who, 0.08)]
    epochs, _, _ = measured(tmp_path / "run", trained_cell, delays=delays, measure=False)
    run = replace(built(trained_cell), epochs=tuple(epochs))
    why = explanation(run)
    assert why.blame is blame, why
    share = {Blame.GPUS: why.gpus_ms, Blame.DATA: why.data_ms, Blame.NETWORK: why.network_ms}[blame]
    assert share == pytest.approx(80)
    if blame is Blame.GPUS:
        assert why.slow_ranks[0].rank == who
        assert own_flags(run)[0].startswith(f"slow: rank {who} on node0 (")


def _rank_with_a_gpu_to_sample(environment, folder, _probe):
    """A rank whose NVML is made up: 70 W by its energy counter, the clock held down by heat, sampled every 5 ms.

    The sampler's clock is made up too: it goes on by a period with each sample, however late that comes.
    """
    from types import SimpleNamespace

    from tests.unit.job.train.test_nvml import FakeNvml
    from vit_sweep.job.train import run
    from vit_sweep.job.train.machine import sampler
    from vit_sweep.job.train.machine.nvml import NvmlGpu

    period_ms, samples = 5, 0

    def clock():
        nonlocal samples
        samples += 1
        return samples * period_ms / 1000

    answers = {"TotalEnergyConsumption": lambda: 70 * samples * period_ms, "CurrentClocksEventReasons": lambda: 0x20}
    library = FakeNvml(**answers)
    real = run.fingerprint
    run.fingerprint = lambda *given: (real(*given)[0], NvmlGpu(library, "handle"))
    sampler.PERIOD_S = period_ms / 1000
    sampler.time = SimpleNamespace(monotonic=clock)
    real_rank(environment, folder, None)


def test_what_nvml_says_during_the_training_becomes_joules_and_flags(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "_rank", _rank_with_a_gpu_to_sample)
    record = run(tmp_path, small_cell(gpus=2, train_images=1600, data=replace(DATA, test_images=20, classes=4)))
    assert [sample.rank for sample in record.samples] == [0, 1]
    for sample in record.samples:
        assert sample.energy_from is EnergySource.COUNTER
        assert sample.energy_j / sample.seconds == pytest.approx(70)
        assert 0 < sample.seconds < sum(epoch.seconds for epoch in record.epochs), "the cold epoch is none of it"
    assert joules_per_image(record) == pytest.approx(140 * epoch_time(record).median_s / 1600)
    (flag,) = own_flags(record)
    assert flag.startswith(f"throttled: rank 0 on {record.ranks[0].host} (100% of the time: thermal_software), rank 1")
