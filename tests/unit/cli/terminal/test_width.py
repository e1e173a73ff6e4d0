"""How wide a command prints where nobody looks: what COLUMNS says, else enough for a table."""

import pytest

GRID = ["-m", "gpus=1,2", "partition=vector_t4v2", "model=vit_b_16", "data=cifar100", "dry_run=true"]


@pytest.mark.parametrize(("environment", "widest"), [({"COLUMNS": "60"}, 60), ({"COLUMNS": "wide"}, 160), ({}, 160)])
def test_a_log_is_as_wide_as_it_is_told(sweep, environment, widest):
    answer = sweep(*GRID, env=environment)
    assert answer.returncode == 0, answer.stderr
    (axes,) = [text for text in answer.stdout.split("\n\n") if "model vit_b_16" in text]
    widths = [len(line.rstrip()) for line in axes.splitlines()]
    assert max(widths) <= widest
    assert max(widths) > 0.6 * widest
