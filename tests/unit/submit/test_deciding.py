"""A study decides by its records and its earlier decisions alone, and a client that is killed loses none of them."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from launchers.checked import to_json
from launchers.errors import UserError
from tests.unit.builders import cell, data, entry, planned_study, point, record, result
from vit_sweep.__main__ import main
from vit_sweep.cli.terminal import show
from vit_sweep.outcome.ending import Cause, Exit, RankFile
from vit_sweep.plan.deciding.decision import Answer, DecisionEntry
from vit_sweep.plan.deciding.one_curve import candidates_of
from vit_sweep.plan.deciding.question import DecideRule, question_of
from vit_sweep.plan.plan import make_plan
from vit_sweep.record.stats import spent_gpu_hours
from vit_sweep.report.tables.decisions import decisions_table
from vit_sweep.study.journal import Event
from vit_sweep.study.store import Study
from vit_sweep.submit.deciding import decided, look, so_far
from vit_sweep.submit.question import propose

RULE = DecideRule(until="efficiency(8) +- 5 %", budget_gpu_hours=100, most=10)
POINTS = [point(gpus=gpus) for gpus in (1, 2, 4, 8)]
OFFERED = candidates_of(POINTS, make_plan(POINTS), question_of(RULE.until), None)
HOURS = dict.fromkeys(OFFERED, 0.1)
AT = "2026-11-30T00:00:00+00:00"


def done(gpus, seed, seconds):
    this_cell = replace(OFFERED[gpus].cell, seed=seed)
    return result(this_cell, record=record(this_cell, epoch_seconds=(2 * seconds, seconds, seconds)))


def decide(entries=(), results=(), rule=RULE):
    return look(rule, OFFERED, HOURS, entries, results, at=AT, lost=0)


FIRST = decide().entry


def results_of(entry, noise=0.002):
    """Every cell of a decision, finished."""
    return [done(gpus, seed, 8 / gpus * (1.1 if gpus > 1 else 1) * (1 + noise * seed)) for gpus, seed in entry.cells]


def test_the_first_decision_names_cells_of_the_grid_with_the_grids_own_seed_first():
    assert FIRST.cells == ((1, 0), (1, 1), (8, 0), (8, 1))
    assert set(decide().cells) == set(decided([FIRST], OFFERED))
    assert OFFERED[1].cell.cell_id in decide().cells


def test_a_decision_whose_cells_were_not_added_is_not_made_anew():
    """Killed between the line and the cells, or in the middle of these."""
    for finished in range(len(FIRST.cells)):
        decision = decide([FIRST], results_of(FIRST)[:finished])
        assert not decision.new
        assert decision.entry == FIRST
        assert len(decision.cells) == len(FIRST.cells) - finished


@pytest.mark.parametrize("status", ["running", "queued", "missing", "cancelled", "unreadable"])
def test_nothing_is_decided_while_a_cell_may_still_get_its_record(status):
    *others, last = results_of(FIRST)
    decision = decide([FIRST], [*others, result(last.file.cell, status=status)])
    assert decision.entry is None
    assert not decision.cells


def test_the_same_records_give_the_same_decision_in_any_order():
    results = results_of(FIRST, noise=0.08)
    assert decide([FIRST], results) == decide([FIRST], results[::-1])


def test_further_runs_have_seeds_that_nobody_has_used():
    second = decide([FIRST], results_of(FIRST, noise=0.1)).entry
    assert second.cells
    assert not set(second.cells) & set(FIRST.cells)


def test_an_answer_is_written_once_and_another_budget_asks_again():
    decision = decide([FIRST], results_of(FIRST))
    assert decision.entry.decision.stop == "answered"
    again = decide([FIRST, decision.entry], results_of(FIRST))
    assert (again.new, again.entry) == (False, decision.entry)
    other = replace(RULE, budget_gpu_hours=7)
    assert decide([FIRST, decision.entry], results_of(FIRST), other).new


def test_another_question_begins_with_what_is_known_and_its_own_looks():
    other = replace(RULE, until="time(8) +- 1 %")
    decision = decide([FIRST], results_of(FIRST, noise=0.08), other)
    assert decision.entry.decision.look == 1
    assert {gpus for gpus, _ in decision.entry.cells} == {8}


def test_a_count_of_which_nothing_ran_is_given_up_and_one_failed_repeat_is_not():
    *others, last = results_of(FIRST, noise=0.1)
    one_failed = decide([FIRST], [*others, result(last.file.cell, status="failed")])
    assert one_failed.entry.cells
    none_ran = [r for r in others if r.file.cell.gpus == 1]
    none_ran += [result(replace(OFFERED[8].cell, seed=seed), status="out_of_memory") for seed in (0, 1)]
    assert "gpus=8 ended as out_of_memory" in decide([FIRST], none_ran).entry.decision.why


def test_cells_of_other_curves_count_for_nothing():
    others = [
        result(cell(gpus=8, micro_batch=32, seed=s), record=record(cell(gpus=8, micro_batch=32, seed=s)))
        for s in range(5)
    ]
    assert decide((), others).entry == FIRST


def test_decisions_outlive_a_line_that_was_cut_off(tmp_path):
    study = Study.create_or_resume(tmp_path / "s")
    study.journal_decision(FIRST)
    with (tmp_path / "s" / "decisions.jsonl").open("a") as file:
        file.write('{"at": "2026-')
    assert study.decisions() == [FIRST]
    study.journal_decision(replace(FIRST, runs=3))
    assert [entry.runs for entry in study.decisions()] == [0, 3]


def test_a_line_that_makes_no_sense_stops_whoever_would_decide(tmp_path):
    study = Study.create_or_resume(tmp_path / "s")
    (tmp_path / "s" / "decisions.jsonl").write_text('{"at": 7}\n')
    with pytest.raises(UserError, match="line 1"):
        study.decisions()


def offer(points, question=RULE.until):
    return candidates_of(points, make_plan(points), question_of(question), None)


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([point(gpus=g, batch=b) for g in (1, 2) for b in (16, 32)], "batch has 2 values"),
        ([point(gpus=g, data=data(n)) for g in (1, 2) for n in (1600, 3200)], "2 curves"),
        ([point(gpus=g, seed=s) for g in (1, 2) for s in (0, 1)], "seed has 2 values"),
        ([point(gpus=1)], "leaves 1 GPU count"),
        ([point(gpus=g) for g in (1, 3000)], "leaves 1 GPU count that can run"),
        ([point(gpus=g) for g in (8, 16)], "8 is the smallest GPU count"),
    ],
)
def test_a_grid_that_the_question_does_not_fit_is_refused_with_what_is_wrong(points, says):
    with pytest.raises(UserError, match=says):
        offer(points)


def test_an_entry_is_what_it_was_after_it_was_written(tmp_path):
    study = Study.create_or_resume(tmp_path / "s")
    study.journal_decision(FIRST)
    (entry,) = study.decisions()
    assert isinstance(entry, DecisionEntry)
    assert entry == FIRST


def standing(entries, results, rule=RULE):
    return so_far(rule, OFFERED, entries, results, lost=0)


def test_a_study_that_decides_says_how_far_it_is():
    before = standing([], [])
    assert (before.look, before.answered, before.stop, before.spent_gpu_hours) == (0, False, "", 0)
    assert before.sentence == (
        'asked "efficiency(8) +- 5 %": not answered yet; nothing is known yet; 0 of 100 GPU-hours spent'
    )
    results = results_of(FIRST)
    under_way = standing([FIRST], results[:1])
    assert (under_way.answered, under_way.runs, under_way.runs_since) == (False, 0, 1)
    last = decide([FIRST], results).entry
    after = standing([FIRST, last], results)
    assert (after.answered, after.stop, after.look, after.runs, after.runs_since) == (True, "answered", 2, 4, 0)
    assert after.answer == last.decision.answer
    assert after.spent_gpu_hours == pytest.approx(last.spent_gpu_hours)
    assert f"answered; {after.answer.sentence}, by look 2, of 4 runs" in after.sentence


@pytest.mark.parametrize("job_s", [None, 7200.0])
def test_what_runs_have_cost_is_what_their_records_say_and_not_what_was_planned(job_s):
    results = [replace(one, record=replace(one.record, job_s=job_s, startup_s=360.0)) for one in results_of(FIRST)]
    epochs = [sum(epoch.seconds for epoch in one.record.epochs) for one in results]
    gpus = [one.file.cell.gpus for one in results]
    known = sum(n * (job_s or 360 + s) / 3600 for n, s in zip(gpus, epochs, strict=True))
    last = decide([FIRST], results).entry
    assert last.spent_gpu_hours == pytest.approx(known)
    assert standing([FIRST, last], results).spent_gpu_hours == pytest.approx(known)


def test_where_the_budget_ended_it_the_study_says_so_until_it_gets_more():
    rule = replace(RULE, until="efficiency(8) +- 1 %", budget_gpu_hours=0.5)
    first = decide((), (), rule).entry
    results = results_of(first, noise=0.1)
    last = decide([first], results, replace(rule, budget_gpu_hours=1e-6)).entry
    assert last.decision.stop == "budget"
    ended = standing([first, last], results, replace(rule, budget_gpu_hours=1e-6))
    assert not ended.answered
    assert "not answered: budget_gpu_hours=1e-06" in ended.sentence
    more = standing([first, last], results, rule)
    assert (more.stop, more.why) == ("", "")
    assert "not answered yet" in more.sentence


def test_the_answer_to_another_question_is_not_told_as_that_to_the_studys_own():
    last = decide([FIRST], results_of(FIRST)).entry
    other = standing([FIRST, last], results_of(FIRST), replace(RULE, until="time(8) +- 1 %"))
    assert (other.answer, other.look, other.answered, other.runs_since) == (None, 0, False, 4)


def test_at_80_columns_the_table_keeps_what_was_chosen_why_and_what_it_changed():
    entries = [FIRST, decide([FIRST], results_of(FIRST, noise=0.1)).entry]
    table = decisions_table(entries)
    for width in (80, 60):
        console = Console(width=width, record=True, markup=False, highlight=False, file=io.StringIO())
        console.print(show.whole(table))
        lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= width
        text = " ".join(" ".join(lines).split())
        for row in table.rows:
            assert f"look {row['look']}" in text
            for name in ("answer", "chosen", "why", "changed"):
                assert row[name] in text
        assert "a wider terminal" not in text


def number(half_width):
    return Answer(sentence="so far", done=False, value=1.0, low=0.8, high=1.2, half_width=half_width)


def test_the_table_says_what_each_round_changed():
    second = decide([FIRST], results_of(FIRST, noise=0.1)).entry
    table = decisions_table([FIRST, second])
    first, then = table.rows
    assert (first["look"], first["changed"], first["chosen"]) == (1, "", "gpus=1 x 2, gpus=8 x 2")
    assert then["changed"] == "4 more"
    assert then["answer"] == second.decision.answer.sentence
    assert "variance" in then["why"]
    assert decisions_table([]) is None
    wide, narrow = (
        replace(second, runs=n, decision=replace(second.decision, answer=number(half)))
        for n, half in ((4, 0.2), (6, 0.1))
    )
    assert decisions_table([wide, narrow]).rows[1]["changed"] == "2 more: ±20.0% to ±10.0%"


def test_what_failed_attempts_have_cost_counts_in_the_budget():
    """Whoever pays pays for them: with all 3 GPU-hours lost nothing is left for a round."""
    results = results_of(FIRST, noise=0.1)
    rule = replace(RULE, budget_gpu_hours=3)
    free = look(rule, OFFERED, HOURS, [FIRST], results, at=AT, lost=0).entry
    paid = look(rule, OFFERED, HOURS, [FIRST], results, at=AT, lost=3).entry
    assert free.cells
    assert (paid.decision.stop, paid.cells) == ("budget", ())
    assert paid.spent_gpu_hours == pytest.approx(free.spent_gpu_hours + 3)
    status = so_far(rule, OFFERED, [FIRST, paid], results, lost=3)
    assert status.spent_gpu_hours == pytest.approx(paid.spent_gpu_hours)


def fail(study, cell_id, *, until):
    """Its first attempt on the ranks of one node, from the beginning of 30 November, without a record."""
    folder = study.cell_dir(cell_id) / "attempts" / "1"
    folder.mkdir(parents=True, exist_ok=True)
    began = RankFile(rank=0, world_size=8, host="n1", pid=1, job_id="7", started_at="2026-11-30T00:00:00+00:00")
    (folder / "rank0.json").write_text(to_json(began))
    study.write_exit(cell_id, "1", Exit(cause=Cause.BUG, message="", at=until))


def test_next_counts_attempts_that_failed(tmp_path):
    """Of an hour on 1 and one on 8 GPUs nothing is left but the ranks' files and the verdicts."""
    study, plan = planned_study(tmp_path / "s", *(place for place in POINTS if place.gpus in (1, 8)))
    for cell_id in plan.cells:
        fail(study, cell_id, until="2026-11-30T01:00:00+00:00")
        study.journal(entry(Event.SUBMITTED, "b", (cell_id, 1), handle="17"))
    assert propose(study, until=RULE.until, budget=7, most=10).entry.spent_gpu_hours == pytest.approx(9)
    with pytest.raises(UserError, match="--budget 0 pays no run"):
        propose(study, until=RULE.until, budget=0, most=10)


