"""Tables show every asked cell, whatever became of it, and every point that could not be one."""

import pytest

from launchers.profile import Device
from tests.unit.builders import cell, point, record, result, series
from vit_sweep.plan import make_plan
from vit_sweep.point import Scaling
from vit_sweep.tables import SCALING_COLUMNS, runs_table, scaling_table

BOTH = (series(), series(Scaling.WEAK))
NOT_DONE = ("failed", "running", "queued", "missing")
MIXED = [
    result(cell(), record=record(cell())),
    *(result(cell(gpus=2 * n), status=status, detail=f"why {status}") for n, status in enumerate(NOT_DONE, start=1)),
]
POINTS = make_plan([point(), point(gpus=33), point(gpus=4, nodes=3), point(gpus=64, scaling=Scaling.WEAK)]).points
TABLES = {
    "strong": lambda results, points: scaling_table(results, points, Scaling.STRONG),
    "runs": runs_table,
}


@pytest.mark.parametrize("table", TABLES)
def test_every_asked_cell_appears_with_its_status_and_reason(table):
    rows = TABLES[table](MIXED, ())
    assert sorted(row["cell_id"] for row in rows) == sorted(asked.file.cell_id for asked in MIXED)
    assert {row["status"] for row in rows} == {"done", *NOT_DONE}
    assert all(row["note"] == f"why {row['status']}" for row in rows if row["status"] != "done")


def test_a_row_has_exactly_the_columns_of_the_table_in_their_order():
    rows = scaling_table(MIXED, POINTS, Scaling.STRONG)
    assert len(rows) == len(MIXED) + 2
    assert all(tuple(row) == SCALING_COLUMNS for row in rows)


def test_a_cell_that_serves_both_scalings_appears_in_both_tables():
    asked = [result(cell(), *BOTH, record=record(cell()))]
    strong, weak = (scaling_table(asked, (), mode) for mode in Scaling)
    assert [row["cell_id"] for row in strong] == [row["cell_id"] for row in weak] == [cell().cell_id]
    assert [row["scaling"] for row in runs_table(asked, ())] == ["strong weak"]


def test_a_cell_appears_only_in_the_table_of_its_scaling():
    asked = [result(cell(), series(Scaling.WEAK), record=record(cell()))]
    assert scaling_table(asked, (), Scaling.STRONG) == []
    assert len(scaling_table(asked, (), Scaling.WEAK)) == 1


@pytest.mark.parametrize(("mode", "gpus"), [(Scaling.STRONG, [33, 4]), (Scaling.WEAK, [64])])
def test_an_infeasible_point_appears_in_the_table_of_its_scaling_with_its_reasons(mode, gpus):
    rows = scaling_table((), POINTS, mode)
    assert [row["gpus"] for row in rows] == gpus
    reasons = {made.axes["gpus"]: "; ".join(made.reasons) for made in POINTS}
    for row in rows:
        assert (row["status"], row["note"]) == ("infeasible", reasons[row["gpus"]])
        assert (row["epoch_s"], row["speedup"], row["cell_id"]) == (None, None, None)


def test_infeasible_points_are_runs_that_never_were():
    rows = [row for row in runs_table(MIXED, POINTS) if row["status"] == "infeasible"]
    assert [row["gpus"] for row in rows] == [33, 4, 64]
    assert all("use " in row["note"] for row in rows)
    assert all("epoch_s" not in row for row in rows)


def test_an_infeasible_run_says_which_scaling_asked_for_it():
    assert [row["scaling"] for row in runs_table((), POINTS)] == ["strong", "strong", "weak"]


def test_all_violated_limits_are_in_the_note():
    points = make_plan([point(gpus=33, scaling=Scaling.WEAK, weak_fraction=0.5)]).points
    (row,) = scaling_table((), points, Scaling.WEAK)
    assert len(points[0].reasons) == 2
    assert row["note"] == "; ".join(points[0].reasons)


def test_a_scaling_row_holds_the_measured_numbers():
    (row,) = scaling_table([result(cell(), record=record(cell(), (9.0, 2.0, 4.0)))], (), Scaling.STRONG)
    assert (row["epoch_s"], row["spread_s"], row["n"], row["first_epoch_s"]) == (3.0, 2.0, 2, 9.0)
    assert (row["speedup"], row["efficiency"], row["batch"], row["placement"]) == (1, 1, 16, "packed")
    assert (row["train_accuracy"], row["test_accuracy"]) == (0.25, 0.125)


def test_both_tables_agree_on_what_they_share():
    asked = [result(cell(gpus=g), record=record(cell(gpus=g), (9.0, 2.0 / g, 2.0 / g))) for g in (1, 2)]
    shared = set(SCALING_COLUMNS) & set(runs_table(asked, ())[0])
    assert {"epoch_s", "step_ms", "images_per_s", "note", "gpus", "test_accuracy"} <= shared
    for scaling, run in zip(scaling_table(asked, (), Scaling.STRONG), runs_table(asked, ()), strict=True):
        assert {name: scaling[name] for name in shared} == {name: run[name] for name in shared}


def test_oversubscription_is_said_in_both_tables():
    crowded = cell(gpus=4, device=Device.CPU)
    asked = [result(crowded, record=record(crowded, host_cores=2))]
    for rows in (scaling_table(asked, (), Scaling.STRONG), runs_table(asked, ())):
        assert [(row["oversubscribed"], row["note"]) for row in rows] == [
            (True, "oversubscribed: 4 ranks on 2 core(s)")
        ]


def test_a_run_row_names_where_and_with_what_it_ran():
    made = cell(gpus=4, nodes=2)
    (row,) = runs_table([result(made, record=record(made))], ())
    assert (row["hosts"], row["devices"]) == ("node0 node1", "Tesla T4")
    assert (row["version_python"], row["attempt"], row["job_id"]) == ("3.11", "1", "17_0")
    assert (row["global_batch"], row["peak_memory_mib"], row["peak_host_mib"]) == (64, None, 500.0)
