"""Exclusions, zipped axes, repeats and order: what the words mean, and what is refused in a sentence."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.errors import UserError
from tests.unit.builders import point
from vit_sweep.config.algebra import Order, columns, combinations, ordered, predicate, read_zips, select
from vit_sweep.plan.choices import Placement, Scaling
from vit_sweep.plan.plan import make_plan

GRID = [
    point(gpus=gpus, batch=batch, scaling=scaling)
    for gpus in (1, 2, 8)
    for batch in (16, 128)
    for scaling in (Scaling.STRONG, Scaling.WEAK)
]
AXES = point(gpus=8, batch=128, weak_fraction=0.1).axes

# --- exclusions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "holds"),
    {
        "gpus==8 and batch==128": True,
        "gpus==8 and batch==64": False,
        "gpus!=8 or scaling==strong": True,
        "not gpus==8": False,
        "not (gpus==8 and batch==64)": True,
        "gpus<8": False,
        "gpus<=8": True,
        "gpus>7": True,
        "gpus>=9": False,
        "1 < gpus <= 8": True,
        "1 < gpus <= 4": False,
        "batch in [64,128]": True,
        "batch not in [64,128]": False,
        "model in [vit_test, vit_b_16]": True,
        "model=='vit_test'": True,
        'partition=="lab"': True,
        "weak_fraction==0.1": True,
        "batch > gpus": True,
        "nodes==null": True,
        "nodes==None": True,
        "nodes < 2": False,  # null is neither above nor below
        "nodes >= 2": False,
        "gpus > -1": True,
    }.items(),
)
def test_a_predicate_is_read_as_written(text, holds):
    assert predicate(text, AXES).holds(AXES) is holds


@given(st.lists(st.sampled_from(["gpus==8", "batch<64", "scaling==weak", "gpus in [1,2]"]), max_size=3, unique=True))
def test_a_point_stays_exactly_if_no_predicate_holds_for_it(texts):
    python = {
        "gpus==8": lambda p: p.gpus == 8,
        "batch<64": lambda p: p.batch < 64,
        "scaling==weak": lambda p: p.scaling is Scaling.WEAK,
        "gpus in [1,2]": lambda p: p.gpus in (1, 2),
    }
    expected = [p for p in GRID if not any(python[text](p) for text in texts)]
    if not expected:
        with pytest.raises(UserError, match="nothing is left of"):
            select(GRID, exclude=texts, repeats=1)
    else:
        assert select(GRID, exclude=texts, repeats=1).points == expected


def test_the_number_of_excluded_points_is_said():
    chosen = select(GRID, exclude=["gpus==8 and batch==128", "scaling==weak"], repeats=1)
    assert chosen.remarks == ["excluded 7 of 12 points (gpus==8 and batch==128: 2; scaling==weak: 6)"]


def test_a_predicate_that_excludes_nothing_is_said_with_the_values_of_its_axes():
    chosen = select(GRID, exclude=["gpus>8 and batch==64"], repeats=1)
    assert chosen.points == GRID
    assert 'exclude "gpus>8 and batch==64" excludes nothing: gpus is 1 or 2 or 8, batch is 16 or 128' in chosen.remarks


def test_a_predicate_of_a_named_grid_may_exclude_nothing_of_fewer_axes_without_a_word():
    named, of_the_user = "gpus>8 and batch==64", "gpus>16"
    chosen = select(GRID, exclude=[named, of_the_user], repeats=1, grids_own=[named])
    assert [remark for remark in chosen.remarks if "excludes nothing" in remark] == [
        'exclude "gpus>16" excludes nothing: gpus is 1 or 2 or 8'
    ]


def test_predicates_that_exclude_everything_are_an_error_with_the_counts():
    with pytest.raises(UserError, match=r"nothing is left of 12 points of the grid .*gpus<8: 8; gpus==8: 4"):
        select(GRID, exclude=["gpus<8", "gpus==8"], repeats=1)


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "gpu==8": "there is no axis gpu – did you mean gpus",
        "gpus==8 and bacth==128": "there is no axis bacth – did you mean batch",
        "model.layers==4": "there is no axis model.layers",
        "8==8": "there is no axis 8",
        "gpus=8": "cannot be read – two equals signs compare: gpus==8",
        "gpus==8 && batch==1": "cannot be read",
        "": "cannot be read",
        "(" * 300 + "gpus==1" + ")" * 300: "cannot be read",
        "gpus==1 or " * 200 + "gpus==1": "cannot be read",
        "gpus": "is not a comparison",
        "gpus + 1": "is not a comparison",
        "gpus == batch + 1": "is neither an axis",
        "model == vit-b": "quote a word",
        "gpus == True": "is neither an axis",
        "gpus is 8": "compares nothing",
        "scaling in strong": "`in` takes a list",
        "gpus == [1,2]": "`in` takes a list",
        "__import__('os').system('true')": "is not a comparison",
        "gpus == __import__('os')": "is neither an axis",
        "[gpus for gpus in [1]] == 1": "is neither an axis",
        "gpus == (lambda: 1)()": "is neither an axis",
        "f'{gpus}' == 1": "is neither an axis",
    }.items(),
)
def test_what_is_no_predicate_is_refused_before_any_of_it_runs(text, message):
    with pytest.raises(UserError, match="exclude") as error:
        predicate(text, AXES)
    assert message in str(error.value)


def test_words_have_no_order():
    with pytest.raises(UserError, match="words have no order"):
        select(GRID, exclude=["scaling<weak"], repeats=1)


# --- repeats ----------------------------------------------------------------------------------------


def test_repeats_are_cells_of_their_own_with_the_next_seeds_round_by_round():
    chosen = select([point(gpus=1, seed=5), point(gpus=2, seed=5)], exclude=[], repeats=3)
    assert [(p.seed, p.gpus) for p in chosen.points] == [(5, 1), (5, 2), (6, 1), (6, 2), (7, 1), (7, 2)]
    assert len(make_plan(chosen.points).cells) == 6


def test_a_repeat_changes_nothing_but_the_seed():
    first, second = select([point()], exclude=[], repeats=2).points
    assert replace(second, seed=first.seed) == first


def test_repeats_of_a_seed_sweep_are_refused():
    with pytest.raises(UserError, match=r"repeats=2 seed=0,1: .*overlap"):
        select([point(seed=0), point(seed=1)], exclude=[], repeats=2)


def test_a_repeat_can_be_excluded_by_its_seed():
    assert [p.seed for p in select([point()], exclude=["seed==1"], repeats=3).points] == [0, 2]


# --- zipped axes ------------------------------------------------------------------------------------


def zipped(axes, zips):
    grouped = columns([(key, len(values)) for key, values in axes.items()], zips)
    return list(combinations(list(axes.values()), grouped))


def test_zipped_axes_advance_together_and_multiply_with_the_others():
    axes = {"gpus": "124", "scaling": "sw", "batch": "abc"}
    assert zipped(axes, [["gpus", "batch"]]) == [
        ("1", "s", "a"),
        ("1", "w", "a"),
        ("2", "s", "b"),
        ("2", "w", "b"),
        ("4", "s", "c"),
        ("4", "w", "c"),
    ]


def test_two_zips_multiply_with_each_other():
    axes = {"a": "12", "b": "12", "c": "xyz", "d": "xyz"}
    assert zipped(axes, [["d", "c"], ["a", "b"]]) == [(n, n, w, w) for n in "12" for w in "xyz"]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_without_a_zip_the_grid_is_the_plain_product(sizes):
    from itertools import product

    axes = {str(i): list(range(size)) for i, size in enumerate(sizes)}
    assert zipped(axes, []) == list(product(*axes.values()))


@pytest.mark.parametrize(
    ("zips", "message"),
    [
        ([["gpus", "model"]], "gpus has 3, model has 2 values"),
        ([["gpus", "batch"], ["batch", "model"]], "batch is named twice"),
        ([["gpus", "gpus"]], "gpus is named twice"),
        ([["gpus", "seed"]], "seed is not swept (swept are gpus, batch, model)"),
        ([["gpus", "bacth"]], "bacth is not swept"),
    ],
)
def test_a_zip_that_does_not_close_is_refused_with_the_numbers(zips, message):
    with pytest.raises(UserError) as error:
        columns([("gpus", 3), ("batch", 3), ("model", 2), ("seed", 1)], zips)
    assert message in str(error.value)
    assert str(error.value).startswith("zip=[[gpus,")


@pytest.mark.parametrize("value", ["gpus", ["gpus", "batch"], [["gpus"]], [[1, 2]], 3, None, {"a": 1}])
def test_a_zip_of_another_shape_shows_the_right_one(value):
    with pytest.raises(UserError, match=r"write zip=\[\[gpus,batch\]\]"):
        read_zips(value)


# --- order ------------------------------------------------------------------------------------------

PLANNED = list(
    make_plan(
        point(gpus=gpus, batch=batch, placement=placement)
        for gpus in (2, 8, 1, 4)
        for batch in (32, 16)
        for placement in (Placement.PACKED, Placement.SPREAD)
        if gpus <= 4 or placement is Placement.PACKED
    ).cells.values()
)


def test_as_given_keeps_the_order_of_the_grid():
    assert ordered(PLANNED, Order.AS_GIVEN, 0) == PLANNED


def test_largest_first_starts_with_the_most_gpus_and_smallest_first_ends_there():
    assert [p.cell.gpus for p in ordered(PLANNED, Order.LARGEST_FIRST, 0)] == [8] * 2 + [4] * 4 + [2] * 4 + [1] * 2
    assert [p.cell.gpus for p in ordered(PLANNED, Order.SMALLEST_FIRST, 0)] == [1] * 2 + [2] * 4 + [4] * 4 + [8] * 2


@given(st.permutations(PLANNED), st.integers(0, 5))
def test_a_random_order_depends_on_its_seed_only(cells, seed):
    assert ordered(cells, Order.RANDOM, seed) == ordered(PLANNED, Order.RANDOM, seed)


def test_random_orders_differ_by_seed_and_hold_every_cell():
    orders = [ordered(PLANNED, Order.RANDOM, seed) for seed in (0, 1)]
    assert orders[0] != orders[1] != PLANNED
    ids = sorted(p.cell.cell_id for p in PLANNED)
    assert [sorted(p.cell.cell_id for p in order) for order in orders] == [ids, ids]


# --- as a user gives the command --------------------------------------------------------------------


def test_the_whole_algebra_in_one_command(sweep, tmp_path):
    answer = sweep(
        "-m",
        "gpus=1,2,4",
        "batch=64,32,16",
        "zip=[[gpus,batch]]",
        'exclude=["gpus==4 and seed==1"]',
        "repeats=2",
        "order=largest_first",
        "dry_run=true",
        "study=s",
    )
    assert answer.returncode == 0, answer.stderr
    assert "excluded 1 of 6 points" in answer.stdout
    plan = json.loads((tmp_path / "outputs" / "s" / "plan.json").read_text())
    axes = [(p["axes"]["gpus"], p["axes"]["batch"], p["axes"]["seed"]) for p in plan["points"]]
    assert axes == [(1, 64, 0), (2, 32, 0), (4, 16, 0), (1, 64, 1), (2, 32, 1)]
    scripts = [line.split("/jobs/")[1][:5] for line in answer.stdout.splitlines() if "/jobs/" in line]
    assert scripts == ["n1-g4", "n1-g2", "n1-g1"]


def test_settings_of_the_sweep_do_not_change_the_cells(sweep, tmp_path):
    words = [["-m", "gpus=1,2"], ["-m", "gpus=2,1", "order=random", "order_seed=3", "repeats=1", 'exclude=["gpus==9"]']]
    for name, given_words in zip("ab", words, strict=True):
        assert sweep(*given_words, "dry_run=true", f"study={name}").returncode == 0
    a, b = ({f.name for f in (tmp_path / "outputs" / name / "cells").iterdir()} for name in "ab")
    assert a == b
