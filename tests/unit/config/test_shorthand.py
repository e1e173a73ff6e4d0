"""A command without a partition takes its named grid's, else its environment's: in the same words, everywhere."""

import json

import pytest

import vit_sweep
from launchers.errors import UserError
from vit_sweep.__main__ import main
from vit_sweep.config.shorthand import with_default_partition

BOTH = {"VIT_SWEEP_PARTITION": "vector_a40+vector_t4v2"}
ALTERNATIVES = ["partition=vector_a40", "+partition@other_partitions.0=vector_t4v2"]


def test_two_partitions_of_the_environment_are_those_of_a_command_that_names_none():
    words = with_default_partition(["gpus=1", "partition.nodes=2"], BOTH)
    assert words == ["gpus=1", "partition.nodes=2", *ALTERNATIVES]


@pytest.mark.parametrize("words", [["partition=local"], ["+partition=local"], ["partition=a,b", "grid=paper_fig8"]])
def test_a_command_that_names_one_keeps_it(words):
    assert with_default_partition(words, BOTH) == words


@pytest.mark.parametrize(
    ("value", "added"),
    [("", []), (" ", []), ("vector_a40", ["partition=vector_a40"]), ("a,b", ["partition=a,b"]), ("a+b", None)],
)
def test_its_value_is_what_one_would_have_typed(value, added):
    added = ["partition=a", "+partition@other_partitions.0=b"] if added is None else added
    for words in (["gpus=1"], ["grid=zero_stages"], ["grid=no_such_grid"]):
        assert with_default_partition(words, {"VIT_SWEEP_PARTITION": value}) == [*words, *added]


@pytest.mark.parametrize("value", ["", "vector_a40", "a,b", "a+b"])
def test_a_named_grid_that_says_its_own_partition_keeps_it(value):
    assert with_default_partition(["grid=paper_fig8"], {"VIT_SWEEP_PARTITION": value}) == ["grid=paper_fig8"]


def test_a_file_whose_own_name_has_the_sign_is_that_file(tmp_path):
    (tmp_path / "partition").mkdir()
    (tmp_path / "partition" / "a+b.yaml").touch()
    words = [f"--config-dir={tmp_path}"]
    assert with_default_partition(words, {"VIT_SWEEP_PARTITION": "a+b"}) == [*words, "partition=a+b"]


@pytest.mark.parametrize(("value", "says"), [("a+", "write VIT_SWEEP_PARTITION=NAME"), ("a,b+c", "use one of both")])
def test_what_makes_no_sense_is_said_of_the_variable(value, says):
    with pytest.raises(UserError, match=f"VIT_SWEEP_PARTITION=.*{says}"):
        with_default_partition(["gpus=1"], {"VIT_SWEEP_PARTITION": value})


# --- one rule for the command, Python and named grids ------------------------------------------------------------


@pytest.fixture
def dry(tmp_path, monkeypatch):
    """Dry runs beside two alike partitions; returns Slurm's names of the partitions of a study's cells."""
    site = tmp_path / "site"
    for group in ("partition", "grid"):
        (site / group).mkdir(parents=True)
    for name, minutes in (("long", 2000), ("short", 600)):
        text = f"defaults: [vector_a40, _self_]\nname: {name}\npartition: {name}\nmax_minutes: {minutes}\n"
        (site / "partition" / f"{name}.yaml").write_text(text)
    (site / "grid" / "mine.yaml").write_text("name: mine\naxes: {gpus: [1]}\nset: {partition: short+long}\n")
    monkeypatch.chdir(tmp_path)
    common = {"model": "vit_tiny_32", "data": "synthetic", "minutes": 20, "study": "s", "dry_run": True}

    def partitions(*, python=False, variable="", **words):
        monkeypatch.setenv("VIT_SWEEP_PARTITION", variable)
        words = common | words
        if python:
            vit_sweep.sweep(config_dir=site, **words)
        else:
            assert main(["-m", f"--config-dir={site}", *(f"{key}={value}" for key, value in words.items())]) == 0
        plan = json.loads((tmp_path / "outputs" / "s" / "plan.json").read_text())
        return sorted(profile["partition"] for profile in plan["profiles"])

    return partitions


@pytest.mark.parametrize("python", [False, True], ids=["command", "python"])
@pytest.mark.parametrize(
    ("variable", "words", "partitions"),
    [
        ("short+long", {}, ["long,short"]),
        ("short,long", {}, ["long", "short"]),
        ("short+long", {"grid": "zero_stages"}, ["long,short"]),
        ("short+long", {"grid": "paper_fig8"}, ["t4v2"]),
        ("short+long", {"partition": "long"}, ["long"]),
        ("no_such", {"partition": "long"}, ["long"]),
        ("short", {"grid": "mine"}, ["long,short"]),
        ("", {"grid": "mine"}, ["long,short"]),
        ("short+long", {"grid": "mine", "partition": "long"}, ["long"]),
    ],
)
def test_the_same_words_mean_the_same_cells(dry, python, variable, words, partitions):
    assert dry(python=python, variable=variable, **words) == partitions


def test_a_sweep_over_partitions_needs_no_default_that_is_there(dry):
    assert dry(variable="no_such+long", partition="long,short") == ["long", "short"]
    assert dry(python=True, variable="no_such", partition=["long", "short"]) == ["long", "short"]


def test_a_simulation_takes_the_same_default(monkeypatch):
    monkeypatch.setenv("VIT_SWEEP_PARTITION", "h100_nvlink_ib")
    words = {"model": "vit_b_16", "data": "cifar100", "gpus": [1, 2]}
    assert vit_sweep.simulate(**words).curve == vit_sweep.simulate(partition="h100_nvlink_ib", **words).curve
