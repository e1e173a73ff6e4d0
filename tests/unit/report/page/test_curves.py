"""What the page's curves and sliders hold: measured points with cells and hosts, and what `predict` says, no more."""

import json
from dataclasses import replace

import pytest

from tests.unit.analysis.builders import series_from
from tests.unit.report.page.contents import HOSTILE, curves
from vit_sweep.analysis.laws.predicting import Prediction, Refusal, plausible, predict
from vit_sweep.report.page.curves import counts_of, curve_of, data_of
from vit_sweep.report.tables.form.rounding import estimate_text


def data(series_and_fits):
    """What the browser reads."""
    return json.loads(data_of(curve_of(series, fits) for series, fits in series_and_fits))


def test_every_count_says_what_predict_says_in_number_and_word():
    """Of a law over 1 to 16 GPUs: interpolated, extrapolated to 64, refused beyond."""
    (_, fits), _ = curves()
    laws, kinds = plausible(fits), set()
    (made, _) = data(curves())
    for said in made["fitted"]:
        meant = predict(laws, said["gpus"])
        if isinstance(meant, Refusal):
            assert said["refusal"] == meant.reason and "time" not in said
            kinds.add("refused")
            continue
        assert isinstance(meant, Prediction)
        assert said["time"] == [meant.time_s.value, meant.time_s.low, meant.time_s.high, estimate_text(meant.time_s)]
        assert said["efficiency"][:3] == [meant.efficiency.value, meant.efficiency.low, meant.efficiency.high]
        assert said["hours"][0] == pytest.approx(said["gpus"] * meant.time_s.value / 3600, rel=1e-12)
        assert said.get("extrapolated", False) is meant.extrapolated is (said["gpus"] > 16)
        kinds.add("beyond" if meant.extrapolated else "within")
    assert kinds == {"refused", "beyond", "within"}


def test_a_point_says_its_cells_hosts_and_interval_and_no_text_ends_its_element():
    text = data_of(curve_of(*one) for one in curves())
    assert not set("<>&") & set(text)
    point = json.loads(text)[0]["measured"][1]
    assert point["gpus"] == 2 and point["n"] == 3 and point["cells"] == ["g2-s0", "g2-s1", "g2-s2"]
    assert point["hosts"] == ["node0", HOSTILE]
    value, low, high, words = point["time"]
    assert low < value < high and words.startswith("51.5") and "[" in words


def test_no_host_turns_the_writing_of_the_page():
    series = series_from({1: (10.0,), 2: (6.0,)}, hosts=("gpu\u202e01\x1b",))
    assert json.loads(data_of([curve_of(series, ())]))[0]["measured"][0]["hosts"] == ["gpu\ufffd01\u241b"]


def test_too_few_counts_for_a_law_are_refused_everywhere_in_its_words():
    _, short = data(curves())
    assert short["laws"] == [] and [said["gpus"] for said in short["measured"]] == [1, 2]
    assert all("needs 3 GPU counts" in said["refusal"] for said in short["fitted"])


def test_a_family_is_all_but_its_batch():
    """`batch per global` says what a batch counts: the slider never goes from one kind to the other."""
    series = replace(series_from({1: (10.0,), 2: (6.0,)}), label="zero1, batch 1,024, batch per global")
    made = curve_of(series, ())
    assert made.family == "strong scaling, zero1, batch per global"
    assert made.label == "strong scaling, zero1, batch 1,024, batch per global"


def test_a_thousand_gpus_are_asked_in_steps_that_a_slider_has():
    series = series_from({1: (10.0,), 96: (0.5,), 1024: (0.1,)})
    counts = counts_of(series)
    assert set(counts) >= {*range(1, 65), 96, 1024, 4096, 8192} and max(counts) == 8192
    assert len(counts) < 300 and list(counts) == sorted(set(counts))


def test_whole_nodes_are_paid_for_where_the_measured_runs_held_them():
    series = series_from({1: (10.0,), 2: (6.0,), 4: (4.0,)}, node_gpus=4, allocated_gpus=4)
    paid = {said.gpus: said.paid_gpus for said in curve_of(series, ()).fitted}
    assert (paid[1], paid[3], paid[4], paid[5], paid[16]) == (4, 4, 4, 8, 16)
    alone = series_from({1: (10.0,), 2: (6.0,), 4: (4.0,)}, node_gpus=4)
    assert {said.gpus - said.paid_gpus for said in curve_of(alone, ()).fitted} == {0}
