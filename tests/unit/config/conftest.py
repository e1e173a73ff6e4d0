"""Hydra over the shipped configurations, started once for each module."""

import copy
from functools import cache

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from vit_sweep.config.compose import expand
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.settings import read


@pytest.fixture(scope="module")
def hydra():
    """Hydra itself; `compose` works while it is there."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        yield GlobalHydra.instance().hydra


@pytest.fixture(scope="module")
def ask(hydra):
    """Points and settings of a sweep with these words; the same choice of groups is composed once for all tests."""
    master = compose("config", return_hydra_config=True)
    composed = cache(lambda chosen: hydra.config_loader.load_sweep_config(master, list(chosen)))
    loader = copy.copy(hydra.config_loader)
    loader.load_sweep_config = lambda _, chosen: copy.deepcopy(composed(tuple(chosen)))
    return lambda *words: read(expand(list(words), loader=loader, master=master))
