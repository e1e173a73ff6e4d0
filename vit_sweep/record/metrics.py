"""How well a task is learnt, where right and wrong do not say it: the names and meanings of the measures. Pure."""

from typing import NamedTuple

from vit_sweep.plan.choices import Task


class Metric(NamedTuple):
    """A measure of the whole test split, after an epoch."""

    name: str
    """In records; columns of tables are `test_NAME`."""
    title: str
    task: Task
    meaning: str
    of_one: bool = False
    """A part of 1, which is shown in percent."""

    @property
    def column(self) -> str:
        """Of tables."""
        return f"test_{self.name}"


METRICS = (
    Metric(
        "map",
        "mean average precision",
        Task.MULTILABEL,
        "Mean over labels of the area below precision against recall; labels that no test image has are left out.",
        of_one=True,
    ),
    Metric("f1", "F1", Task.MULTILABEL, "Of all labels of all test images together, at probability 0.5.", of_one=True),
    Metric("mae", "mean absolute error", Task.REGRESSION, "In the data's own units; of several numbers their mean."),
    Metric("rmse", "root mean squared error", Task.REGRESSION, "In the data's own units, over all numbers."),
    Metric(
        "r2",
        "R²",
        Task.REGRESSION,
        "1 - squared error over that of the test split's own mean; of several numbers their mean. 1 is perfect, 0 no "
        "better than that mean.",
    ),
    Metric(
        "image_to_text",
        "image to text R@1",
        Task.CONTRASTIVE,
        "Recall at 1: test images whose nearest caption, of all distinct ones of the test split, is their own.",
        of_one=True,
    ),
    Metric(
        "text_to_image",
        "text to image R@1",
        Task.CONTRASTIVE,
        "Recall at 1: distinct captions of the test split whose nearest test image has them.",
        of_one=True,
    ),
)
"""Those of one task in the order in which they tell; figures show the first."""


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The measures of a task; of classification none: that has its accuracy."""
    return tuple(metric for metric in METRICS if metric.task is task)
