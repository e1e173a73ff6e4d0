"""The trainer's axes, trained: ZeRO by number, checkpointed and compiled blocks, the learning rate, lost losses."""

import functools
import json
import os
import sys
from dataclasses import replace

import pytest

from launchers.profile import Device
from tests.conftest import LONG
from tests.e2e.train.ranks import Job, run_all, small_cell
from tests.unit.builders import OPTIMIZER
from vit_sweep.plan.choices import LrScaling, OptimizerKind, Precision
from vit_sweep.record.learning import lr_at

pytestmark = pytest.mark.train

STAGES = range(4)
QUIET = {"preflight": False, "profile_steps": 0}


# --- ranks that say which rate each step had ---------------------------------------------------------------


def train(folder, cell, *, threads=1):
    """Run the cell's ranks without a job around them; returns what rank 0 found: losses, weights, rates, graphs."""
    folder.mkdir(parents=True)
    arguments = [(str(folder), rank, cell, threads) for rank in range(cell.gpus)]
    run_all(_rank, arguments, folder=folder, seconds=300)
    return json.loads((folder / "0.json").read_text())


def _rank(folder, rank, cell, threads):
    log = os.open(f"{folder}/{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(cell.gpus), LOCAL_RANK=str(rank))
    import torch
    import torch.distributed as dist

    torch.set_num_threads(threads)
    store = dist.FileStore(f"{folder}/store", cell.gpus)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=cell.gpus)
    from tests.e2e.train.trainers import only_trace, trainer_of, weights

    if cell.compile:
        only_trace()
    trainer, engine = trainer_of(cell, rank)
    rates, step = [], engine.optimizer.step

    def noted(*args, **options):
        rates.append(sorted({group["lr"] for group in engine.optimizer.param_groups}))
        return step(*args, **options)

    engine.optimizer.step = noted
    epochs = [trainer.epoch() for _ in range(cell.epochs)]
    outcome = {
        "losses": [(epoch.train_loss, epoch.test_loss) for epoch in epochs],
        "weights": weights(engine),
        "names": [name for name, _ in engine.module.named_parameters()],
        "rates": rates,
        "compiled": [[(rank.graphs, rank.breaks) for rank in epoch.compiled_by_rank] for epoch in epochs],
        "graphs": torch._dynamo.utils.counters["stats"].get("unique_graphs", 0) if cell.compile else 0,
    }
    with open(f"{folder}/{rank}.json", "w") as file:  # noqa: PTH123 - in a forked rank, without the test's imports
        json.dump(outcome, file)
    dist.barrier()
    dist.destroy_process_group()
    sys.exit(0)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What two ranks learn at each ZeRO stage with no axis set, run once."""

    @functools.cache
    def run(stage):
        return train(tmp_path_factory.mktemp("plain") / "run", small_cell(gpus=2, zero=stage))

    return run


# --- blocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_checkpointed_blocks_learn_bit_by_bit_the_same_at_every_zero_stage(tmp_path, plain, stage):
    recomputed = train(tmp_path / "run", small_cell(gpus=2, zero=stage, activation_checkpointing=True))
    assert recomputed == plain(stage)


@pytest.mark.parametrize(
    ("stage", "more"),
    [
        (0, {}),
        pytest.param(1, {}, marks=pytest.mark.skipif(not LONG, reason="stage 2 shards more: VIT_SWEEP_LONG_TESTS=1")),
        (2, {}),
        (0, {"activation_checkpointing": True}),
    ],
)
def test_compiled_blocks_learn_the_same_in_few_graphs_whatever_the_depth(tmp_path, plain, stage, more):
    """What is tested is that nothing is left out of the trace."""
    compiled = train(tmp_path / "run", small_cell(gpus=2, zero=stage, compile=True, **more))
    for actual, expected in zip(compiled["losses"], plain(stage)["losses"], strict=True):
        assert actual == pytest.approx(expected, rel=1e-4)
    assert compiled["names"] == plain(stage)["names"]
    assert compiled["graphs"] >= 2
    first, *later = compiled["compiled"]
    assert min(graphs for graphs, _ in first) > 0
    assert all(rank == [0, 0] for epoch in later for rank in epoch), "timed steps of later epochs compile nothing"
    assert all(breaks == 0 for _, breaks in first)
    if stage == 0 and not more:
        deep = small_cell(gpus=1, compile=True, epochs=1)
        deep = replace(deep, model=replace(deep.model, layers=12))
        assert train(tmp_path / "deep", deep)["graphs"] <= compiled["graphs"]


def test_nothing_is_kept_of_a_checkpointed_block_but_its_input():
    """Counted by hooks on what autograd saves, as the formula of the memory model was."""
    import torch

    from vit_sweep.job.train.model import vision_transformer

    def saved(**changes):
        cell = small_cell(**changes)
        cell = replace(cell, model=replace(cell.model, layers=8, width=64, mlp_width=256))
        model, sizes = vision_transformer(cell), {}
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = model(torch.zeros(2, 3, 16, 16))
        assert out.shape == (2, 4)
        return sum(sizes.values())

    inputs = 4 * 8 * 17 * 64 * 2  # bytes x layers x tokens x width x images
    checkpointed = saved(activation_checkpointing=True)
    assert inputs <= checkpointed < 2 * inputs
    assert saved() > 8 * inputs


# --- the learning rate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_every_step_has_the_rate_of_its_place_under_every_optimizer_of_deepspeed(tmp_path, stage):
    cell = small_cell(gpus=2, zero=stage, lr_warmup_epochs=1.5, lr_scaling=LrScaling.SQRT)
    rates = train(tmp_path / "run", cell)["rates"]
    assert rates == [[lr_at(cell, step)] for step in range(cell.epochs * cell.steps_per_epoch)]
    assert len({rate for (rate,) in rates}) == 9


def test_with_accumulation_the_rate_changes_by_optimizer_steps(tmp_path):
    cell = small_cell(gpus=1, accum=2, lr_warmup_epochs=1.0)
    rates = train(tmp_path / "run", cell)["rates"]
    used = sorted({rate for (rate,) in rates})
    assert used == sorted({lr_at(cell, step) for step in range(cell.epochs * cell.steps_per_epoch)})


def test_a_scaled_rate_trains_as_the_same_rate_written_out(tmp_path):
    """Global batch 8 from a base of 2 is four times the rate."""
    scaled = small_cell(lr_scaling=LrScaling.LINEAR, optimizer=replace(OPTIMIZER, base_batch=2))
    written = small_cell(optimizer=replace(OPTIMIZER, learning_rate=4 * OPTIMIZER.learning_rate))
    scaled_run, other = (train(tmp_path / name, cell) for name, cell in {"scaled": scaled, "written": written}.items())
    assert scaled_run["weights"] == other["weights"]
    assert scaled_run["weights"] != train(tmp_path / "plain", small_cell())["weights"]


def test_a_run_that_goes_on_inside_its_warm_up_has_the_rates_of_an_undisturbed_one(tmp_path):
    trained_cell = small_cell(lr_warmup_epochs=2.5, lr_scaling=LrScaling.LINEAR, gpus=2, zero=2)
    undisturbed, stopped = (Job(tmp_path / name, trained_cell, **QUIET) for name in ("undisturbed", "stopped"))
    assert undisturbed.run() == [0] * trained_cell.gpus, undisturbed.log()
    assert stopped.run(probe=("signal_at", 0, "SIGUSR2", 2, 3)) == [1] * trained_cell.gpus, stopped.log()
    assert stopped.run(attempt=2) == [0] * trained_cell.gpus, stopped.log(attempt=2)
    first, other = (
        [(epoch["train_loss"], epoch["test_loss"]) for epoch in job.json("record.json")["epochs"]]
        for job in (undisturbed, stopped)
    )
    assert first == other


# --- a loss that is none -----------------------------------------------------------------------------------

EXPLODING = replace(OPTIMIZER, name="sgd", kind=OptimizerKind.SGD, learning_rate=0.04, weight_decay=100.0, beta1=0.0)
"""Each step makes every weight three times as large: finite for the six steps of an epoch, no number within twelve."""


@pytest.mark.parametrize("changes", [{"gpus": 1}, {"gpus": 2, "zero": 3}], ids=str)
def test_a_lost_loss_ends_the_run_by_name_and_the_last_good_checkpoint_stays(tmp_path, changes):
    trained_cell = small_cell(optimizer=EXPLODING, epochs=5, **changes)
    job = Job(tmp_path, trained_cell, **QUIET)
    assert job.run() == [1] * job.cell.gpus, job.log()
    assert not (job.dir / "record.json").exists()
    ends = [job.end(rank) for rank in range(job.cell.gpus)]
    assert {end["cause"] for end in ends} == {"diverged"}, job.log()
    assert "loss is" in ends[0]["message"]
    assert "optimizer.learning_rate" in ends[0]["message"]
    # It stands at the beginning of the epoch that lost the loss; nothing later was saved.
    assert (ends[0]["epoch"], job.checkpoints()) == (2, ["e0002-s000000"])
    assert job.run(attempt=2) == [1] * job.cell.gpus
    again = [job.end(rank, attempt=2) for rank in range(job.cell.gpus)]
    assert {(end["cause"], end["epoch"]) for end in again} == {("diverged", 2)}, job.log(attempt=2)
    assert job.checkpoints() == ["e0002-s000000"], "the last good one stays, however often it is tried"


def test_a_run_told_to_stop_after_its_loss_was_lost_saves_nothing(tmp_path):
    job = Job(tmp_path, small_cell(optimizer=replace(EXPLODING, learning_rate=100.0), epochs=2), **QUIET)
    assert job.run(probe=("signal_at", 0, "SIGUSR2", 1, 5)) == [1], job.log()
    assert job.end()["cause"] == "diverged", job.log()
    assert job.checkpoints() == []


# --- number formats ----------------------------------------------------------------------------------------


@pytest.fixture
def gate(monkeypatch):
    """`require_precision` on a GPU that this machine does not have."""
    import torch

    from vit_sweep.job.train.model import require_precision

    def ask(precision, *, native_bf16, capability):
        def supported(including_emulation=True):
            return including_emulation or native_bf16

        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
        require_precision(small_cell(device=Device.CUDA, precision=precision))

    return ask


T4, A100 = {"native_bf16": False, "capability": (7, 5)}, {"native_bf16": True, "capability": (8, 0)}


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.BF16_AMP, Precision.TF32])
def test_a_gpu_that_only_emulates_a_number_format_is_refused_in_words(gate, precision):
    from vit_sweep.outcome.failure import JobError

    with pytest.raises(JobError) as error:
        gate(precision, **T4)
    assert error.value.cause == "configuration"
    assert str(error.value).startswith(f"precision={precision}: Tesla T4 ")
    assert "refused_precisions" in str(error.value)


@pytest.mark.parametrize("precision", Precision)
def test_a_gpu_that_has_a_number_format_is_let_through(gate, precision):
    gate(precision, **A100)
    if precision.products in (Precision.FP32, Precision.FP16):
        gate(precision, **T4)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.TF32])
def test_a_job_on_a_processor_that_cannot_train_in_it_ends_by_name(tmp_path, precision):
    """A cell that no plan makes: the job asks again."""
    job = Job(tmp_path, small_cell(precision=precision), **QUIET)
    assert job.run() == [1], job.log()
    assert job.end()["cause"] == "configuration"
    assert job.end()["message"].startswith(f"precision={precision}: a processor does not train in it")
