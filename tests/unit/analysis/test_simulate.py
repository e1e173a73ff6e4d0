"""Simulated curves are the formula's, say what they rest on, and are never to be taken for measurements."""

import re
from dataclasses import replace
from math import log, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.errors import UserError
from launchers.profile import Link, Network
from tests.unit.builders import MODEL, cell, data, point, profile, record
from vit_sweep.__main__ import main
from vit_sweep.analysis.laws.simulate import counts_to, reductions, simulate
from vit_sweep.plan.point import BatchPer, EngineSpec, Placement, Precision, Scaling
from vit_sweep.plan.vit import parameters, train_flop
from vit_sweep.record.stats import throughput

NETWORK = Network(inside=Link(gb_per_s=4, latency_us=20), between=Link(gb_per_s=2, latency_us=50))
LAB = profile(peak_tflops={"fp32": 8.0}, network=NETWORK, gpu_memory_gib=15.0)
IMAGES = data(64_000)
SIZE = 4 * parameters(MODEL, IMAGES.classes)
PER_IMAGE_S = train_flop(MODEL, IMAGES.classes) / (0.3 * 8e12)


def ask(counts=(1, 2, 4, 8, 16), *, imbalance=0.0, finished=(), **changes):
    given_point = point(**({"partition": LAB, "data": IMAGES} | changes))
    return simulate(given_point, counts, imbalance=imbalance, finished=finished)


def test_a_point_is_the_formula_by_hand():
    """8 GPUs of one node: 500 steps of 16 images' computation and a ring over the inner link; 16: the outer one."""
    made = {one.gpus: one for one in ask(imbalance=0.02).points}
    compute = 16 * PER_IMAGE_S
    wait = compute * 0.02 * sqrt(2 * log(8))
    ring = 14 * 20e-6 + 14 / 8 * SIZE / 4e9
    assert made[8].steps == 500  # 64,000 / (16 x 8)
    assert made[8].step_ms == pytest.approx(1000 * (compute + wait + ring))
    assert made[8].epoch_s == pytest.approx(500 * (compute + wait + ring))
    assert made[8].images_per_s == pytest.approx(64_000 / made[8].epoch_s)
    assert made[8].gpu_hours == pytest.approx(8 * made[8].epoch_s / 3600)
    assert (made[8].nodes, made[16].nodes) == (1, 2)
    assert made[16].allreduce_ms == pytest.approx(1000 * (30 * 50e-6 + 30 / 16 * SIZE / 2e9))
    assert made[8].speedup == pytest.approx(made[1].epoch_s / made[8].epoch_s)
    assert made[8].efficiency == pytest.approx(made[8].speedup / 8)
    assert (made[1].speedup, made[1].efficiency, made[1].allreduce_ms) == (1, 1, 0)


def test_doublings_reach_1024():
    assert counts_to(1024) == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    assert counts_to(100)[-1] == 64
    made = ask(counts_to(1024))
    assert [one.gpus for one in made.points] == list(counts_to(1024))
    assert {one.gpus for one in made.points if one.beyond} == {64, 128, 256, 512, 1024}  # the lab has 4 x 8
    assert "* more than lab has: 4 node(s) x 8 GPU(s)" in made.notes


def test_spread_placement_always_crosses_nodes():
    made = {one.gpus: one for one in ask((1, 2, 4, 8), placement=Placement.SPREAD).points}
    assert made[4].nodes == 4
    assert made[4].allreduce_ms == pytest.approx(1000 * (6 * 50e-6 + 6 / 4 * SIZE / 2e9))
    assert made[8].beyond


def test_weak_scaling_keeps_the_steps_and_says_where_the_data_end():
    made = ask(scaling=Scaling.WEAK, weak_fraction=0.125)
    assert {one.steps for one in made.points} == {500}
    assert made.points[-1].efficiency == pytest.approx(made.points[0].epoch_s / made.points[-1].epoch_s)
    assert made.points[-1].speedup == pytest.approx(16 * made.points[-1].efficiency)
    (note,) = made.notes
    assert "beyond 8 GPUs the curve is of a larger set" in note


def test_a_fixed_global_batch_shrinks_the_micro_batch():
    made = ask((1, 2, 4, 3, 256), batch=128, batch_per=BatchPer.GLOBAL)
    assert [(one.gpus, one.steps) for one in made.points] == [(1, 500), (2, 500), (4, 500)]
    assert made.points[2].compute_ms == pytest.approx(made.points[0].compute_ms / 4)
    assert made.impossible[0] == "gpus=3: 128 images do not divide over 3 ranks x 1 micro step(s)"
    assert "gpus=256" in made.impossible[1]


def test_a_global_batch_above_the_images_cannot_be_and_a_smaller_one_is_named():
    made = ask((1, 128), data=data(1600))
    assert [one.gpus for one in made.points] == [1]
    (reason,) = made.impossible
    assert "global batch of 2048 is more than the 1600 images of an epoch; use batch=12 or less" in reason


def test_finished_runs_replace_the_guess():
    """100 steps of 16 images in 2 s: 1.25 ms an image."""
    one = cell(gpus=1)
    made = ask(finished=(throughput(record(one, (9.0, 2.0, 2.0))),))
    first = made.inputs[0]
    assert (first.value, first.guess) == ("1.25 ms", False)
    assert one.cell_id in first.source
    assert made.points[0].compute_ms == pytest.approx(20)
    assert ask().inputs[0].guess
    assert "30% of 8 TFLOP/s" in ask().inputs[0].source


