"""A round of runs: how many of which counts, what it costs, what a budget leaves of it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from vit_sweep.analysis.deciding.evidence import Evidence, Value
from vit_sweep.plan.deciding.decision import Choice

GROWTH = 0.5
"""Information (1/variance) that a round adds at most, as a part of what the answer rests on."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What to run next; nothing, and why."""

    choices: tuple[Choice, ...] = ()
    stop_reason: str = ""
    count: int | None = None
    """The count that a threshold is asked of."""


def within(round_: Round, evidence: Evidence, hours: float) -> Round:
    """The same round with no more GPU-hours than these; nothing where not even one run fits.

    Whole, or its first runs as they fit.
    """
    affordable: list[Choice] = []
    left = max(0.0, hours)  # runs that took longer than their like may have spent more than there was
    for choice in round_.choices:
        fit = min(choice.runs, int(left / evidence.hours(choice.gpus) + 1e-9)) if evidence.hours(choice.gpus) > 0 else 0
        if fit:
            affordable.append(replace(choice, runs=fit))
            left -= fit * evidence.hours(choice.gpus)
    return replace(round_, choices=tuple(affordable))


def cost(choices: tuple[Choice, ...], evidence: Evidence) -> float:
    """GPU-hours of a round."""
    return sum(choice.runs * evidence.hours(choice.gpus) for choice in choices)


def allocate(
    evidence: Evidence, weights: Mapping[int, float], enough: Callable[[Value], bool], growth: float = GROWTH
) -> dict[int, int]:
    """Runs to add one by one where each lowers the variance most per GPU-hour, until that would be `enough`.

    At least one, where there is room, and none once what they can narrow is narrowed by 1 + `growth`. The number of
    runs is no measure of that: those of a dear count would grow by as many as cheap ones may.
    """
    more: dict[int, int] = {}

    def variance() -> float:
        return sum(
            weight**2 * evidence.run_variance(gpus) / (evidence.n(gpus) + more.get(gpus, 0))
            for gpus, weight in weights.items()
        )

    least = variance() / (1 + growth)
    while not more or (variance() > least * (1 + 1e-9) and not enough(evidence.value(weights, more))):
        rates = {}
        for gpus, weight in weights.items():
            n = evidence.n(gpus) + more.get(gpus, 0)
            if evidence.room(gpus) > more.get(gpus, 0):
                gain = weight**2 * evidence.run_variance(gpus) * (1 / n - 1 / (n + 1))
                rates[gpus] = gain / max(1e-12, evidence.hours(gpus))
        if not rates:
            break
        best = max(rates, key=lambda gpus: (rates[gpus], -gpus))
        more[best] = more.get(best, 0) + 1
    return more


def why_exhausted(evidence: Evidence, counts: Mapping[int, object]) -> str:
    failed = evidence.failed or {}
    for gpus in counts:
        if gpus in failed:
            return f"gpus={gpus} ended as {failed[gpus]}: without it there is no answer"
    listed = ", ".join(map(str, counts))
    return f"gpus={listed} ran max_repeats={evidence.most} times each; a larger one goes on"
