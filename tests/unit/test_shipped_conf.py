"""Every shipped configuration is a test case: it parses, is named as its file, and plans."""

import pytest
from hydra import compose, initialize_config_dir

from vit_sweep.compose import conf_dir, plain
from vit_sweep.config import read
from vit_sweep.plan import make_plan

GROUPS = ("partition", "model", "data", "engine", "optimizer")
SHIPPED = [(group, path.stem) for group in GROUPS for path in sorted((conf_dir() / group).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "name"), SHIPPED, ids=lambda part: part)
def test_a_shipped_option_parses_and_one_cell_of_it_plans(group, name):
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        config = plain(compose("config", overrides=[f"{group}={name}"]))
    points, _ = read([config])
    assert getattr(points[0], group).name == name
    plan = make_plan(points)
    assert not plan.infeasible
    assert len(plan.cells) == 1


def test_vit_b_16_is_the_papers_model():
    """torchvision's vit_b_16 has 86,567,656 parameters with its 1000-way head (arXiv:2602.21081, table)."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        points, _ = read([plain(compose("config", overrides=["model=vit_b_16"]))])
    model, classes = points[0].model, 1000
    d, tokens = model.width, (model.image_size // model.patch_size) ** 2 + 1
    block = 4 * d * d + 4 * d + 2 * d * model.mlp_width + d + model.mlp_width + 4 * d
    total = d + tokens * d + 3 * model.patch_size**2 * d + d + model.layers * block + 2 * d + d * classes + classes
    assert total == 86_567_656
