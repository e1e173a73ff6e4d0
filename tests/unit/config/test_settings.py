"""What a command line says reaches the point, the settings and the job; one thing has one word."""

import re
from dataclasses import fields

import pytest
from hydra import compose

from launchers.errors import UserError
from vit_sweep.config.plain_yaml import plain
from vit_sweep.config.python_words import grid
from vit_sweep.config.settings import Settings, read
from vit_sweep.config.shorthand import expanded
from vit_sweep.plan.cell import Cell, JobOptions
from vit_sweep.plan.grid import cell_of
from vit_sweep.plan.point import Point

WORDS = {
    "zero": ("2", 2),
    "activation_checkpointing": ("true", True),
    "compile": ("true", True),
    "lr_scaling": ("sqrt", "sqrt"),
    "lr_warmup_epochs": ("0.5", 0.5),
    "schedule": ("cosine", "cosine"),
    "data.pipeline": ("loader", "loader"),
    "precision": ("tf32", "tf32"),
    "accum": ("8", 8),
    "sequence": ("2", 2),
    "sequence_method": ("ring", "ring"),
    "attention": ("math", "math"),
    "task": ("regression", "regression"),
}


@pytest.mark.parametrize(("key", "value", "read_as"), [(key, *values) for key, values in WORDS.items()])
def test_a_word_is_an_axis_of_its_own(ask, key, value, read_as):
    changed, _ = ask(f"{key}={value}")
    (default,), _ = ask()
    name = key.removeprefix("data.")
    assert getattr(changed[0], name) == read_as != getattr(default, name)
    swept, _ = ask(f"{key}={value},{value}", "gpus=1,2")
    assert [(p.gpus, getattr(p, name)) for p in swept] == [(g, read_as) for _ in range(2) for g in (1, 2)]


def test_the_shipped_defaults_are_those_of_the_schema(ask):
    """So a cell that an older configuration describes is the cell that today's describes."""
    (point,), settings = ask()
    for field in fields(Point):
        if field.default.__class__.__name__ != "_MISSING_TYPE":
            assert getattr(point, field.name) == field.default, field.name
    assert settings.job_options == JobOptions()
    made = cell_of(point)
    assert {f.name: getattr(made, f.name) for f in fields(Cell) if f.name in ("pipeline", "compile")} == {
        "pipeline": "device",
        "compile": False,
    }


@pytest.mark.parametrize(("spelling", "meant"), [("off", False), ("on", True), ("false", False), ("true", True)])
@pytest.mark.parametrize("name", ["preflight", "certify", "exposed"])
def test_a_measurement_is_switched_in_either_language(ask, name, spelling, meant):
    assert getattr(ask(f"{name}={spelling}")[1].job_options, name) is meant


@pytest.mark.parametrize(
    "name",
    sorted(
        {f.name for f in fields(JobOptions)} & {f.name for f in fields(Settings)} - {"preflight", "certify", "exposed"}
    ),
)
def test_every_setting_of_a_job_reaches_its_options(ask, name):
    spelling, value = {
        "target_accuracy": ("0.75", 0.75),
        "logging": ("[mlflow,wandb]", ("mlflow", "wandb")),
        "deepspeed_profilers": ("[flops,comms]", ("flops", "comms")),
    }.get(name, ("7", 7))
    assert getattr(ask(f"{name}={spelling}")[1].job_options, name) == value


def test_who_pays_is_of_the_command_and_no_part_of_a_cell(ask):
    words = ("partition=nebula_midcard,local", "account=1234", "qos=long", "reservation=course")
    (slurm, local), _ = ask(*words)
    (own, _), _ = ask(words[0])
    assert (slurm.partition.account, slurm.partition.qos, slurm.partition.reservation) == ("1234", "long", "course")
    assert local.partition.account is None
    assert cell_of(slurm) == cell_of(own)
    (other,), _ = ask("partition=nebula_midcard", "++partition.account=theirs", "account=ours")
    assert other.partition.account == "ours"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("account=a,b", "partition=nebula_midcard"), "account cannot be swept"),
        (("qos=long",), "qos=long: partition local is not Slurm's"),
    ],
)
def test_who_pays_is_one_word_for_a_partition_of_slurm(ask, words, why):
    with pytest.raises(UserError, match=why):
        ask(*words)


def test_a_single_word_is_a_list_of_one(ask):
    options = ask("logging=wandb", "deepspeed_profilers=comms")[1].job_options
    assert (options.logging, options.deepspeed_profilers) == (("wandb",), ("comms",))


@pytest.mark.parametrize(
    ("override", "menu"),
    [
        ("logging=[tensorbord]", "'tensorboard', 'wandb' or 'mlflow'"),
        ("deepspeed_profilers=flop", "'flops' or 'comms'"),
    ],
)
def test_a_misspelt_instrument_shows_the_menu(ask, override, menu):
    with pytest.raises(UserError, match=menu):
        ask(override)


