"""What is learnt beside classes: labels and numbers. Metrics against values worked out by hand, and trained."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest

from tests.e2e.train.ranks import Job, small_cell
from tests.unit.builders import DATA
from vit_sweep.plan.choices import Pipeline, Task
from vit_sweep.record.metrics import METRICS, metrics_of

pytestmark = pytest.mark.train

OTHERS = (Task.MULTILABEL, Task.REGRESSION)


def trained(folder, **changes):
    """The record of a small cell."""
    job = Job(folder, small_cell(**changes))
    assert job.run() == [0] * job.cell.gpus, job.log()
    return job.json("record.json")


def in_python(body):
    """What a process of its own prints, which may import torch."""
    preamble = (
        "import json, torch\nfrom vit_sweep.job.train.objective import *\nfrom vit_sweep.plan.point import Task\n"
    )
    completed = subprocess.run([sys.executable, "-c", preamble + body], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def test_metrics_are_those_of_the_definitions():
    """Three labels of four images, of which the last label is on none; numbers in units of their own."""
    answers = [[2.0, -1.0, -3.0], [1.0, 1.0, -3.0], [-1.0, 2.0, -3.0], [0.5, -2.0, 4.0]]
    truth = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    numbers, wanted = [[1.0], [2.0], [3.0], [6.0]], [[1.5], [2.0], [2.5], [7.0]]
    printed = in_python(f"""
answers, there = torch.tensor({answers}), torch.tensor({truth}).float()
numbers, wanted = torch.tensor({numbers}), torch.tensor({wanted})
units = units_of(wanted)
standard = lambda values: standardised(values, units)
print(json.dumps([
    scores(Task.MULTILABEL, answers, there, None),
    scores(Task.REGRESSION, standard(numbers), standard(wanted), units),
    scores(Task.REGRESSION, standard(numbers[:1]), standard(wanted[:1]), units),
    scores(Task.MULTILABEL, answers, torch.zeros(4, 3), None),
    scores(Task.REGRESSION, numbers * 1e-5, wanted * 1e-5, None),
    scores(Task.REGRESSION, numbers.repeat(1, 2), torch.cat([wanted, wanted * 0 + 0.1], dim=1), None),
    scores(Task.CLASSIFICATION, answers, torch.tensor([0, 1, 1, 2]), None),
    [float(loss_of(Task.MULTILABEL, answers, there)), float(loss_of(Task.REGRESSION, numbers, wanted))],
    [float(loss_of(Task.MULTILABEL, answers, there, summed=True)), float(correct_of(Task.REGRESSION, numbers, wanted))],
]))
""")
    labels, values, of_one, of_none, small, half_equal, of_classes, means, sums = printed
    # Label 1 is found first and fourth, at precision 1 and 2/4; label 2 at 1 and 2/2.
    assert labels["map"] == pytest.approx(((1 + 2 / 4) / 2 + 1) / 2)
    assert labels["f1"] == pytest.approx(2 * 3 / (2 * 3 + 3 + 1))
    error = [0.5, 0.0, 0.5, 1.0]
    assert values["mae"] == pytest.approx(sum(error) / 4, rel=1e-5)
    assert values["rmse"] == pytest.approx(math.sqrt(sum(e * e for e in error) / 4), rel=1e-5)
    mean = sum(w for (w,) in wanted) / 4
    spread = sum((w - mean) ** 2 for (w,) in wanted)
    assert values["r2"] == pytest.approx(1 - sum(e * e for e in error) / spread, rel=1e-5)
    assert (small["r2"], half_equal["r2"]) == pytest.approx([values["r2"]] * 2), "in any unit; of what varies"
    assert (set(of_one), "map" in of_none, of_classes) == ({"mae", "rmse"}, False, {})
    entropy = [
        math.log1p(math.exp(-x if y else x))
        for row, labels_ in zip(answers, truth, strict=True)
        for x, y in zip(row, labels_, strict=True)
    ]
    assert means == pytest.approx([sum(entropy) / 12, sum(e * e for e in error) / 4], rel=1e-5)
    assert sums == pytest.approx([sum(entropy) / 3, 0], rel=1e-5)


def test_metrics_are_those_of_torchmetrics():
    """Of random answers, many of them equal, and of labels that few images have."""
    pairs = in_python("""
