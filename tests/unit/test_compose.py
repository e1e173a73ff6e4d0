"""The fast composition equals Hydra's own, override for override."""

import sys

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from launchers.errors import UserError
from vit_sweep.compose import conf_dir, expand, plain

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
    "partition.gpu_model": ["'a b',\"c=d\""],
}
grids = st.dictionaries(st.sampled_from(sorted(AXES)), st.integers(0, 4), max_size=5).map(
    lambda picks: [f"{key}={AXES[key][i % len(AXES[key])]}" for key, i in picks.items()]
)


@pytest.fixture(scope="module")
def hydra():
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        yield GlobalHydra.instance().hydra


def fast(hydra, overrides):
    master = compose("config", return_hydra_config=True)
    return list(expand(overrides, loader=hydra.config_loader, master=master))


def stock(hydra, overrides):
    """What Hydra's BasicSweeper makes of the same words: every combination composed from the start."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create(config_loader=hydra.config_loader).parse_overrides(overrides)
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [plain(compose("config", overrides=list(cell))) for batch in batches for cell in batch]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(overrides=grids)
def test_the_fast_way_equals_hydras_own_composition(hydra, overrides):
    assert fast(hydra, overrides) == stock(hydra, overrides)


def test_a_value_for_a_whole_group_node_equals_hydras_own(hydra):
    overrides = ["engine=zero1,zero2", "engine.zero_stage=3", "seed=1,2"]
    assert fast(hydra, overrides) == stock(hydra, overrides)


def test_a_combination_does_not_leak_into_the_next(hydra):
    configs = fast(hydra, ["model.layers=2,3", "gpus=1,2"])
    assert [(c["model"]["layers"], c["gpus"]) for c in configs] == [(2, 1), (2, 2), (3, 1), (3, 2)]


def test_a_wrong_swept_value_names_the_key(hydra):
    with pytest.raises(UserError, match="there is no such key"):
        fast(hydra, ["model.depth=1,2"])


def test_the_default_partition_comes_from_the_environment(hydra, monkeypatch):
    monkeypatch.setenv("VIT_SWEEP_PARTITION", "vector_t4v2")
    assert compose("config").partition.name == "vector_t4v2"
    monkeypatch.delenv("VIT_SWEEP_PARTITION")
    assert compose("config").partition.name == "local"


def test_shipped_yaml_has_no_key_that_hydra_would_lose():
    for path in conf_dir().glob("*/*.yaml"):
        assert OmegaConf.load(path), path
    assert "torch" not in sys.modules
