"""Looking again and again at a question without being fooled by it: what each look may claim. Pure.

A question for a number stops when its interval is narrow. That looks at the spread of runs alone, of which their mean
is independent (normal logarithms), so that only a spread that is small by luck can do harm: `evidence.ASSUMED` is
against that, and every look has the whole confidence.

A question for a threshold stops because of the value itself, so that each look is another chance to be wrong. The
probability of that is divided between the looks (Bonferroni; alpha spending of Lan and DeMets 1983, without what they
gain from looks being alike): `EARLY` of it evenly between the first `PLANNED` looks, the rest between all later ones as
1/(k (k+1)), which adds up to it however many there are.
"""

PLANNED = 6
"""Looks that a question is expected to take."""
EARLY = 0.9


def confidence_of(look: int, confidence: float) -> float:
    """The confidence of a look's intervals, the first look being 1, so that all looks together have `confidence`.

    >>> [round(1 - confidence_of(look, 0.95), 4) for look in (1, 6, 7, 8)]
    [0.0075, 0.0075, 0.0025, 0.0008]
    """
    wrong = 1 - confidence
    if look <= PLANNED:
        return 1 - EARLY * wrong / PLANNED
    later = look - PLANNED
    return 1 - (1 - EARLY) * wrong / (later * (later + 1))