from torchmetrics.functional import classification as labels, regression as numbers
draw = torch.Generator().manual_seed(7)
pairs = []
for images, outputs in [(6, 2), (9, 3), (40, 4), (300, 7)]:
    for coarse in (1, 50):
        answers = (torch.randn((images, outputs), generator=draw) * coarse).round() / coarse
        there = (torch.rand((images, outputs), generator=draw) < 0.3).float()
        own, likely = scores(Task.MULTILABEL, answers, there, None), answers.double().sigmoid()
        each = labels.multilabel_average_precision(likely, there.long(), num_labels=outputs, average="none")
        if there.any():
            pairs.append((own["map"], float(each[there.any(dim=0)].mean())))
        f1 = labels.multilabel_f1_score(likely, there.long(), num_labels=outputs, average="micro")
        pairs.append((own["f1"], float(f1)))
        wanted = torch.randn((images, outputs), generator=draw)
        own, pair = scores(Task.REGRESSION, answers, wanted, None), (answers.double(), wanted.double())
        pairs += [(own["mae"], float(numbers.mean_absolute_error(*pair))), (own["r2"], float(numbers.r2_score(*pair)))]
        flat = [part.flatten() for part in pair]
        pairs.append((own["rmse"], float(numbers.mean_squared_error(*flat, squared=False))))
print(json.dumps(pairs))
""")
    assert len(pairs) > 36
    own, theirs = zip(*pairs, strict=True)
    assert own == pytest.approx(theirs, rel=1e-5, abs=1e-6)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The record of one rank that learns a task, trained once."""
    return cache(lambda task: trained(tmp_path_factory.mktemp("alone"), task=task, epochs=2))


LAYOUTS = {
    Task.MULTILABEL: ({"gpus": 2}, {"gpus": 2, "zero": 3, "pipeline": Pipeline.LOADER}),
    Task.REGRESSION: ({"gpus": 2, "sequence": 2, "micro_batch": 8}, {"gpus": 2, "zero": 3}),
}
"""Of one global batch, a sequence group among them; which goes with which task makes no difference to either."""


@pytest.mark.parametrize("task", OTHERS)
def test_a_task_is_learnt_alike_on_any_number_of_ranks_and_told_by_its_own_metrics(task, alone, tmp_path):
    """20 test images do not divide over the ranks."""
    names = {metric.name for metric in metrics_of(task)}
    for epoch in alone(task)["epochs"]:
        assert set(epoch["test_metrics"]) == names
        assert (epoch["train_accuracy"], epoch["test_accuracy"]) == (None, None)
    for number, layout in enumerate(LAYOUTS[task]):
        other = trained(tmp_path / str(number), task=task, epochs=2, **layout)
        for one, two in zip(alone(task)["epochs"], other["epochs"], strict=True):
            for name in ("train_loss", "test_loss"):
                assert two[name] == pytest.approx(one[name], rel=1e-4)
            assert two["test_metrics"] == pytest.approx(one["test_metrics"], rel=1e-3, abs=1e-3)
    assert alone(task)["gradients"]["difference"] < 1e-4


@pytest.mark.parametrize("task", OTHERS)
def test_what_can_be_learnt_is_learnt(task, tmp_path):
    """Made-up images that show their targets under noise: precision far above chance, errors below the mean's."""
    data = replace(DATA, train_images=2048, test_images=256, classes=4)
    trained_cell = small_cell(
        task=task,
        epochs=6,
        micro_batch=32,
        train_images=2048,
        data=data,
        optimizer=replace(small_cell().optimizer, learning_rate=2e-3),
    )
    job = Job(tmp_path, trained_cell)
    assert job.run() == [0], job.log()
    last = job.json("record.json")["epochs"][-1]["test_metrics"]
    if task is Task.MULTILABEL:
        assert last["map"] > 0.9 and last["f1"] > 0.8, last  # by chance: half
    else:
        # A number between 0 and 1: the mean of all is off by a quarter.
        assert last["r2"] > 0.8 and last["mae"] < 0.12 and last["rmse"] >= last["mae"], last


@pytest.mark.parametrize("task", OTHERS)
def test_a_run_goes_on_as_if_it_had_never_stopped(task, alone, tmp_path):
    job = Job(tmp_path, small_cell(task=task, epochs=2))
    assert job.run(probe=("signal_at", 0, "SIGUSR2", 2, 3)) == [1], job.log()
    assert job.run(attempt=2) == [0], job.log(attempt=2)
    keys = ("train_loss", "test_loss", "test_metrics")
    again = job.json("record.json")
    assert [[e[k] for k in keys] for e in again["epochs"]] == [[e[k] for k in keys] for e in alone(task)["epochs"]]


def test_every_metric_has_a_column_of_its_own_name():
    assert len({metric.column for metric in METRICS}) == len(METRICS)
    assert not any("accuracy" in f"{metric.name} {metric.title}".lower() for metric in METRICS)
