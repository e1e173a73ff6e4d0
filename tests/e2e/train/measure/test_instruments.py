"""Loggers and DeepSpeed's profilers, with the real libraries: what they hold is what the record says.

Read back with each library's own reader; of Weights & Biases with its own messages, for it ships no reader.
"""

import os
import struct
from dataclasses import replace

import pytest

from tests.e2e.train.ranks import Job, small_cell
from tests.unit.builders import OPTIMIZER
from vit_sweep.plan.cell import DeepSpeedProfiler, Logger

pytestmark = pytest.mark.train

FIGURES = {"train/loss": "train_loss", "test/accuracy": "test_accuracy", "epoch/seconds": "seconds"}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Two ranks with everything on, told to end in the middle of epoch 2 and gone on: six epochs told, three run."""
    folder = tmp_path_factory.mktemp("studies") / "s"
    cell = small_cell(gpus=2, optimizer=replace(OPTIMIZER, learning_rate=0.0125))
    job = Job(folder, cell, exposed=True, logging=tuple(Logger), deepspeed_profilers=tuple(DeepSpeedProfiler))
    assert job.run(probe=("signal_at", 1, "SIGUSR2", 2, 3)) == [1, 1], job.log()
    assert job.run(2, probe=("note_instruments", str(folder / "noted"))) == [0, 0], job.log(attempt=2)
    return job


def expected(job):
    """The record's epochs under the names of the loggers, by epoch."""
    epochs = job.json("record.json")["epochs"]
    return {e["epoch"]: {name: e[field] for name, field in FIGURES.items()} for e in epochs}


def test_nothing_failed(job):
    assert job.json("record.json")["breakdown"]["notes"] == []
    assert list(expected(job)) == [1, 2, 3]


def test_tensorboard_has_every_epoch_once_under_the_cells_name(job):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams import plugin_data_pb2

    runs = EventMultiplexer().AddRunsFromDirectory(str(job.study / "tensorboard")).Reload()
    assert list(runs.Runs()) == [job.cell.cell_id]
    for name in FIGURES:
        logged = {event.step: event.value for event in runs.Scalars(job.cell.cell_id, name)}
        assert logged == pytest.approx({epoch: at[name] for epoch, at in expected(job).items()}, rel=1e-6)
        assert len(runs.Scalars(job.cell.cell_id, name)) == 3
    (rate,) = {event.value for event in runs.Scalars(job.cell.cell_id, "epoch/learning_rate")}
    assert rate == pytest.approx(0.0125)
    content = runs.SummaryMetadata(job.cell.cell_id, "_hparams_/session_start_info").plugin_data.content
    hparams = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["optimizer.learning_rate"].number_value == 0.0125