def test_the_sweeps_command_counts_attempts_that_failed(tmp_path, monkeypatch, capsys):
    """A week on one GPU left no record, and is more than the budget: the same command decides no further runs."""
    monkeypatch.chdir(tmp_path)
    words = ["-m", "gpus=1,4", "partition=vector_t4v2", "model=vit_b_16", "data=synthetic", "minutes=20", "study=s"]
    words += ["design=adaptive", "budget_gpu_hours=100", "until=efficiency(4) +- 1 %", "dry_run=true"]
    assert main(words) == 0
    study = Study(tmp_path / "outputs" / "s")
    (failed, *others) = study.cell_files()
    for file in others:  # far from each other, so that more runs are wanted
        times = (9.0, *[2.0 + file.cell.seed] * 2)
        (study.cell_dir(file.cell_id) / "record.json").write_text(to_json(record(file.cell, epoch_seconds=times)))
    study.journal(entry(Event.SUBMITTED, "b", *((file.cell_id, 1) for file in (failed, *others)), handle="17"))
    capsys.readouterr()
    fail(study, failed.cell_id, until="2026-11-30T01:00:00+00:00")
    assert main(words) == 0
    assert "– next gpus=1, about " in capsys.readouterr().out
    fail(study, failed.cell_id, until="2026-12-07T00:00:00+00:00")
    assert main(words) == 0
    assert "– budget: budget_gpu_hours=100: 168 are spent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("budget_gpu_hours=1e300", "budget_gpu_hours=1e+300 – must be at most 1e+18"),
        ("budget_gpu_hours=0", "budget_gpu_hours says when it stops at the latest"),
        ("max_repeats=1", "max_repeats=1: one run of a cell does not say how far its runs differ; give 2 or more"),
        ("repeats=3", "leave repeats out"),
    ],
)
def test_limits_that_allow_no_answer_are_refused_before_a_cell_runs(tmp_path, monkeypatch, capsys, word, says):
    monkeypatch.chdir(tmp_path)
    words = ["-m", "gpus=1,4", "partition=vector_t4v2", "model=vit_b_16", "data=synthetic", "study=s", "dry_run=true"]
    words += ["design=adaptive", "budget_gpu_hours=9", "until=efficiency(4) +- 1 %"]
    name = word.partition("=")[0]
    assert main([*(old for old in words if not old.startswith(f"{name}=")), word]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "outputs" / "s" / "study.json").exists()


def test_runs_that_stand_apart_give_no_time_and_were_paid_all_the_same():
    """Another GPU than the smallest count had is no point of the curve."""
    *others, last = results_of(FIRST, noise=0.1)
    ranks = tuple(replace(rank, device="another") for rank in last.record.ranks)
    results = [*others, replace(last, record=replace(last.record, ranks=ranks))]
    entry = decide([FIRST], results).entry
    assert entry.runs == len(results) - 1
    assert entry.spent_gpu_hours == pytest.approx(sum(spent_gpu_hours(one.record) for one in results))


def test_a_cell_that_was_dropped_is_not_added_again_and_no_longer_waited_for():
    *others, last = results_of(FIRST, noise=0.1)
    gone = last.file.cell_id
    assert set(decide([FIRST], others).cells) == {gone}
    next_look = look(RULE, OFFERED, HOURS, [FIRST], others, at=AT, lost=0, dropped=[gone])
    assert next_look.new
    assert gone not in next_look.cells
