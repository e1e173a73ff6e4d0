"""A slip in the words of a sweep is told in one sentence that holds the right spelling; right words pass."""

import argparse
import re

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from launchers.errors import UserError, nearest
from vit_sweep.__main__ import main
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.plain_yaml import known_keys
from vit_sweep.config.shorthand import options_first
from vit_sweep.config.spelling import COUNTS, FLAGS, GROUPS, VALUED, check, likely_key
from vit_sweep.plan.point import Point

SLIPS = {
    "a space between values": (["batch=64", "128", "gpus=2"], "batch=64 128: KEY=VALUE,VALUE", "batch=64,128"),
    "a space behind a comma": (["gpus=1,", "2"], "gpus=1, 2", "without spaces: gpus=1,2"),
    "a comma between spaces": (["gpus=1,", ",", "2"], "gpus=1, , 2", "without spaces: gpus=1,2"),
    "spaces around the equals sign": (["gpus", "=", "2"], "gpus = 2", "without spaces: gpus=2"),
    "a space before it": (["gpus", "=2", "batch=8"], "gpus =2", "without spaces: gpus=2"),
    "a space behind it": (["gpus=", "2"], "gpus= 2", "without spaces: gpus=2"),
    "a comma at the end": (["gpus=1,2,"], "a comma without a value", "write gpus=1,2"),
    "two commas": (["gpus=1,,2"], "a comma without a value", "write gpus=1,2"),
    "only a comma": (["gpus=,"], "a comma without a value", "write gpus=VALUE"),
    "a colon": (["gpus:2"], "joined by an equals sign", "gpus=2"),
    "two equals signs": (["gpus==2"], "one equals sign", "gpus=2"),
    "an option": (["--gpus", "2"], "written without dashes", "gpus=2"),
    "an option with its value": (["--gpus=1,2"], "written without dashes", "gpus=1,2"),
    "an option before a word": (["--dry-run", "gpus=2"], "written without dashes", "dry_run=true"),
    "an option before an option": (["--dry-run", "-m"], "written without dashes", "dry_run=true"),
    "an option of another tool": (["--lr", "0.1"], "no such option", "did you mean optimizer.learning_rate?"),
    "an option of Hydra, misspelt": (["--multi"], "no such option", "did you mean --multirun?"),
    "an option of nobody": (["--frobnicate"], "no such option", "vit_sweep --help"),
    "an empty word": (["gpus=2", ""], "word 2 of the command is empty", "KEY=VALUE"),
    "a predicate without the shell's quotes": (
        ["exclude=[gpus==8", "and", "batch==128]", "gpus=8"],
        "exclude=[gpus==8: a space has cut it",
        "'exclude=[gpus==8 and batch==128]'",
    ),
    "a range with a space": (["gpus=range(1,", "3)"], "a space has cut it", "'gpus=range(1, 3)'"),
    "no grid": (["grid=null"], "the name of a file in conf/grid/", "leave it out"),
    "a number for a name": (["partition=local,3"], "conf/partition/, and 3 is none", "leave it out"),
    "names in a list": (["optimizer=[adamw, sgd]"], "optimizer is said by a name", "optimizer=adamw,sgd"),
    "keys for a name": (["model={width: 3}"], "model is said by a name", "model=NAME"),
    "no launcher": (["hydra/launcher=null"], "conf/hydra/launcher/", "leave it out"),
    "a launcher of Hydra's": (["hydra/launcher=submitit_slurm"], "as the partition says", "partition=NAME"),
    "a launcher's setting": (["++hydra.launcher.timeout_min=5"], "as the partition says", "partition=NAME minutes=60"),
    "another sweeper": (["-m", "gpus=1,2", "hydra/sweeper=basic"], "planned at once", "leave it out"),
    "a sweeper taken away": (["~hydra.sweeper"], "planned at once", "leave it out"),
    "Hydra's folder": (["hydra.run.dir=there"], "lies in one folder", "outputs=FOLDER study=NAME"),
    "Hydra's folder of a sweep": (["-m", "hydra.sweep.subdir=there"], "lies in one folder", "outputs=FOLDER"),
    "a semicolon": (["gpus=1;2"], "separated by commas", "gpus=1,2"),
    "a list that is not closed": (["data.pixels=[1,2"], "has no other half", "] is missing"),
    "a word alone": (["-m", "gpus"], "gpus: a key is followed by its value", "gpus=VALUE"),
    "a word alone that is no key": (["-m", "gpux"], "neither an option nor KEY=VALUE", "gpus=1,2,4"),
    "a switch alone": (["gpus=1", "dry_run"], "a key is followed by its value", "dry_run=true"),
    "a key and its value as two words": (["gpus=1,2", "batch", "16"], "batch: a key is followed", "batch=16"),
    "a colon before a space": (["gpus:", "2"], "joined by an equals sign", "gpus=2"),
    "a dash in a key": (["dry-run=true"], "written with underscores", "dry_run=true"),
    "a dry run of other tools": (["--dryrun"], "written without dashes", "dry_run=true"),
    "a dry run in a letter": (["gpus=2", "-n"], "written without dashes", "dry_run=true"),
    "two dots": (["gpus=1..4"], "separated by commas: gpus=1,4", "all from 1 to 4: 'gpus=range(1,5)'"),
    "a span": (["gpus=1-4"], "separated by commas: gpus=1,4", "'gpus=range(1,5)'"),
    "a slice": (["batch=16:32"], "separated by commas: batch=16,32", "'batch=range(16,33)'"),
    "a slash": (["batch=16/32"], "separated by commas: batch=16,32", ""),
    "a list for an axis": (["batch=[16, 32]"], "separated by commas: batch=16,32", ""),
    "a tuple for an axis": (["batch=(16,32)"], "separated by commas: batch=16,32", ""),
    "a set for an axis": (["batch={16,32,64}"], "separated by commas: batch=16,32,64", ""),
    "values in quotes": (["gpus='1,2'"], "separated by commas: gpus=1,2", ""),
    "axes to zip": (["zip=gpus,batch"], "a list: zip=[[gpus,batch]]", ""),
    "a key twice": (["gpus=1,2", "batch=8", "gpus=4"], "gpus=1,2 gpus=4: gpus is there twice", "gpus=VALUE,VALUE"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_of_the_grammar_is_answered_with_the_right_spelling(slip: str) -> None:
    words, *clauses = SLIPS[slip]
    with pytest.raises(UserError) as error:
        check(words, known_keys=known_keys)
    for clause in clauses:
        assert clause in str(error.value)


RIGHT = [
    *("gpus=1,2,4", "gpus=range(1,9)", "model.name=vit_base_patch16_224", 'exclude=["gpus==8 and batch==128"]'),
    *("zip=[[gpus,batch]]", "++engine.config.zero_optimization.overlap_comm=true,false", "~partition.account", "~grid"),
    *("+model.arguments={drop_rate:0.1}", "study='a, b'", "batch=64, 128", "gpus=", "optimizer.betas=[0.9,,0.99]"),
    *("data=path/to/images,4x", "model=vit_b_16,vit_s_16", "partition=3a", "zero=null", "model.init=null"),
    *("batch=16,32", "seed=range(0,8)", "nodes=null,2", "study=2026-11-30", "data.pixels=[16,32]", "minutes=24:00:00"),
    *("hydra/sweeper=vit_sweep", "+partition@other=local", "++partition.environment.TOK=${oc.env:TOK}", "+foo-bar=1"),
]


@pytest.mark.parametrize("word", RIGHT)
def test_what_hydra_can_read_or_has_its_own_word_for_passes(word: str) -> None:
    check(["-m", "--config-dir", "gpus", word, "--cfg", "job", "--info=all", word], known_keys=list)


def test_what_a_command_gives_twice_as_one_value_is_the_last_one() -> None:
    """So that a script may have a default that its caller replaces."""
    check(["gpus=1", "gpus=2"], known_keys=list)
    check(["optimizer.betas=[0.9,0.99]", "optimizer.betas=[0.8,0.9]", "study='a, b'", "study=c"], known_keys=list)


def test_whole_numbers_are_the_keys_of_points_that_are_some() -> None:
    whole = {
        name
        for name, field in Point.__dataclass_fields__.items()
        if "int" in re.findall(r"\w+", str(field.type)) and "float" not in str(field.type)
    }
    assert whole == COUNTS


def test_groups_are_the_folders_of_conf() -> None:
    assert {folder.name for folder in conf_dir().iterdir() if folder.is_dir()} - {"hydra"} == GROUPS


def test_the_shell_may_quote_a_space_away() -> None:
    assert OverridesParser.create().parse_override("batch=64, 128").is_choice_sweep()


def test_every_option_of_hydra_passes_and_takes_its_value() -> None:
    theirs = {
        option: action
        for action in get_args_parser()._actions
        for option in action.option_strings
        if not isinstance(action, argparse._VersionAction)
    }
    assert {option for option, action in theirs.items() if action.nargs == 0} == FLAGS - {"--version"}
    assert {option for option, action in theirs.items() if action.nargs != 0} == VALUED


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("lr", "optimizer.learning_rate"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("learning_rate", "optimizer.learning_rate"),
        ("batch_size", "batch"),
        ("dataset", "data"),
        ("num_gpus", "gpus"),
        ("GPUS", "gpus"),
        ("resolution", "model.image_size"),
    ],
)
def test_keys_of_other_tools_are_understood(theirs: str, ours: str) -> None:
    assert ours in likely_key(theirs, known_keys())


def test_every_meaning_is_one_of_our_keys() -> None:
    from vit_sweep.config import spelling

    assert set(spelling._KEY_ALIASES.values()) <= {key.rpartition(".")[2] for key in known_keys()}


def test_of_many_keys_three_are_proposed_and_none_listed() -> None:
    assert likely_key("frobnicate", known_keys()) == "vit_sweep --help lists all keys"
    assert likely_key("gpuss", known_keys()).count(" or ") <= 2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model=ViT_B_16", "model=ViT_B_16: there is no such model – did you mean vit_b_16?"),
        ("model=ViT-B/16", "model=ViT-B/16: there is no such model – did you mean vit_b_16?"),
        ("model=vit_large_patch16", "did you mean vit_l_16?"),
        ("data=CIFAR-10", "did you mean cifar10?"),
        ("data=CIFAR10", "did you mean cifar10?"),
        ("partition=T4", "did you mean vector_t4v2? Known: "),
        ("partition=cpu", "did you mean local?"),
        ("engine=ZeRO-2", "did you mean zero2?"),
        ("engine=stage2", "did you mean zero2?"),
        ("engine=fsdp", "did you mean fsdp2?"),
        ("grid=fig8", "did you mean paper_fig8?"),
        ("precision=bfloat16", "there is no precision bfloat16 – did you mean bf16?"),
        ("precision=FP16", "did you mean fp16?"),
        ("scaling=Strong", "did you mean strong?"),
        ("schedule=cos", "did you mean cosine?"),
        ("+gpus=1", "+gpus: the key is there already; write it without +: gpus=VALUE"),
        ("epochs=1e2", "error: epochs=100.0 – must be a whole number; write 100"),
    ],
)
def test_a_name_in_other_letters_or_other_words_is_answered_with_ours(capsys, word, said):
    assert main([word, "dry_run=true"]) == 2
    assert said in capsys.readouterr().err


def test_no_more_than_three_names_are_proposed():
    names = [f"grid_{number}" for number in range(50)]
    assert len(nearest("grid_x", names)) <= 3
    assert nearest("xyz", [f"my_xyz_grid_of_many_{number}" for number in range(50)]) == []


@given(st.permutations(["gpus=1,2", "batch=2", "-m", "--config-dir", "--cfg=job", "~zip", "study=-x"]))
def test_an_option_may_stand_anywhere_among_the_words(words: list[str]) -> None:
    words.insert(words.index("--config-dir") + 1, "site")
    read = get_args_parser().parse_args(options_first(words))
    assert (read.multirun, read.config_dir, read.cfg) == (True, "site", "job")
    assert read.overrides == [word for word in words if word[0] != "-" and word != "site"]
