"""Every shipped configuration is a test case: it parses, is named as its file, and plans."""

from dataclasses import replace

import pytest

from vit_sweep.config.folders import conf_dir
from vit_sweep.plan.plan import make_plan
from vit_sweep.plan.predict.vit import parameters, tokens

GROUPS = ("partition", "model", "data", "engine", "optimizer")
COUNTS = "model.counts={parameters: 1000, flop_per_image: 1e6}"
WORDS = {
    "megatron": ["partition=vector_t4v2"],
    "timm": ["model.name=timm", COUNTS],
    "torchvision": ["model.name=torchvision", COUNTS],
    "own": ["model.name=own", "model.target=a.b:build", "model.arguments={width: 8, bias: true}", COUNTS],
}
"""What a user must say beside the option."""
SHIPPED = [
    (group, path.stem)
    for group in GROUPS
    for path in sorted((conf_dir() / group).glob("*.yaml"))
    if "\npath: ???" not in path.read_text()  # somebody's own data: planned once it is packed
]


@pytest.mark.parametrize(("group", "name"), SHIPPED, ids=lambda part: part)
def test_a_shipped_option_parses_and_one_cell_of_it_plans(ask, group, name):
    points, _ = ask(f"{group}={name}", *WORDS.get(name, []))
    assert getattr(points[0], group).name == name
    plan = make_plan(points)
    assert not plan.infeasible
    assert len(plan.cells) == 1


def test_a_models_arguments_have_no_order(ask):
    given = ("{width: 8, bias: true}", "{bias: true, width: 8}")
    made = [ask("model=own", *WORDS["own"], f"model.arguments={words}")[0][0].model for words in given]
    assert made[0].arguments == made[1].arguments == (("bias", True), ("width", 8))


PUBLISHED = {
    # torchvision's weights, `num_params` of their meta data; image and patch size of the same model can be given.
    "vit_b_16": 86_567_656,
    "vit_l_16": 304_326_632,
    "vit_h_14": 632_045_800,
    "vit_b_16 model.image_size=384": 86_859_496,
    "vit_l_16 model.image_size=512": 305_174_504,
    "vit_h_14 model.image_size=518": 633_470_440,
    "vit_b_16 model.patch_size=32": 88_224_232,
    "vit_l_16 model.patch_size=32": 306_535_400,
    # DeiT's tiny and small (Touvron et al. 2021, table 1: 5 M, 22 M), as timm counts them.
    "vit_ti_16": 5_717_416,
    "vit_s_16": 22_050_664,
}
"""Parameters with a head of 1000 classes."""


@pytest.fixture
def model_of(ask):
    return lambda words: ask(*f"model={words}".split())[0][0].model


@pytest.mark.parametrize(("words", "count"), PUBLISHED.items())
def test_a_model_has_its_published_number_of_parameters(model_of, words, count):
    assert parameters(model_of(words), 1000) == count


@pytest.mark.parametrize("size", ["ti", "s", "b"])
def test_a_form_for_small_images_is_its_model_with_patches_of_4(model_of, size):
    """65 tokens instead of 197, and everything else the same."""
    small = model_of(f"vit_{size}_4_32")
    assert tokens(small) == 65
    assert small == replace(model_of(f"vit_{size}_16"), name=small.name, image_size=32, patch_size=4)
