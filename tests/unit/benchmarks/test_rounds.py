"""Interleaved turns: every round has each way once, a budget ends between rounds, ratios are paired."""

import sys

import pytest

from benchmarks.provenance import Table
from benchmarks.rounds import AGAIN, Took, compared, interleaved, ran, summary, timed, with_control


def test_every_round_gives_each_way_one_turn_in_changing_order():
    turns = []
    ways = {name: lambda name=name: turns.append(name) or len(turns) for name in "abc"}
    results = interleaved(ways, rounds=20)
    rounds = [tuple(turns[i : i + 3]) for i in range(0, 60, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) > 3
    assert sorted(number for numbers in results.values() for number in numbers) == list(range(1, 61))


def test_the_budget_ends_between_rounds_and_one_round_is_always_made(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("benchmarks.rounds.time.perf_counter", lambda: now[0])

    def turn():
        now[0] += 4
        return now[0]

    assert len(interleaved({"a": turn, "b": turn}, rounds=100, seconds=30)["a"]) == 3, "24 of 30 s; 32 would be over"
    assert len(interleaved({"a": turn}, rounds=100, seconds=0)["a"]) == 1


def test_the_control_is_the_same_way_once_more():
    ways = {"ours": lambda: 1, "floor": lambda: 2}
    assert with_control(ways, "floor")[AGAIN] is ways["floor"]


def test_ratios_are_paired_within_a_round_and_goals_judged_by_the_clock_that_was_named():
    turns = {"floor": [Took(1, 1), Took(10, 1)], "ours": [Took(2, 1.2), Took(20, 1.2)]}
    assert summary(turns, "floor")["ours"]["wall_ratio"] == {"ratio": 2, "low": 2, "high": 2}
    assert compared("t", turns, "floor", goals={"ours": 1.5}).rows[1][-1] == "1.5, not met"
    assert compared("t", turns, "floor", by="cpu", goals={"ours": 1.5}).rows[1][-1] == "1.5, met"


def test_a_process_is_measured_with_the_children_it_waited_for():
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    took = ran([sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"])
    assert took.cpu >= 0.1
    assert took.peak_mib > 1
    weight = bytearray(200 * 2**20)
    assert ran([sys.executable, "-S", "-c", ""]).peak_mib < 100, "the starter's memory is not the command's"
    del weight
    again, answer = timed(lambda: ran([sys.executable, "-c", burn]).cpu)
    assert again.cpu >= answer >= 0.1


def test_a_command_that_fails_says_what_it_said():
    with pytest.raises(RuntimeError, match=r"exit 3\nwhy"):
        ran([sys.executable, "-c", "import sys; sys.stderr.write('why'); sys.exit(3)"])
    ran([sys.executable, "-c", "raise SystemExit(3)"], may_exit=(0, 3))


def test_a_command_runs_on_the_packages_that_were_named_wherever_it_is_run(tmp_path, monkeypatch):
    for folder, code in (("here", "raise SystemExit(3)"), ("before", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "named.py").write_text(code)
    monkeypatch.chdir(tmp_path / "here")
    ran([sys.executable, "-m", "named"], code=tmp_path / "before")


def test_a_table_leaves_out_columns_that_hold_nothing():
    table = Table("Title", ("", "a", "b"), [("x", "1", ""), ("y", "2", "")])
    assert table.markdown() == "**Title**\n\n|  | a |\n| --- | --- |\n| x | 1 |\n| y | 2 |\n"
    assert table.text() == "Title\n   a  b\nx  1\ny  2"
