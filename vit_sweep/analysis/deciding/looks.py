"""Looking again and again at a question without being fooled by it: what each look may claim. Pure; numpy.

A question for a number stops when its interval is narrow. That looks at the spread of runs alone, of which their mean
is independent (normal logarithms), so that only a spread that is small by luck can do harm: `evidence.ASSUMED` is
against that, and every look has the whole confidence.

A question for a threshold stops because of the value itself, so that each look is another chance to be wrong. `EARLY`
of that probability is for the first `PLANNED` looks, which may all claim as much (Pocock 1977): more than a sixth each,
since a look that rests on half of the next one's runs is mostly wrong together with it. The rest is divided between all
later looks as 1/(k (k+1)), which adds up to it however many there are (Bonferroni).
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

PLANNED = 6
"""Looks that a question is expected to take."""
EARLY = 0.9
GROWTH = 2.0
"""What is known at a look, at most, as a multiple of what was at the one before: the more, the less are they alike."""
_GRID = np.linspace(-6.0, 0.0, 201)


def confidence_of(look: int, confidence: float) -> float:
    """The confidence of a look's intervals, the first look being 1, so that all looks together have `confidence`.

    >>> [round(1 - confidence_of(look, 0.95), 4) for look in (1, 6, 7, 8)]
    [0.0097, 0.0097, 0.0025, 0.0008]
    """
    wrong = 1 - confidence
    if look <= PLANNED:
        return 1 - 2 * _of_each(EARLY * wrong / 2)
    later = look - PLANNED
    return 1 - (1 - EARLY) * wrong / (later * (later + 1))


@lru_cache
def _of_each(wrong: float) -> float:
    """The probability of each planned look to be wrong on one side, with which one of them is with `wrong`."""
    bound = brentq(lambda bound: _of_one(bound) - wrong, 0.0, -float(ndtri(wrong / PLANNED)) + 1e-6)
    return float(ndtr(-bound))


def _of_one(bound: float) -> float:
    """The probability that a planned look sees a mean more than `bound` errors above the truth.

    By what is not above at a look, integrated from look to look (Armitage, McPherson and Rowe 1969).
    """
    seen, kept, rest = _GRID + bound, GROWTH**-0.5, (1 - 1 / GROWTH) ** 0.5
    step = (seen[1] - seen[0]) * np.where((seen == seen[0]) | (seen == seen[-1]), 0.5, 1.0)
    density, wrong = _normal(seen), float(ndtr(-bound))
    for _ in range(PLANNED - 1):
        wrong += float(density * step @ ndtr((kept * seen - bound) / rest))
        density = (density * step) @ _normal((seen[None, :] - kept * seen[:, None]) / rest) / rest
    return wrong


def _normal(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.exp(-(x**2) / 2) / (2 * np.pi) ** 0.5)
