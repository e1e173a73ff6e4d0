"""What outputs on a whole test split are worth, where right and wrong do not say it: of labels, and of numbers.

They are torchmetrics' (a test compares them), whose import took every rank as long as torch's own.
"""

import torch
from torch import Tensor


def of_labels(logits: Tensor, there: Tensor) -> dict[str, float]:
    """Mean average precision and F1 of logits and targets (0 or 1), (n, labels) each.

    The mean is over the labels that some image has; `map` is left out where none has any. F1 counts all labels
    together, found where the probability is above one half: 2 TP / (2 TP + FP + FN), 0 where nothing is there or found.
    """
    known = there.any(dim=0).nonzero().flatten().tolist()
    found, wanted = logits > 0, there > 0
    hits, all_of_both = int((found & wanted).sum()), int(found.sum()) + int(wanted.sum())
    values = {"f1": 2 * hits / all_of_both if all_of_both else 0.0}
    if known:
        values["map"] = sum(average_precision(logits[:, label], wanted[:, label]) for label in known) / len(known)
    return values


def average_precision(logits: Tensor, there: Tensor) -> float:
    """The area below precision against recall of one label, (n,) each: the sum over thresholds of precision x the
    recall that is gained there. Images with equal logits are found together."""
    order = logits.argsort(descending=True)
    ranked, hits = logits[order], there[order].cumsum(0)
    last = torch.ones_like(ranked, dtype=torch.bool)
    last[:-1] = ranked[1:] != ranked[:-1]
    counts = (torch.arange(len(ranked), device=ranked.device) + 1)[last]
    hits = hits[last]
    gained = hits.diff(prepend=hits.new_zeros(1)) / hits[-1]
    return float((gained.double() * hits / counts).sum())


def of_numbers(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    """Mean absolute error, root of the mean squared error, and R², of float64 (n, numbers) each.

    R² is the mean over the numbers that vary, of 1 - squared errors / squared deviations from the mean of the targets;
    left out where none varies, as of one image.
    """
    errors = outputs - targets
    values = {"mae": float(errors.abs().mean()), "rmse": float(errors.square().mean().sqrt())}
    varies = targets.amax(dim=0) > targets.amin(dim=0)
    if varies.any():
        deviations = (targets - targets.mean(dim=0))[:, varies]
        values["r2"] = float((1 - errors[:, varies].square().sum(dim=0) / deviations.square().sum(dim=0)).mean())
    return values
