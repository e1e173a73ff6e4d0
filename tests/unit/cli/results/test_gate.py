"""gate as typed: what it prints, writes, and exits with."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from launchers.checked import to_json
from tests.unit.builders import entry, planned_study, point, record
from vit_sweep.__main__ import main
from vit_sweep.outcome.ending import Cause, Exit
from vit_sweep.record.breakdown import Breakdown
from vit_sweep.record.counts import CollectiveKind, StepCounts
from vit_sweep.record.machine import Fingerprint
from vit_sweep.study.journal import Event

TIMES = {1: 4.0, 2: 2.1}
COUNTS = StepCounts(
    collectives=(CollectiveKind(name="all_reduce", calls=4.0, bytes=4e6),),
    operations=900.0,
    flop=1e9,
    host_reads=2.0,
    peak_memory_bytes=50_000_000,
    parameters=1000,
    all_parameters=1000,
)
ONE_MORE = replace(COUNTS, host_reads=3.0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def write_study(name, factor=1.0, *, counts=COUNTS, seeds=5, unfinished=0, spread=0.002, cpu="AMD EPYC 7B13", day=1):
    """A study below outputs/: 1 and 2 GPUs, each with so many repeats."""
    study, plan = planned_study(
        Path("outputs").absolute() / name, *(point(gpus=n, seed=seed) for n in TIMES for seed in range(seeds))
    )
    for cell_id, planned in list(plan.cells.items())[unfinished:]:
        cell = planned.cell
        seconds = factor * TIMES[cell.gpus] * (1 + spread * (cell.seed - 2))
        made = record(
            cell,
            epoch_seconds=(2 * seconds, seconds, seconds),
            breakdown=Breakdown(counts=counts),
            started_at=f"2025-01-{day:02}T00:00:00Z",
            versions={"python": "3.11", "torch": "2.11.0"},
            machine=tuple(Fingerprint(rank=rank, host="secret-host", cpu=cpu) for rank in range(cell.gpus)),
        )
        (study.cell_dir(cell_id) / "record.json").write_text(to_json(made))
    return study


def said(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_equal_studies_are_fine_and_exit_0(capsys):
    write_study("main")
    write_study("mine", 1.001)
    assert main(["gate", "mine", "--against", "outputs/main"]) == 0
    screen = said(capsys)
    assert "fine: 16 counts of 2 cells; 3 times (gpus=1; gpus=2; all 2 cells) not longer by 0.05" in screen
    assert screen.endswith("mine against main: fine in 19 checks")


def test_one_more_host_read_exits_1_with_a_sentence(capsys):
    write_study("main")
    write_study("mine", counts=ONE_MORE)
    assert main(["gate", "mine", "--against", "main"]) == 1
    screen = said(capsys)
    assert "worse: gpus=1; gpus=2: host reads of a step 3 instead of 2 (+1, +50.00%)" in screen
    assert screen.endswith("mine against main: worse in 2 of 19 checks")


def test_a_slow_down_exits_1_and_fewer_host_reads_pass_with_advice_to_renew(capsys):
    write_study("main", counts=ONE_MORE)
    write_study("mine", 1.2)
    assert main(["gate", "mine", "--against", "main"]) == 1
    assert "worse: gpus=1: epoch time 1.200 times as long (" in said(capsys)
    assert main(["gate", "mine", "--against", "main", "--slower", "0.3"]) == 0
    assert "better in some: renew the baseline" in said(capsys)


def test_where_nobody_can_tell_it_is_0_unless_somebody_wants_to_know(capsys):
    write_study("main", spread=0.03)
    write_study("mine", spread=0.03)
    assert main(["gate", "mine", "--against", "main"]) == 0
    screen = said(capsys)
    assert "cannot tell: gpus=1: epoch time 1.000 times as long" in screen
    assert "open; repeats=" in screen
    assert main(["gate", "mine", "--against", "main", "--strict"]) == 4


def test_a_baseline_in_a_file_says_what_the_study_would_and_names_no_host(here, capsys):
    write_study("main")
    write_study("mine", 1.2, counts=ONE_MORE)
    assert main(["gate", "main", "--write-baseline", "baseline.json"]) == 0
    text = Path("baseline.json").read_text()
    assert "secret-host" not in text and str(here) not in text
    capsys.readouterr()
    objects = []
    for against in ("main", "baseline.json"):
        assert main(["gate", "mine", "--against", against, "--json"]) == 1
        made = json.loads(capsys.readouterr().out)
        numbers = ((name, round(value, 9)) for c in made["checks"] for name, value in c.items() if type(value) is float)
        objects.append((list(numbers), [c["sentence"] for c in made["checks"]], made["notes"]))
        assert made["verdict"] == "worse"
    assert objects[0] == objects[1]
    assert main(["gate", "main", "--write-baseline", "again.json"]) == 0
    assert Path("again.json").read_text() == text, "two writings of one study are the same bytes"


def test_what_differs_between_the_runs_of_a_cell_lies_in_a_baseline_by_run(capsys):
    study = write_study("main")
    first = next(path for path in sorted(study.folder.glob("cells/*/record.json")) if "g2" in path.parent.name)
    first.write_text(first.read_text().replace('"host_reads": 2.0', '"host_reads": 9.0'))
    assert main(["gate", "main", "--write-baseline", "baseline.json"]) == 0
    write_study("mine", counts=replace(COUNTS, host_reads=8.0))
    assert main(["gate", "mine", "--against", "baseline.json"]) == 1
    assert "worse: gpus=1: host reads of a step 8 instead of 2" in said(capsys)


def test_junit_is_read_by_the_rules_of_its_readers_and_counts_what_it_holds(capsys):
    write_study("main")
    write_study("mine<&", 1.2, counts=ONE_MORE)
    assert main(["gate", "mine<&", "--against", "main", "--junit", "out/gate.xml"]) == 1
    root = ElementTree.parse("out/gate.xml").getroot()
    (suite,) = root
    assert (root.tag, suite.tag) == ("testsuites", "testsuite")
    cases = suite.findall("testcase")
    assert int(suite.get("tests")) == len(cases) == 19
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure")) == 5
    assert int(suite.get("skipped")) == len(suite.findall("testcase/skipped")) == 0
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == 19
    failure = suite.find("testcase[@name='gpus=1: host reads of a step']/failure")
    assert failure.get("message") == "worse: 3 instead of 2 (+1, +50.00%)"


def test_junit_skips_what_nobody_can_tell_and_fails_it_where_that_is_strict(capsys):
    write_study("main", seeds=1)
    write_study("mine", seeds=1)
    for options, kind in (([], "skipped"), (["--strict"], "failure")):
        main(["gate", "mine", "--against", "main", "--junit", "gate.xml", *options])
        suite = ElementTree.parse("gate.xml").getroot()[0]
        assert len(suite.findall(f"testcase/{kind}")) == 2


def test_markdown_is_added_to_what_is_there_and_has_a_row_for_all_that_is_not_a_fine_count():
    write_study("main")
    write_study("mine", counts=ONE_MORE)
    Path("summary.md").write_text("# before\n")
    assert main(["gate", "mine", "--against", "main", "--markdown", "summary.md"]) == 1
    page = Path("summary.md").read_text()
    assert page.startswith("# before\n## ❌ mine against main: worse in 2 of 19 checks\n")
    assert "| ❌ worse | gpus=2 | host reads of a step | 3 instead of 2 (+1, +50.00%) |" in page
    assert page.count("| ✅ fine |") == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["mine", "--against", "nowhere"], "nowhere"),
        (["mine", "--against", "nowhere.json"], "no such file; write one from a study that is as it should be"),
        (["mine", "--against", "other.json"], "is none: it was not written by gate STUDY --write-baseline"),
        (["mine", "--against", "broken.json"], "is none: it was not written by"),
        (["mine", "--against", "newer.json"], "schema_version=99 and this vit_sweep reads 1: another version wrote it"),
        (["mine", "--against", "cut.json"], "baseline cut.json: cells is missing"),
        (["mine", "--against", "empty"], "study empty: no cell of it has run"),
        (["half", "--against", "mine"], "study half: 3 cells have not ended: "),
        (["mine"], "what is the study held against? --against BASELINE, or write one"),
        (["mine", "--write-baseline", "baseline.yaml"], "write FILE.json"),
        (["mine", "--against", "mine", "--slower", "0"], "slower=0: a slow-down that matters lies above 0"),
        (
            ["mine", "--against", "mine", "--slower", "11"],
            "slower=11: a slow-down that matters lies above 0, and at 10",
        ),
        (["mine", "--against", "mine", "--slower", "nan"], "slower=nan: a slow-down that matters lies above 0"),
        (["mine", "--against", "mine", "--tolerance", "flops=0.1"], "tolerance=flops: nothing of this name is counted"),
        (["mine", "--against", "mine", "--tolerance", "flop"], "write COUNT=PART"),
        (["mine", "--against", "mine", "--tolerance", "flop=2"], "a part of the count, 0 to 1"),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence, capsys):
    write_study("mine")
    write_study("half", unfinished=3)
    write_study("empty", unfinished=10)
    assert main(["gate", "mine", "--write-baseline", "good.json"]) == 0
    good = json.loads(Path("good.json").read_text())
    Path("other.json").write_text('{"a": 1}')
    Path("broken.json").write_text("{")
    Path("newer.json").write_text(json.dumps(good | {"schema_version": 99}))
    Path("cut.json").write_text(json.dumps({name: value for name, value in good.items() if name != "cells"}))
    capsys.readouterr()
    assert main(["gate", *words]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert len(told.splitlines()) == 1


def test_where_no_run_of_either_side_has_finished_nothing_is_guarded_and_the_gate_is_not_passed(capsys):
    for name in ("before", "after"):
        study = write_study(name, seeds=1, unfinished=2)
        for file in study.cell_files():
            study.journal(entry(Event.SUBMITTED, "b", (file.cell_id, 1), handle="17"))
            study.write_exit(file.cell_id, "1", Exit(cause=Cause.BUG, message="it broke"))
    assert main(["gate", "after", "--against", "before"]) == 2
    assert "no run of study after has finished, nor one of its baseline before" in capsys.readouterr().err
    write_study("mine", seeds=1)
    assert main(["gate", "mine", "--against", "before"]) == 0
    assert main(["gate", "after", "--against", "mine"]) == 1


def test_a_study_of_before_counts_is_told_apart_from_one_that_is_fine(capsys):
    write_study("main")
    write_study("mine", counts=None)
    assert main(["gate", "mine", "--against", "main", "--strict"]) == 4
    assert "counts of the study: its runs were not counted: they are of an older vit_sweep" in said(capsys)


def test_a_history_has_a_line_a_gate_and_says_since_when_something_is_otherwise(here, capsys, monkeypatch):
    monkeypatch.setattr("vit_sweep.cli.results.gate.commit_here", lambda: f"{number:040x}")
    for number in range(12):
        late = number >= 6
        write_study(f"s{number}", 1.1 if late else 1.0, day=1 + number, counts=ONE_MORE if late else COUNTS)
        assert main(["gate", f"s{number}", "--history", "history.jsonl"]) == 0
    capsys.readouterr()
    assert len(Path("history.jsonl").read_text().splitlines()) == 12
    assert main(["gate", "s11", "--history", "history.jsonl", "--figure", "out"]) == 0
    screen = said(capsys)
    assert "history.jsonl: 12 gates; these runs were in it already" in screen
    assert "since 000000000000 (2025-01-07): gpus=1; gpus=2: host reads of a step 3 instead of 2" in screen
    assert "since 000000000000 (2025-01-07): gpus=1: epoch time +10.0%" in screen
    assert {path.name for path in (here / "out").iterdir()} == {"history.png", "history.svg", "history.pdf"}


def test_a_line_of_a_history_that_was_cut_off_is_named_and_the_next_one_is_whole(capsys):
    write_study("one")
    assert main(["gate", "one", "--history", "history.jsonl"]) == 0
    with Path("history.jsonl").open("a") as file:
        file.write('{"at": "20')
    write_study("two", day=2)
    assert main(["gate", "two", "--history", "history.jsonl"]) == 0
    screen = said(capsys)
    assert "history.jsonl: 1 line is no gate's and passed over: 2" in screen
    assert "history.jsonl: 2 gates" in screen


def test_mistakes_of_a_history_are_one_sentence(capsys):
    write_study("one")
    Path("theirs.jsonl").write_text('{"a": 1}\n')
    assert main(["gate", "one", "--history", "theirs.jsonl"]) == 2
    assert main(["gate", "one", "--against", "one", "--figure", "out"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert "none of its lines is a gate's" in told[0]
    assert told[1].endswith("it draws a history; add --history FILE")
    assert Path("theirs.jsonl").read_text() == '{"a": 1}\n'
