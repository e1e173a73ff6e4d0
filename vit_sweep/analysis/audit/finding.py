"""What an audit says: claims, findings and the evidence that rules look at: the types. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from launchers.checked import checked
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.point import Scaling
from vit_sweep.runs.run import Run


class Claim(StrEnum):
    """What scaling studies are usually made to say."""

    THROUGHPUT = "throughput"
    """So many GPUs pass images through the model so many times faster."""
    FIXED_PROBLEM = "fixed problem"
    """The same training (equal global batch, equal steps) is done so many times sooner."""
    ACCURACY = "accuracy"
    """The model classifies new images so well."""
    TIME_TO_ACCURACY = "time to accuracy"
    """An equal accuracy is reached so many times sooner."""
    COMMUNICATION = "communication"
    """Exchanging gradients takes such a part of a step."""
    SMALL_DIFFERENCES = "small differences"
    """This placement, batch or GPU count is some percent better than that one, or is not."""


IN_WORDS = {
    Claim.THROUGHPUT: "more GPUs pass images through the model so many times faster",
    Claim.FIXED_PROBLEM: "the same training, with the same global batch, is done so many times sooner",
    Claim.ACCURACY: "the model classifies new images so well",
    Claim.TIME_TO_ACCURACY: "an equal accuracy is reached so many times sooner",
    Claim.COMMUNICATION: "exchanging gradients takes such a part of a step",
    Claim.SMALL_DIFFERENCES: "this cell is some percent better than that one, or is not",
}
"""Each claim as a study would put it."""


class Severity(StrEnum):
    """What a finding does to its claims."""

    FALLS = "falls"
    """The data cannot carry the claim."""
    WEAKENS = "weakens"
    """The claim stands with the stated reservation."""


class Standing(StrEnum):
    """How a claim stands after all rules."""

    HOLDS = "holds"
    """No rule speaks against it."""
    WEAKENED = "weakened"
    FALLS = "falls"
    OPEN = "no data"
    """Nothing was measured that could carry it."""


@checked
class Finding:
    """One thing that a rule found."""

    rule: str
    severity: Severity = Severity.WEAKENS
    claims: tuple[Claim, ...]
    where: str = ""
    """The series, as its label says, or empty: everything."""
    sentence: str
    """With the numbers."""
    advice: str
    """What to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the rules look at."""

    runs: tuple[Run, ...]
    strong: tuple[ScalingSeries, ...]
    weak: tuple[ScalingSeries, ...]

    @property
    def series(self) -> tuple[ScalingSeries, ...]:
        """All of them."""
        return (*self.strong, *self.weak)


Rule = Callable[[Evidence], Iterable[Finding]]


def evidence_of(runs: Iterable[Run], *, refine: Callable[[ScalingSeries], ScalingSeries] = lambda one: one) -> Evidence:
    """Group runs into series; `refine` may add intervals to each (`bootstrap.with_intervals`).

    A run that is given twice counts once, and the order in which runs are given means nothing.
    """
    by_id = {run.run_id: run for run in runs}
    every = tuple(sorted(by_id.values(), key=lambda run: (run.gpus, run.run_id)))
    strong, weak = (tuple(refine(one) for one in group(every, scaling)) for scaling in (Scaling.STRONG, Scaling.WEAK))
    if strong and weak:
        # A label tells series of one mode apart.
        strong, weak = (
            tuple(replace(one, label=f"{one.key.scaling.value}, {one.label}") for one in mode)
            for mode in (strong, weak)
        )
    return Evidence(runs=every, strong=strong, weak=weak)


def gpus_of(count: int) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{count} GPU{'' if count == 1 else 's'}"
