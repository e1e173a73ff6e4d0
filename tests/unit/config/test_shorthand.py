"""What a command leaves out its environment says, and what it says wins."""

import pytest

from launchers.errors import UserError
from vit_sweep.config.shorthand import with_default_partition

BOTH = {"VIT_SWEEP_PARTITION": "vector_a40+vector_t4v2"}


def test_two_partitions_of_the_environment_are_those_of_a_command_that_names_none():
    words = with_default_partition(["gpus=1", "partition.nodes=2"], BOTH)
    assert words == ["gpus=1", "partition.nodes=2", "partition=vector_a40", "+partition@other_partitions.0=vector_t4v2"]


@pytest.mark.parametrize("words", [["partition=local"], ["grid=paper_fig8"], ["+partition=local"]])
def test_a_command_that_names_one_keeps_it(words):
    assert with_default_partition(words, BOTH) == words


@pytest.mark.parametrize("value", ["", "vector_a40"])
def test_a_single_one_is_left_to_its_default(value):
    assert with_default_partition(["gpus=1"], {"VIT_SWEEP_PARTITION": value}) == ["gpus=1"]


def test_a_file_whose_own_name_has_the_sign_is_that_file(tmp_path):
    (tmp_path / "partition").mkdir()
    (tmp_path / "partition" / "a+b.yaml").touch()
    words = [f"--config-dir={tmp_path}"]
    assert with_default_partition(words, {"VIT_SWEEP_PARTITION": "a+b"}) == words


@pytest.mark.parametrize(("value", "says"), [("a+", "write VIT_SWEEP_PARTITION=NAME"), ("a,b+c", "use one of both")])
def test_what_makes_no_sense_is_said_of_the_variable(value, says):
    with pytest.raises(UserError, match=f"VIT_SWEEP_PARTITION=.*{says}"):
        with_default_partition(["gpus=1"], {"VIT_SWEEP_PARTITION": value})
