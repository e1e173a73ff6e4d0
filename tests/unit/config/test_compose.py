"""The fast composition equals Hydra's own, override for override."""

import pytest
from hydra import compose
from hydra.types import RunMode
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from launchers.errors import UserError
from tests.conftest import LONG
from vit_sweep.config.compose import expand
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.plain_yaml import plain

AXES = {
    "gpus": ["1", "2", "4,8", "range(1,4)", "choice(1,3)"],
    "nodes": ["null", "1,2"],
    "batch": ["16", "16,64", "64,16,16"],
    "scaling": ["strong", "strong,weak"],
    "model": ["vit_b_16", "vit_b_16,vit_tiny_32"],
    "data": ["digits,synthetic"],
    "engine": ["zero1", "glob(zero*)"],
    "partition": ["local", "local,vector_t4v2"],
    "model.layers": ["2", "2,3"],
    "optimizer.learning_rate": ["0.1", "1e-3,1e-2"],
    "partition.nodes": ["2"],
    "+partition.setup": ["['module load cuda']"],
    "++epochs": ["7"],
    "++seed": ["3", "4,5"],
    "seed": ["6,7"],
    "++engine.config.gradient_clipping": ["0.5"],
    "partition.gpu_model": ["'a b',\"c=d\""],
    "model.width": ["${model.mlp_width}"],
    "data.train_images": ["100,200"],
    "exclude": ["['gpus==1 and batch==16']", "[]"],
    "repeats": ["2"],
}
SOME = 6
"""Cells of a large grid that Hydra composes too, at 0.1 s each."""
grids = st.dictionaries(st.sampled_from(sorted(AXES)), st.integers(0, 4), max_size=4).map(
    lambda picks: [f"{key}={AXES[key][i % len(AXES[key])]}" for key, i in picks.items()]
)


def fast(hydra, overrides):
    """As a command does it: Hydra composes once for all of its words."""
    master = hydra.compose_config("config", list(overrides), run_mode=RunMode.MULTIRUN)
    return list(expand(overrides, loader=hydra.config_loader, master=master))


def stock(hydra, overrides, chosen=slice(None)):
    """What Hydra's BasicSweeper makes of the same words: all combinations, or some, each composed from the start."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(overrides)
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    cells = [cell for batch in batches for cell in batch]
    return [plain(compose("config", overrides=list(cell))) for cell in cells[chosen]]


@settings(max_examples=100 if LONG else 8)
@given(overrides=grids, seeds=st.randoms(use_true_random=False))
def test_the_fast_way_equals_hydras_own_composition(hydra, overrides, seeds):
    """In every cell of a small grid, and in some of a large one."""
    made = fast(hydra, overrides)
    for number in range(len(made)) if LONG or len(made) <= SOME else seeds.sample(range(len(made)), SOME):
        assert [made[number]] == stock(hydra, overrides, slice(number, number + 1))


def test_a_value_for_a_whole_group_node_equals_hydras_own(hydra):
    overrides = ["engine=zero1,zero2", "engine.zero_stage=3", "seed=1,2"]
    assert fast(hydra, overrides) == stock(hydra, overrides)


def test_a_combination_does_not_leak_into_the_next(hydra):
    configs = fast(hydra, ["model.layers=2,3", "gpus=1,2"])
    assert [(c["model"]["layers"], c["gpus"]) for c in configs] == [(2, 1), (2, 2), (3, 1), (3, 2)]


def test_each_choice_of_groups_is_composed_once_however_many_the_values(hydra):
    master = compose("config", return_hydra_config=True)
    composed = []

    class Counting:
        def __getattr__(self, name):
            return getattr(hydra.config_loader, name)

        def load_sweep_config(self, master, overrides):
            composed.append(tuple(overrides))
            return hydra.config_loader.load_sweep_config(master, overrides)

    words = [
        "model=vit_b_16,vit_s_16",
        "seed=range(100)",
        "gpus=range(1,51)",
        "batch=range(1,51)",
        "zip=[[gpus,batch]]",
    ]
    configs = expand(words, loader=Counting(), master=master)
    assert sum(config["gpus"] == config["batch"] for config in configs) == 2 * 100 * 50
    assert sorted(composed) == [("model=vit_b_16",), ("model=vit_s_16",)]


def test_zipped_groups_and_values_advance_together(hydra):
    configs = fast(hydra, ["model=vit_b_16,vit_tiny_32", "gpus=1,2", "data=cifar10,digits", "zip=[[model,data]]"])
    assert [(c["model"]["name"], c["gpus"], c["data"]["name"]) for c in configs] == [
        ("vit_b_16", 1, "cifar10"),
        ("vit_b_16", 2, "cifar10"),
        ("vit_tiny_32", 1, "digits"),
        ("vit_tiny_32", 2, "digits"),
    ]


def test_zipped_keys_inside_groups_advance_together(hydra):
    configs = fast(
        hydra, ["model.layers=2,4", "optimizer.learning_rate=0.1,0.01", "zip=[[model.layers,optimizer.learning_rate]]"]
    )
    assert [(c["model"]["layers"], c["optimizer"]["learning_rate"]) for c in configs] == [(2, 0.1), (4, 0.01)]


def test_a_value_that_depends_on_another_key_follows_it(hydra):
    overrides = ["seed=${epochs}", "epochs=5,6"]
    assert fast(hydra, overrides) == stock(hydra, overrides)
    assert [c["seed"] for c in fast(hydra, overrides)] == [5, 6]


def test_a_wrong_swept_value_names_the_key(hydra):
    with pytest.raises(UserError, match="there is no such key"):
        fast(hydra, ["model.depth=1,2"])


def test_shipped_yaml_has_no_key_that_hydra_would_lose():
    for path in conf_dir().glob("*/*.yaml"):
        assert OmegaConf.load(path), path
