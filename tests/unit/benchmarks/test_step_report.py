"""What the GPU benchmark makes of its times: peaks by a GPU's name, whole waves of a loader, MFU, paired ratios."""

from types import SimpleNamespace

import pytest
import yaml

from benchmarks.ratios import interval
from benchmarks.trainer.step_report import goals, peaks_of, row, said_peaks, steps_for
from tests.conftest import ROOT
from vit_sweep.plan.choices import Pipeline, Precision
from vit_sweep.plan.specs import ModelSpec

VIT_B = ModelSpec(name="b", image_size=224, patch_size=16, layers=12, heads=12, width=768, mlp_width=3072)
BF16 = SimpleNamespace(precision=Precision.BF16, compile=False, pipeline=Pipeline.DEVICE)
PROFILES = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf/partition").glob("*.yaml"))]


def block(*step_ms, phases=None):
    return SimpleNamespace(step_ms=step_ms, phases_ms=phases, peak_memory_mib=None)


@pytest.mark.parametrize(
    ("gpu", "bf16", "said_by"),
    [
        ("NVIDIA H100 80GB HBM3", 989, "h100_nvlink_ib"),
        ("NVIDIA H200", 989, "h100_nvlink_ib"),
        ("NVIDIA A40", 149.7, "vector_a40"),
        ("NVIDIA GeForce RTX 3070", 40.6, "tesla"),
        ("NVIDIA H100 PCIe", None, None),
        ("NVIDIA H200 MIG 1g.18gb", None, None),
        ("NVIDIA A100-SXM4-80GB", None, None),
        ("", None, None),
    ],
)
def test_the_peak_is_that_of_the_same_chip_on_the_same_board_or_unknown(gpu, bf16, said_by):
    peaks, source = peaks_of(gpu, PROFILES)
    assert (peaks.get("bf16"), source) == (bf16, said_by)


def test_a_stated_peak_is_read_and_nonsense_refused():
    assert said_peaks("bf16=989, fp32=67") == {"bf16": 989, "fp32": 67}
    with pytest.raises(ValueError):
        said_peaks("989")


def test_a_block_holds_whole_waves_of_a_loader_where_it_can():
    assert steps_for(2.0, 0.1, 0) == 20
    assert steps_for(2.0, 0.1, 8) == 16
    assert steps_for(0.5, 0.1, 8) == 5, "fewer steps than workers: no whole wave fits"
    assert steps_for(0.1, 1.0, 8) == 4


def test_mfu_is_model_flops_over_the_peak_and_ratios_are_paired():
    """ViT-B/16 at 224: 105.2 GFLOP an image, so 45 % of 989 TFLOP/s are 4,231 images/s."""
    blocks = [block(60.5, 60.5), block(121.0, 121.0)]  # 256 images each: 4,231 and 2,116 images/s
    summary = row(BF16, blocks, batch=256, paper=[423.1, 211.6], model=VIT_B, classes=1000, peak=989, matmul=None)
    assert summary["mfu"]["high"] == pytest.approx(0.45, abs=0.0005)
    assert summary["mfu"]["low"] == pytest.approx(0.225, abs=0.0005)
    assert summary["of_matmul"] is None
    times = summary["times_paper"]
    assert times["low"] == pytest.approx(times["high"], rel=1e-3), "a GPU that got slower hurt both alike"
    assert times["median"] == pytest.approx(10, rel=1e-3)


def test_a_rate_is_of_all_steps_of_a_block_not_of_its_usual_one():
    """A loader in waves: one step in four waits."""
    summary = row(BF16, [block(10, 10, 10, 70)], batch=10, paper=None, model=VIT_B, classes=10, peak=None, matmul=None)
    assert summary["images_per_s"]["median"] == 400
    assert summary["step_ms"]["median"] == 10
    assert (summary["mfu"], summary["times_paper"], summary["phases_ms"]) == (None, None, None)


def test_phases_are_medians_over_rounds_and_what_is_not_taken_apart_stays_empty():
    blocks = [block(5, phases={"forward": ms, "communication": None}) for ms in (1.0, 9.0, 2.0)]
    summary = row(BF16, blocks, batch=1, paper=None, model=VIT_B, classes=10, peak=None, matmul=None)
    assert summary["phases_ms"] == {"forward": 2.0, "communication": None}


def test_goals_look_at_bf16_only_and_say_none_where_nothing_was_measured():
    best = {"status": "measured", "precision": "bf16", "mfu": {"median": 0.4}, "times_paper": {"median": 7.0}}
    other = {"status": "measured", "precision": "fp32", "mfu": {"median": 0.9}, "times_paper": {"median": 9.0}}
    failed = {"status": "failed", "reason": "no compiler"}
    reached = goals({"a": best, "b": other, "c": failed})
    assert (reached["mfu"]["best"], reached["times_paper"]["best"]) == (0.4, 7.0)
    assert goals({"c": failed})["mfu"]["best"] is None


def test_the_interval_holds_the_median_and_is_all_of_few_values():
    assert interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    low, high = interval(range(100))
    assert (low, high) == (40, 59)