def wandb_records(path):
    """The messages of an offline run: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    raw, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(raw):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", raw, at)
        whole += raw[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole message, or its last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def test_weights_and_biases_has_one_offline_run_with_every_epoch_once(job):
    import json

    (file,) = {path.resolve() for path in (job.study / "wandb").rglob("*.wandb")}
    entries = list(wandb_records(file))
    (run,) = [record.run for record in entries if record.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.display_name, run.project) == (job.cell.cell_id, job.cell.cell_id, "s")
    config = {item.key: item.value_json for item in run.config.update}
    assert json.loads(config["optimizer.learning_rate"]) == 0.0125
    history = [record.history for record in entries if record.WhichOneof("record_type") == "history"]
    rows = [{item.nested_key[0]: json.loads(item.value_json) for item in row.item} for row in history]
    assert [row["_step"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert {name: row[name] for name in FIGURES} == expected(job)[row["_step"]]
    (end,) = [record.exit for record in entries if record.WhichOneof("record_type") == "exit"]
    assert end.exit_code == 0


def test_mlflow_has_one_finished_run_with_every_epoch_once(job, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(job.study / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("s")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (job.cell.cell_id, "FINISHED")
    assert run.data.params["optimizer.learning_rate"] == "0.0125"
    for name in FIGURES:
        logged = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert logged == [(epoch, at[name]) for epoch, at in expected(job).items()]
    differences = job.json("record.json")["breakdown"]["exposed"]["differences_ms"]
    assert run.data.metrics["final/exposed_low_ms"] == pytest.approx(min(differences)), "of six"


def test_deepspeed_counts_the_multiply_adds_of_our_formula(job):
    flop = job.json("record.json")["breakdown"]["flop"]
    assert 2 * flop["macs"] == flop["formula_flop"]
    assert flop["parameters"] == flop["formula_parameters"] == job.json("record.json")["resolved"]["parameters"]
    assert flop["flop_ratio"] == pytest.approx(flop["flop"] / flop["formula_flop"], rel=1e-6)
    assert 1.0 < flop["flop_ratio"] < 1.1  # norms and activation functions
    text = (job.dir / "attempts/2" / flop["file"]).read_text()
    assert "DeepSpeed Flops Profiler" in text
    assert f"FLOP ratio {flop['flop_ratio']:.4f}" in text


def test_deepspeeds_communication_log_lists_the_reduction(job):
    """One all-reduce a step of every gradient, fp32; the step before them is not in it."""
    lines = (job.dir / "attempts/2" / job.json("record.json")["breakdown"]["comms"]).read_text().splitlines()
    size = f"{4 * 19428 / 1024:.2f}"
    (counted, compared) = [line.split() for line in lines if line.split()[:1] == [size]]
    assert counted[:3] == [size, "KB", "3"] == compared[:3]
    assert [line for line in lines if not line.startswith(" ")].count("all_reduce") == 2


def test_no_instrument_is_used_while_steps_are_timed(job):
    for rank in range(2):
        lines = (job.study / f"noted.{rank}").read_text().splitlines()
        timed = [number for number, line in enumerate(lines) if line == "timed steps begin"]
        assert [lines[number + 1] for number in timed] == ["timed steps end"] * 2
        calls = [line for line in lines if line.startswith("a call of")]
        # To start, of the epoch before, of two epochs, at the end; by rank 0 alone.
        assert len(calls) == (3 * 5 if rank == 0 else 0)
        # All after the training: the probe sees them.
        assert lines.count("a step with the communication logger") == 4
        assert lines.index("a step with the communication logger") > timed[-1]


def test_the_loggers_leave_no_process_behind(job):
    import psutil

    study_path = str(job.study)
    left = [
        p.info
        for p in psutil.process_iter(["pid", "cmdline", "cwd"])
        if study_path in str(p.info) and p.pid != os.getpid()
    ]
    assert left == []


def test_instruments_that_fail_are_notes_and_the_run_is_done(tmp_path):
    job = Job(
        tmp_path / "s",
        small_cell(gpus=2),
        exposed=True,
        logging=(Logger.MLFLOW,),
        deepspeed_profilers=tuple(DeepSpeedProfiler),
    )
    assert job.run(probe=("broken_instruments",)) == [0, 0], job.log()
    after = job.json("record.json")["breakdown"]
    assert after["notes"] == [
        "rank 1: no communication log: RuntimeError: no such instrument here",
        "rank 1: no count of operations: RuntimeError: no such instrument here",
        "mlflow: nothing was logged from epoch 2 on: OSError: No space left on device",
    ]
    assert (after["comms"], after["flop"]) == (None, None)
    assert after["exposed"] is not None


def test_zero_3_is_logged_too_and_its_linear_layers_are_counted_twice(tmp_path):
    """DeepSpeed's own linear function of ZeRO 3 calls the ones that its profiler counts: docs/results/measuring.md."""
    job = Job(tmp_path / "s", small_cell(gpus=2, zero=3), deepspeed_profilers=tuple(DeepSpeedProfiler))
    assert job.run() == [0, 0], job.log()
    after = job.json("record.json")["breakdown"]
    assert after["notes"] == []
    assert 1.5 < after["flop"]["flop_ratio"] < 2.0
    assert "all_gather_into_tensor" in (job.dir / "attempts/1" / after["comms"]).read_text()
