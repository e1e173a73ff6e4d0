"""Batches: their names, their split into arrays, and the variables of their ranks."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.batch import Shape, Task, split
from tests.unit.builders import batch, profile


def test_a_batch_has_one_name_for_the_same_tasks_and_attempts():
    assert batch().name == batch().name
    assert re.fullmatch(r"n1-g2-[0-9a-f]{8}", batch().name)
    assert batch().folder == f"/studies/s/jobs/{batch().name}"


@pytest.mark.parametrize(
    "other",
    [
        {"tasks": tuple(replace(task, attempt=2) for task in batch().tasks)},
        {"tasks": batch().tasks[:1]},
        {"tasks": (Task(name="n1-g2-c", attempt=1),)},
        {"profile": profile(name="other")},
        {"shape": Shape(nodes=2, gpus_per_node=1, minutes=60)},
    ],
    ids=["attempt", "fewer tasks", "other task", "partition", "shape"],
)
def test_another_attempt_task_partition_or_shape_is_another_batch(other):
    assert batch(**other).name != batch().name


@given(tasks=st.integers(1, 40), largest=st.integers(1, 12))
def test_a_batch_is_split_at_the_largest_array_and_loses_no_task(tasks, largest):
    whole = batch(
        tasks=tuple(Task(name=str(i), attempt=1) for i in range(tasks)), profile=profile(max_array_size=largest)
    )
    parts = split(whole)
    assert tuple(task for part in parts for task in part.tasks) == whole.tasks
    assert len(parts) == -(-tasks // largest)
    assert all(1 <= len(part.tasks) <= largest for part in parts)
    assert len({part.name for part in parts}) == len(parts)


def test_the_profiles_variables_win_over_the_callers_and_both_over_ours():
    site = profile(cpus_per_gpu=4, environment={"A": "site"})
    assert batch(profile=site).rank_environment == {"OMP_NUM_THREADS": "4", "A": "site"}
    own_variables = {"A": "mine", "B": "mine", "OMP_NUM_THREADS": "1"}
    assert batch(profile=site, environment=own_variables).rank_environment == own_variables | {"A": "site"}
