"""Runs of contended hosts among quiet ones are named wherever their times are pooled or compared."""

from dataclasses import replace

import pytest

from tests.unit.analysis.builders import run, series_from
from vit_sweep.analysis.answers import Question, answers
from vit_sweep.analysis.compare import compare
from vit_sweep.analysis.laws.fits import fit
from vit_sweep.analysis.laws.laws import Law
from vit_sweep.analysis.series.contention import contention
from vit_sweep.analysis.series.spreads import Spreads
from vit_sweep.plan.choices import Scaling

FLAG = "host contended: rank 0 on node0 (no core for 23% of the time, load 13.0 on 8 cores)"
BUSY = run(2, seed=2, flags=("throttled: rank 0", FLAG))
QUIET = [run(2, seed=0), run(2, seed=1)]


def curve(scaling=Scaling.STRONG, **changes):
    """Five counts with two runs each; `changes`: of the second run on four GPUs."""
    known = {"bus_gb_per_s": 10.0, "latency_us": 20.0, "parameters": 1000}
    times = {gpus: [(1 + 99 / gpus,), (1.01 + 99 / gpus,)] for gpus in (1, 2, 4, 8, 16)}
    made = series_from(times, scaling=scaling, **known)
    points = [
        replace(point, runs=(point.runs[0], replace(point.runs[1], **changes))) if point.gpus == 4 else point
        for point in made.points
    ]
    return replace(made, points=tuple(points))


def test_contended_runs_are_named_with_how_many_others_they_stand_among():
    (note,) = contention([*QUIET, BUSY, BUSY])
    assert note.startswith(
        f"host contended: {BUSY.run_id} waited for cores that others had; pooled or compared with 2 "
    )
    assert contention(QUIET) == ()
    (note,) = contention([BUSY])
    assert note.endswith("waited for cores that others had (every run here): repeat it on a quiet host")


def test_only_runs_of_one_workload_whose_times_count_stand_among_each_other():
    elsewhere = [replace(one, run_id=f"{one.run_id}b", conditions=(("model", "b"),)) for one in QUIET]
    crowded = replace(QUIET[0], oversubscribed=True)
    (note,) = contention([BUSY, *elsewhere, crowded, replace(QUIET[1], epoch_s=())])
    assert " (every run here):" in note
    (note,) = contention([BUSY, QUIET[0], *elsewhere])
    assert note.startswith("host contended (vit_b_16, cifar100, lab, Tesla T4): ")
    assert "with 1 run without" in note


@pytest.mark.parametrize("law", Law)
def test_every_law_says_that_its_fit_rests_on_contended_runs(law):
    scaling = Scaling.WEAK if law is Law.GUSTAFSON else Scaling.STRONG
    noted, silent = (
        next(made for made in fit(series) if made.law is law)
        for series in (curve(scaling, flags=(FLAG,)), curve(scaling))
    )
    assert "g4-s1 waited for cores" in noted.notes[0]
    assert silent.notes == ()


@pytest.mark.parametrize("question", Question)
def test_every_answer_that_rests_on_times_says_so(question):
    noted, silent = (
        next(answer.notes for answer in answers(series, fit(series)) if answer.question is question)
        for series in (curve(flags=(FLAG,)), curve())
    )
    of_counts = question in (Question.NEXT, Question.SUPPORT)
    assert ("g4-s1 waited for cores" in " ".join(noted)) is not of_counts
    assert silent == ()


def test_a_comparison_says_on_which_side_a_host_was_contended():
    notes = compare([*QUIET, BUSY], QUIET).notes
    assert any(f"host contended: {BUSY.run_id} of a waited" in note and "with 4 runs" in note for note in notes)


def test_intervals_say_that_their_spread_is_partly_that_of_contended_hosts():
    def note(*cell):
        runs = [replace(one, epoch_s=(10.0 + number / 10,)) for number, one in enumerate(cell)]
        return Spreads([runs]).notes()[0]

    assert note(*QUIET, BUSY).endswith("; runs of contended hosts are among them")
    assert "contended" not in note(*QUIET)
