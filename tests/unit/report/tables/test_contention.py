"""Every table names the contended runs that its numbers rest on: planted in each run of a study, one by one."""

from dataclasses import replace
from functools import cache

import pytest

from tests.unit.analysis.builders import run, without_time
from tests.unit.report.tables.test_tables import tables
from vit_sweep.analysis.laws.fits import fit
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_all_intervals
from vit_sweep.plan.choices import Scaling
from vit_sweep.record.learning import Reached
from vit_sweep.report.page.laws import answers_by_series, answers_table
from vit_sweep.report.page.proposal import propose
from vit_sweep.report.page.published import comparison_table
from vit_sweep.report.tables.all_tables import NAMES
from vit_sweep.report.tables.form.table import HIGH, LOW

FLAG = "host contended: rank 0 on node0 (no core for 23% of the time, load 13.0 on 8 cores)"
EVERYTHING = [
    *(
        run(gpus, (10 / gpus + micro / 100 + seed,), micro_batch=micro, seed=seed, run_id=f"g{gpus}-{micro}-{seed}")
        for gpus in (1, 2)
        for micro in (16, 32)
        for seed in (0, 1)
    ),
    *(run(1, (9.0,), accum=2, run_id=f"accum-{seed}", seed=seed) for seed in (0, 1)),
    *(run(2, (6.0,), placement="spread", nodes=2, run_id=f"spread-{seed}", seed=seed) for seed in (0, 1)),
    *(run(gpus, (11.0,), scaling=Scaling.WEAK, work=1600 * gpus, run_id=f"weak-{gpus}") for gpus in (1, 2)),
    run(1, (12.0,), conditions={"engine": "zero1", "engine.zero_stage": "1"}, run_id="zero1"),
    *(run(1, (side / 10,), conditions={"model.image_size": str(side)}, run_id=f"px-{side}") for side in (224, 512)),
    run(2, (7.0,), continued_from="outputs/s/g1-16-0", run_id="went-on", curves=()),
    without_time(4, run_id="lost"),
]
TIMED = [one.run_id for one in EVERYTHING if one.timed]
OF_INTERVALS = (LOW, HIGH, "freedom", "verdict", "flags", "between")


def study(slow="", contended=""):
    """All of it, one run of which took half as long again, or waited for cores."""
    times = [tuple(seconds * (1.5 if one.run_id == slow else 1.0) for seconds in one.epoch_s) for one in EVERYTHING]
    return [
        replace(
            one,
            epoch_s=epoch_s,
            job_s=100 * epoch_s[0] if epoch_s else None,
            test_accuracy=(0.6,) if one.timed else (),
            memory_mib=1000.0,
            flags=(FLAG,) if one.run_id == contended else (),
        )
        for one, epoch_s in zip(EVERYTHING, times, strict=True)
    ]


@cache
def all_tables(slow="", contended=""):
    runs = study(slow, contended)
    ends = {one.run_id: Reached(seconds=one.epoch_s[0], epoch=1, below_s=0.0) for one in runs if one.timed}
    return tables(runs, reached={name: (0.5, end) for name, end in ends.items()}) | of_page(runs)


def of_page(runs):
    """The tables that the page makes of series."""
    series = with_all_intervals(curve for mode in Scaling for curve in group(runs, mode))
    proposal = propose(series, runs, threshold=0.4)
    made = [comparison_table(series, [], "nobody"), proposal.resources, proposal.evidence]
    return {
        table.name: table
        for table in [
            *made,
            answers_table(answers_by_series([(one, fit(one)) for one in series], threshold=0.4), threshold=0.4),
        ]
    }


def values(table):
    """What it says of times, without how sure it is."""
    return [{name: row[name] for name in row if not name.endswith(OF_INTERVALS)} for row in table.rows]


def test_the_study_has_every_table():
    rests_on_no_time = {"decisions", "waiting"}
    assert set(all_tables()) == {*NAMES, "beside", "resources", "scalability", "answers"} - rests_on_no_time


@pytest.mark.parametrize("name", sorted({*all_tables()} - {"runs"}))
def test_a_table_names_the_contended_runs_that_its_numbers_rest_on_and_no_others(name):
    for run_id in TIMED:
        rests_on_it = values(all_tables(slow=run_id)[name]) != values(all_tables()[name])
        named = [
            note for note in all_tables(contended=run_id)[name].notes if note.startswith(f"host contended: {run_id} ")
        ]
        assert named or not rests_on_it, run_id
        assert rests_on_it or not named or name not in NAMES, f"{run_id}: a choice of the page may rest on all"
    assert not any("host contended" in note for note in all_tables()[name].notes)


def test_the_table_of_runs_has_one_row_for_each_and_shows_its_own_flags():
    rows = {row["cell_id"]: row["flags"] for row in all_tables(contended="zero1")["runs"].rows}
    assert {name for name, flags in rows.items() if flags} == {"zero1"}
    assert rows["zero1"] == FLAG


def test_a_flag_of_a_scaling_row_is_said_once():
    runs = [run(1), run(2, (5.0,), flags=("throttled: rank 0", FLAG))]
    assert tables(runs)["strong"].rows[1]["flags"] == f"throttled: rank 0; {FLAG}"
