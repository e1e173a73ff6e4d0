"""What a step moves in memory is what its operations read and write, counted by hand."""

import pytest
import torch
from torch import nn

from vit_sweep.job.train.measure.counting import counting

pytestmark = pytest.mark.train

FLOAT = 4
X, A, B = torch.ones(100), torch.ones(10, 20), torch.ones(20, 30)


def moved_bytes(work):
    with counting() as counter:
        work()
    return counter.moved_bytes


@pytest.mark.parametrize(
    ("work", "floats"),
    [
        (lambda: A @ B, 200 + 600 + 300),
        (lambda: X + 1, 100 + 100),
        (lambda: X.add_(1), 100 + 100),
        (X.zero_, 100),
        (lambda: X.copy_(torch.ones_like(X)), 100 + 100 + 100),
        (lambda: torch.add(X, X, out=torch.empty(100)), 100 + 100 + 100),
        (lambda: torch._foreach_mul_([X, X], 1.0), 4 * 100),
        (lambda: X.view(10, 10).t(), 0),
        (lambda: torch.empty(50), 0),
    ],
)
def test_an_operation_moves_what_it_reads_and_writes_and_a_view_nothing(work, floats):
    assert moved_bytes(work) == FLOAT * floats


def test_backward_and_the_update_are_counted():
    """y = sum(x w), one weight matrix without bias: forward, gradient of the weights, fused update with two moments."""
    layer = nn.Linear(20, 30, bias=False)
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    images = torch.ones(10, 20)

    def step():
        layer(images).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the moments
    forward = moved_bytes(lambda: layer(images))
    assert forward == FLOAT * (200 + 600 + 300)
    # Each weight in the update: weight, gradient and two moments read, weight and two moments written.
    assert moved_bytes(step) >= 2 * forward + 7 * FLOAT * 600
