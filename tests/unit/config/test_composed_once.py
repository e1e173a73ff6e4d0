"""How often Hydra composes for one command: never for what is kept, and once for each choice of groups else."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from vit_sweep.__main__ import main

FIG8 = [
    *("partition=vector_t4v2", "model=vit_b_16", "data=cifar10", "engine=zero0", "optimizer=adamw", "grid=paper_fig8"),
]
"""Groups of the grid of that name, and it."""


@pytest.fixture
def compositions(monkeypatch):
    """The override strings of every composition of Hydra's."""
    made, compose_all = [], ConfigLoaderImpl.load_configuration

    def counting(self, config_name, overrides, **words):
        made.append([word for word in overrides if not word.startswith("hydra.")])
        return compose_all(self, config_name=config_name, overrides=overrides, **words)

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", counting)
    return made


@pytest.mark.parametrize(
    ("words", "further"),
    [
        (["model=vit_b_16", "++seed=1", "partition=vector_t4v2"], []),
        (["-m", "gpus=1,2", "batch=16,32", "model=vit_b_16", "+partition.exclude='n1'", "partition=vector_t4v2"], []),
        (["-m", "gpus=1,2", "engine=zero1,zero2", "zip=[]"], [["engine=zero1"], ["engine=zero2"]]),
        (["hydra.mode=MULTIRUN", "seed=1,2"], [["seed=1,2", "dry_run=true"]]),
    ],
)
def test_a_command_that_hydra_reads_composes_once_and_once_more_for_each_swept_choice_of_groups(
    words, further, compositions, tmp_path, monkeypatch
):
    """Who sets `hydra.mode` has it composed for, as Hydra does for everybody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["vit_sweep"])
    assert main([*words, "dry_run=true"]) == 0
    task = [word for word in words if word != "-m" and not word.startswith("hydra.")]
    assert compositions == [[*task, "dry_run=true"], *further]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["gpus=2"], [[]]),
        (["-m", "gpus=1,2", "partition=vector_t4v2", "epochs=1"], [["partition=vector_t4v2"]]),
        (["-m", "gpus=1,2", "engine=zero1,zero2"], [["engine=zero1"], ["engine=zero2"]]),
        (["-m", "grid=paper_fig8", "gpus=1,2"], [["grid=paper_fig8"], FIG8]),
    ],
)
def test_a_plain_command_composes_each_choice_of_groups_once_and_then_never(
    words, chosen, compositions, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["vit_sweep"])
    for made in (chosen, [], []):
        compositions.clear()
        assert main([*words, "dry_run=true", f"study=s{len(made)}"]) == 0
        assert compositions == made


def test_a_group_that_a_command_leaves_open_is_asked_for(sweep):
    answer = sweep("-m", "partition=???", "gpus=1,2", "dry_run=true")
    assert answer.returncode == 2
    assert "You must specify 'partition'" in answer.stderr


def test_a_users_own_file_may_say_that_a_command_is_a_grid(sweep, tmp_path):
    (tmp_path / "own/kind").mkdir(parents=True)
    (tmp_path / "own/kind/grid.yaml").write_text("# @package _global_\nhydra: {mode: MULTIRUN}\n")
    words = ("+kind=grid", "gpus=1,2", "partition=vector_t4v2", "dry_run=true", "study=s")
    for place, env in ((("--config-dir", "own"), {}), ((), {"VIT_SWEEP_CONF": str(tmp_path / "own")})):
        answer = sweep(*place, *words, env=env)
        assert answer.returncode == 0, answer.stderr
        assert "2 points, 2 cells" in answer.stdout