@pytest.mark.parametrize("key", ["outputs", "data_root"])
def test_a_folder_is_one_line(ask, key):
    """It would be one of a script, or of a file that a job reads."""
    with pytest.raises(UserError, match=f"{key}=a\n.*has characters that have no place there"):
        ask(f"{key}='a\nb'")


def test_loggers_are_no_part_of_a_cells_identity(ask):
    (with_them,), _ = ask("logging=[tensorboard,wandb,mlflow]", "deepspeed_profilers=[flops,comms]")
    (without,), _ = ask()
    assert cell_of(with_them).cell_id == cell_of(without).cell_id


def test_a_data_sets_own_file_may_choose_its_pipeline(ask, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(
        "name: mine\nsource: synthetic\ntrain_images: 99\ntest_images: 9\nclasses: 3\npipeline: loader\n"
    )
    here = [f"hydra.searchpath=[file://{tmp_path}]", "data=mine"]
    (chosen,), _ = read([plain(compose("config", overrides=here))])
    (default,), _ = read([plain(compose("config", overrides=[*here, "data.pipeline=device"]))])
    assert (chosen.pipeline, default.pipeline) == ("loader", "device")


@pytest.mark.parametrize(
    "words", [["zero=1", "engine=zero1"], ["zero=0,1", "engine=zero0,zero1"], ["zero=1", "engine.zero_stage=2"]]
)
def test_two_words_for_the_zero_stage_are_one_too_many(ask, words):
    with pytest.raises(UserError, match="both say the ZeRO stage"):
        ask(*words)


def test_no_stage_by_number_leaves_the_engine_its_own(ask):
    (point,), _ = ask("zero=null", "engine=zero3")
    assert cell_of(point).engine.zero_stage == 3


def test_image_and_patch_size_are_axes(ask):
    points, _ = ask("model.image_size=32,64", "model.patch_size=4,8")
    assert [(p.model.image_size, p.model.patch_size) for p in points] == [(32, 4), (32, 8), (64, 4), (64, 8)]
    assert len({cell_of(p).cell_id for p in points}) == 4


def test_further_keys_of_deepspeed_are_swept_like_any_other(ask):
    swept, _ = ask(
        "zero=2", "++engine.config.zero_optimization.sub_group_size=1000,2000", "++engine.config.log_level=x"
    )
    assert [point.engine.config for point in swept] == [
        ('log_level="x"', f"zero_optimization.sub_group_size={size}") for size in (1000, 2000)
    ]


def test_seeds_are_read_as_if_each_were_the_only_one(ask):
    words = ("gpus=1,2", "model.layers=2,3")
    together, _ = ask("seed=5,9", *words)
    alone = [point for seed in (5, 9) for point in ask(f"seed={seed}", *words)[0]]
    assert together == alone
    for wrong in ("-1", "true", "1.5", "a", str(2**63)):
        with pytest.raises(UserError, match="seed"):
            ask(f"seed=5,{wrong}", *words)


def test_of_several_partitions_a_command_makes_one_and_says_what_is_wrong_with_them(tmp_path):
    (tmp_path / "partition").mkdir()
    for name, minutes in (("long_a40", 2000), ("short_a40", 600)):
        text = f"defaults: [vector_a40, _self_]\nname: {name}\npartition: {name}\nmax_minutes: {minutes}\n"
        (tmp_path / "partition" / f"{name}.yaml").write_text(text)

    def points(*words):
        return read(grid(expanded(words, tmp_path), config_dir=tmp_path))[0]

    joined = [point.partition for point in points("partition=short_a40+long_a40", "gpus=1,2", "account=me")]
    assert [(p.name, p.partition, p.max_minutes, p.account) for p in joined] == [
        ("long_a40+short_a40", "long_a40,short_a40", 600, "me")
    ] * 2
    assert [p.partition.name for p in points("partition='long_a40+short_a40'")] == ["long_a40+short_a40"]
    with pytest.raises(UserError, match=r"partition=short_a40\+vector_t4v2: .* compare them by -m partition="):
        points("partition=short_a40+vector_t4v2")
    with pytest.raises(UserError, match="partition=nope: there is no such partition"):
        points("partition=short_a40+nope")
    (tmp_path / "partition" / "nameless.yaml").write_text("scheduler: slurm\n")
    with pytest.raises(UserError, match="partition: name is missing"):
        points("partition=short_a40+nameless")
    # A file that is called so is what the word says.
    (tmp_path / "partition" / "short_a40+x.yaml").write_text("defaults: [vector_a40, _self_]\nname: short_a40+x\n")
    assert expanded(["partition=short_a40+x"], tmp_path) == ["partition=short_a40+x"]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("partition=a+b,c", "a comma runs it on each"),
        ("partition=a+", "a profile is missing"),
        ("partition=+", "a profile is missing"),
        ("partition=a++b", "a profile is missing"),
    ],
)
def test_what_is_no_choice_between_partitions_is_told(word, why):
    with pytest.raises(UserError, match=f"{re.escape(word)}: .*{why}"):
        expanded([word])
