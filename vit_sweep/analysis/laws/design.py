"""Which cell to run next, by the covariance of the best law. Pure.

The next most informative cell is chosen as in optimal design (Atkinson, Donev and Tobias 2007, chapter 10): with
covariance C of the fitted coefficients, residual s and g(p) = d ln T(p) / d coefficients, one more run on p GPUs gives
C' = C - C g g'C / (s^2 + g'C g) (Sherman and Morrison 1950). What counts is the mean of g(r)'C g(r), the variance of
the predicted ln T, over r = smallest count and its doublings up to the reach of predictions (I-optimality). Of the
candidates that lower it at least half as much as the best one does, the one that lowers it most per GPU-second p T(p)
is named. Candidates: the measured counts again, the geometric means of neighbours, one doubling beyond the largest.
Where even the best law is wrong about held-out counts, its covariance means little: then the count that it predicts
worst is run again.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from launchers.checked import checked
from launchers.text import plural
from vit_sweep.analysis.laws.fitted import HOLD_OUT_LIMIT, Fit
from vit_sweep.plan.choices import BatchPer

_WORTH = 0.5
"""Part of the best candidate's gain that a cheaper one must reach."""
_NOTHING = 1e-12
"""Variance of ln T below which there is nothing that a measurement could narrow."""


@checked
class NextCell:
    """A GPU count to run, and why."""

    gpus: int
    why: str
    gain: float | None = None
    """Part of the mean variance of predicted ln T that the run would take away."""


def next_cell(law: Fit) -> NextCell:
    """Choose for a law that was fitted (no refusal)."""
    if law.loo_error is not None and law.loo_error > HOLD_OUT_LIMIT:
        gpus, error = max(law.held_out, key=lambda held_out: held_out[1])
        why = f"the count that {law.name}, the best law, predicts worst when it is held out ({error:.0%} off)"
        return NextCell(gpus=gpus, why=why)
    gains = {gpus: gain(law, gpus) for gpus in candidates(law)}
    if not any(gains.values()):
        why = f"since the runs show no spread that another one could narrow; it tests {law.name} where it is unproven"
        return NextCell(gpus=max(gains), why=why)
    worth = [gpus for gpus, part in gains.items() if part >= _WORTH * max(gains.values())]
    gpus = max(worth, key=lambda count: (gains[count] / (count * law.time_s(count)), -count))
    narrower = 1 - math.sqrt(max(0.0, 1 - gains[gpus]))
    why = (
        f"which would narrow the intervals of {law.name} over {min(law.counts)} to {plural(region(law)[-1], 'GPU')} by "
        f"{narrower:.0%} for about {gpus * law.time_s(gpus) / 3600:.2g} GPU-hours an epoch"
    )
    return NextCell(gpus=gpus, why=why, gain=gains[gpus])


def candidates(law: Fit) -> list[int]:
    """GPU counts to choose from: those that the batch and the images of an epoch allow."""
    counts, load = law.counts, law.load
    between = [round(math.sqrt(a * b)) for a, b in pairwise(counts)]
    double, most = 2 * max(counts), law.layout.most
    further = () if law.layout.why_not(double) or (most is not None and double > most) else (double,)
    possible = sorted({*counts, *between, *further})
    if not load.known:
        return possible
    whole = load.batch_per == BatchPer.GLOBAL
    # What was measured could run, whatever its source says of its batch.
    return [
        gpus
        for gpus in possible
        if gpus in counts
        or (
            load.per_gpu(gpus) * gpus <= load.images(gpus)
            and not (whole and (load.batch or 0) % (gpus * (load.accum or 1)))
        )
    ]


def region(law: Fit) -> list[int]:
    """The smallest count and its doublings, as far as a prediction may go: never over a link that no run crossed."""
    counts = [min(law.counts)]
    while counts[-1] * 2 <= law.reach and not law.layout.why_not(counts[-1] * 2):
        counts.append(counts[-1] * 2)
    return counts


def gain(law: Fit, gpus: int) -> float:
    """Part of the mean variance of predicted ln T that one more run on `gpus` GPUs would take away, 0 to 1."""
    gradient = law.gradient(gpus)
    effect = _times(law, gradient)
    noise = (law.residual or 0.0) ** 2 + _dot(gradient, effect)
    before = after = 0.0
    counts = region(law)
    for count in counts:
        there = law.gradient(count)
        before += _dot(there, _times(law, there))
        after += _dot(there, effect) ** 2
    return after / noise / before if before > len(counts) * _NOTHING and noise > 0 else 0.0


def _times(law: Fit, vector: Sequence[float]) -> list[float]:
    return [_dot(row, vector) for row in law.covariance]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))
