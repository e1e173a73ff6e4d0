"""Logs of DeepSpeed and MLPerf become the rows of a table; a run goes out as MLPerf's log and comes back the same."""

import json

import pytest

from launchers.errors import UserError
from tests.unit.analysis.builders import run
from vit_sweep.runs.imported import read_csv
from vit_sweep.runs.mlperf_log import TOKEN, mlperf_log, rows_of_mlperf
from vit_sweep.runs.reshaping import reading_of

OPTIMIZER_STEP = """\
[Rank 0] time (ms) | fwd_microstep: 0.40 | bwd_microstep: 0.23 | bwd_inner_microstep: 0.18 | \
bwd_allreduce_microstep: 0.03 | step_microstep: 0.02
[Rank 0] time (ms) | fwd_microstep: 2.21 | bwd_microstep: 0.95 | bwd_inner_microstep: 0.15 | \
bwd_allreduce_microstep: 0.78 | step_microstep: 1.46
{stamp}[Rank 0] time (ms) | fwd: {fwd} | bwd: 1.25 | bwd_inner: 0.33 | bwd_allreduce: 0.75 | step: 1.50
"""
"""As DeepSpeed 0.19.8 prints a step of two micro steps; 0.15 put date, level and place before it."""
CONFIG = """\
[2024-11-20 10:00:00,123] [INFO] [config.py:999:print]   train_batch_size ............. 32
[2024-11-20 10:00:00,123] [INFO] [config.py:1003:print]   train_micro_batch_size_per_gpu  4
[2024-11-20 10:00:00,123] [INFO] [config.py:1003:print]   world_size ................... 4
"""
STAMP = "[2024-11-20 10:00:01,123] [INFO] [logging.py:129:log_dist] "


def deepspeed_log(steps, *, stamp="", config=""):
    return config + "".join(OPTIMIZER_STEP.format(stamp=stamp, fwd=f"{fwd:.2f}") for fwd in steps)


def read(tmp_path, text, **options):
    path = tmp_path / "train.log"
    path.write_text(text)
    return read_csv(path, reading=reading_of(**options))


@pytest.mark.parametrize("stamp", ["", STAMP])
def test_deepspeeds_steps_become_epochs_of_rank_0(tmp_path, stamp):
    """64 images in steps of 4 x 2 x 4 are two steps an epoch; the fifth step is of an epoch that was cut off."""
    text = deepspeed_log((7.25, 7.25, 2.25, 3.25, 9.0), stamp=stamp, config=CONFIG.replace("gpu  4", "gpu ... 4"))
    imported = read(tmp_path, text, constants=["images=64"])
    (run,) = imported.runs
    assert (run.gpus, run.micro_batch, run.accum, run.global_batch) == (4, 4, 2, 32)
    assert run.epoch_all_s == pytest.approx((0.020, 0.011))
    assert run.parts.communication == pytest.approx(0.75)
    assert run.rank_0_compute_ms == pytest.approx(4.75)
    assert "communication_ms" in run.rank_0_only
    assert not run.flags
    assert any("DeepSpeed's timers of rank 0" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "does not hold its batch; give it with --set batch=16"),
        (["batch=4"], "does not hold its GPUs; give it with --set gpus=4"),
        (["batch=4", "gpus=1"], "does not hold its epochs; give it with --set images=50000"),
        (["batch=4", "gpus=1", "images=800"], "does not hold a whole epoch (2 of its 100 steps)"),
    ],
)
def test_what_deepspeeds_log_does_not_say_is_asked_for(tmp_path, options, reason):
    with pytest.raises(UserError) as caught:
        read(tmp_path, deepspeed_log((1.0, 1.0)), constants=options)
    assert reason in str(caught.value)


def line(time_ms, key, value=None, **metadata):
    return TOKEN + json.dumps({"namespace": "", "time_ms": time_ms, "key": key, "value": value, "metadata": metadata})


def test_mlperfs_epochs_and_blocks_become_rows(tmp_path):
    lines = [
        line(0, "global_batch_size", 256),
        line(0, "train_samples", 50_000),
        line(0, "number_of_nodes", 2),
        line(0, "accelerators_per_node", 4),
        "0: " + line(1000, "epoch_start", epoch_num=1),
        line(31_000, "epoch_stop", epoch_num=1),
        line(31_500, "eval_accuracy", 0.25, epoch_num=1),
        line(32_000, "block_start", first_epoch_num=2, epoch_count=2),
        line(52_000, "block_stop", first_epoch_num=2, epoch_count=2),
        TOKEN + '{"key": "cut off',
    ]
    (run,) = read(tmp_path, "\n".join(lines)).runs
    assert (run.gpus, run.global_batch, run.work) == (8, 256, 50_000)
    assert run.epoch_all_s == pytest.approx((30.0, 10.0, 10.0))
    assert run.test_accuracy == (0.25, None, None)


def test_a_run_goes_out_as_mlperfs_log_and_comes_back(tmp_path):
    sent = run(4, (10.0, 11.0), epoch_all_s=(30.0, 10.0, 11.0), test_accuracy=(0.1, None, 0.3), seed=7)
    (back,) = read(tmp_path, mlperf_log(sent)).runs
    for field in ("gpus", "nodes", "global_batch", "work", "seed", "epoch_all_s", "epoch_s", "test_accuracy"):
        assert getattr(back, field) == getattr(sent, field), field
    assert back.condition("model") == sent.condition("model")


def test_mlperfs_own_parser_reads_what_goes_out(tmp_path):
    parser = pytest.importorskip("mlperf_logging.compliance_checker.mlp_parser.ruleset_500")
    path = tmp_path / "run.log"
    path.write_text(mlperf_log(run(4, epoch_all_s=(30.0, 10.0))))
    lines, errors = parser.parse_file(path)
    assert not errors
    assert [line.key for line in lines][-5:] == ["epoch_start", "epoch_stop", "epoch_start", "epoch_stop", "run_stop"]


def test_a_log_without_whole_epochs_is_no_table():
    with pytest.raises(ValueError, match="epochs with a start and a stop"):
        rows_of_mlperf(line(0, "epoch_start", epoch_num=1), {})