@pytest.mark.parametrize(("stage", "accum", "times"), [(0, 1, 1), (1, 4, 1), (2, 4, 4), (3, 1, 1.5), (3, 2, 3)])
def test_the_traffic_of_a_zero_stage(stage, accum, times):
    engine = EngineSpec(name=f"zero{stage}", zero_stage=stage)
    assert reductions(cell(engine=engine, accum=accum)) == times
    plain, made = (ask((2,), accum=accum, engine=e).points[0].allreduce_ms for e in (cell().engine, engine))
    assert made == pytest.approx(times * plain)


def test_every_input_is_told_with_its_source_and_a_link_of_a_profile_is_no_measurement_of_this_case():
    found = {one.name: one for one in ask().inputs}
    assert list(found) == [
        "computation of an image", "gradient of a step", "link inside a node", "link between nodes", "imbalance",
        "overlap",
    ]  # fmt: skip
    assert found["link between nodes"].value == "2 GB/s, 50 us"
    assert found["gradient of a step"].value == f"{SIZE / 1e6:.1f} MB"
    assert [name for name, one in found.items() if not one.guess] == ["gradient of a step"]
    inner = replace(LAB, network=Network(inside=NETWORK.inside))
    assert "not in the profile" in {one.name: one for one in ask(partition=inner).inputs}["link between nodes"].source
    assert "link between nodes" not in {one.name for one in ask((1, 2, 8)).inputs}


def test_half_precision_halves_the_gradient():
    lab = replace(LAB, peak_tflops={"fp16": 65.0})
    whole, half = ask((2,)), ask((2,), partition=lab, precision=Precision.FP16)
    latency = 1000 * 2 * 20e-6
    assert half.points[0].allreduce_ms - latency == pytest.approx((whole.points[0].allreduce_ms - latency) / 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": profile(peak_tflops={"fp32": 8.0})}, "its profile has no network"),
        ({"partition": profile(network=NETWORK)}, "nobody knows how fast an image is"),
        ({"partition": replace(LAB, refused_precisions=("fp32",))}, "precision=fp32"),
        ({"scaling": Scaling.WEAK, "batch_per": BatchPer.GLOBAL}, "weak scaling keeps the work of each GPU"),
        ({"counts": ()}, "needs GPU counts of one or more"),
        ({"imbalance": -1.0}, "imbalance=-1"),
        ({"imbalance": float("nan")}, "imbalance=nan"),
    ],
    ids=str,
)
def test_what_cannot_be_simulated_is_a_sentence(changes, words):
    with pytest.raises(UserError, match=re.escape(words)):
        ask(**changes)


def test_a_site_that_does_not_allow_one_gpu_can_be_simulated():
    assert len(ask((8, 16), partition=replace(LAB, allowed_gpus=(8, 16))).points) == 2


@settings(max_examples=30)
@given(st.floats(0.1, 500), st.floats(1, 200), st.floats(0, 0.2))
def test_no_link_makes_a_curve_better_than_ideal(gb_per_s, latency_us, imbalance):
    network = Network(inside=Link(gb_per_s=gb_per_s, latency_us=latency_us))
    made = ask(counts_to(64), partition=replace(LAB, network=network), imbalance=imbalance)
    assert all(one.efficiency <= 1 + 1e-9 for one in made.points)
    steps = [one.step_ms for one in made.points]
    assert steps == sorted(steps)


# --- the verb ------------------------------------------------------------------------------------------------

T4 = ["simulate", "partition=vector_t4v2", "model=vit_b_16", "data=cifar100", "batch=64"]


def test_the_verb_prints_a_marked_table_and_the_inputs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*T4, "--max-gpus", "512", "--no-figure"]) == 0
    answer = capsys.readouterr().out
    assert answer.count("SIMULATED") >= 3
    assert re.search(r"^ +\*512 +64 +32768 +2 ", answer, re.MULTILINE)
    assert "a guess" in answer
    assert list(tmp_path.iterdir()) == []


def test_the_verbs_figures_are_marked_and_name_what_they_rest_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*T4, "gpus=1,8,64", "scaling=weak"]) == 0
    folder = tmp_path / "outputs/simulated"
    name = "simulated-vit_b_16-cifar100-vector_t4v2-weak"
    assert {path.name for path in folder.iterdir()} == {f"{name}{suffix}" for suffix in (".png", ".svg", ".pdf")}
    assert "SIMULATED" in (folder / f"{name}.svg").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["partition=local"], "partition=local: its profile has no network"),
        (["batch=16,32"], "one curve is simulated at a time"),
        (["gpus=1,x"], "gpus=1,x: GPU counts are whole numbers"),
        (["nodes=2"], "use placement=packed or placement=spread"),
        (["bathc=3"], "did you mean batch?"),
        (["grid=paper_fig4"], "a named grid has several cells"),
    ],
)
def test_a_wrong_word_is_the_users_mistake(words, said):
    from vit_sweep.cli.simulate import read_words

    with pytest.raises(UserError, match=re.escape(said)):
        read_point, counts = read_words(words)
        simulate(read_point, counts or (1, 2))


def test_the_verb_ends_with_2_on_a_mistake_and_1_where_nothing_can_be(capsys):
    assert main(["simulate", "partition=nope"]) == 2
    assert main([*T4, "gpus=100000", "--no-figure"]) == 1
    capsys.readouterr()
    assert main(["simulate", "--help"]) == 0
    helped = capsys.readouterr().out
    assert "Examples: python -m vit_sweep simulate partition=vector_t4v2" in re.sub(r"\s+", " ", helped)
