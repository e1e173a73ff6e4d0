"""What a fit gives: parameters with intervals, hold-out errors, the curve. Pure, without numpy."""

import math

from launchers.checked import End, checked
from vit_sweep.analysis.laws.crossing import Layout
from vit_sweep.analysis.laws.laws import NAMES, Law, MeasuredLink, Workload, law_time_s, terms

REACH = 4.0
"""Predictions reach to this multiple of the largest measured GPU count, and down to this part of the smallest."""
HOLD_OUT_LIMIT = 0.10
"""Relative error of held-out counts up to which anything beyond the measured range is said."""


@checked
class Parameter:
    """One parameter of a law."""

    name: str
    value: float
    low: float | None
    """95 % interval, cut at zero, where the parameter's range ends."""
    high: End | None
    unit: str = ""
    how: str = "fitted"
    """fitted, measured (by the preflight), or derived from fitted ones."""


@checked
class Fit:
    """One law over one series. With a `refusal` it holds no numbers."""

    law: Law
    load: Workload
    counts: tuple[int, ...]
    """Distinct GPU counts behind it."""
    runs: int
    """Runs behind it."""
    refusal: str = ""
    """Why the law cannot be fitted; a sentence with the numbers."""
    parameters: tuple[Parameter, ...] = ()
    residual: float | None = None
    """Standard deviation of a run around the curve, relative; where no count ran twice, at least what makes 95 % of
    single runs good to `solving.SINGLE_RUN`."""
    loo_error: float | None = None
    """Mean over GPU counts of |predicted / measured - 1|, each predicted by a fit without it."""
    largest_error: float | None = None
    """The same of the largest count alone."""
    held_out: tuple[tuple[int, float], ...] = ()
    """The same of every count."""
    coefficients: tuple[float, ...] = ()
    """See `laws.terms`."""
    free: tuple[float, ...] = ()
    """Without bounds: where intervals are centred."""
    covariance: tuple[tuple[float, ...], ...] = ()
    """Of the coefficients, from the fit without bounds."""
    t_quantile: float | None = None
    """97.5 % quantile of Student's t for runs less coefficients."""
    link: MeasuredLink | None = None
    size_bytes: float | None = None
    """Gradient of a step, where it is known."""
    baseline_gpus: int | None = None
    layout: Layout = Layout()
    """Which links the runs crossed."""
    notes: tuple[str, ...] = ()
    """What must be read with its numbers: runs of contended hosts among quiet ones."""

    @property
    def name(self) -> str:
        """The law, as a sentence names it."""
        return NAMES[self.law]

    @property
    def reach(self) -> int:
        """Largest GPU count that a prediction may be about."""
        return math.floor(REACH * max(self.counts)) if self.counts else 0

    def parameter(self, name: str) -> Parameter:
        """One parameter by its name; raises `KeyError`."""
        return {parameter.name: parameter for parameter in self.parameters}[name]

    def time_s(self, gpus: int) -> float:
        """The curve, seconds of an epoch; of a fit without a refusal. No judgement whether it may be said."""
        return law_time_s(self.law, gpus, self.load, self.coefficients, link=self.link, size_bytes=self.size_bytes)

    def free_s(self, gpus: int) -> float:
        """The same of the fit without bounds."""
        return law_time_s(self.law, gpus, self.load, self.free, link=self.link, size_bytes=self.size_bytes)

    def gradient(self, gpus: int) -> tuple[float, ...]:
        """d ln T(p) / d coefficients: what an observation at p says of them, relative errors being equal."""
        factor = -self.time_s(gpus) if self.law is Law.GUSTAFSON else 1 / self.time_s(gpus)
        return tuple(factor * term for term in terms(self.law, gpus, self.load))
