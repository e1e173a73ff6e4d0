"""How often predictions beyond the measured counts hold planted laws, and how often they are refused: simulated curves.

    python benchmarks/judging/predictions.py [--seeds 50] [--json FILE]

Prints the Markdown table of docs/results/models.md. Runs differ by 2 % (lognormal); asked are twice and four times the
largest count. What predicts are the product's own functions (`analysis.laws`).
"""

import random
from collections.abc import Callable, Sequence
from math import ceil, exp, log2, sqrt
from typing import NamedTuple

from benchmarks.provenance import options, report
from vit_sweep.analysis.laws.fits import fit
from vit_sweep.analysis.laws.laws import Law, Workload, law_time_s
from vit_sweep.analysis.laws.predicting import Refusal, plausible, predict
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.cell import Series
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.runs.run import Origin, Run

SPREAD = 0.02
"""Standard deviation of the logarithm between runs."""
MICRO_BATCH, IMAGES = 16, 25_600
COUNTS = ((1, 2, 4, 8), (1, 2, 4, 8, 16))
REPEATS = (1, 3)
FURTHER = (2, 4)
"""Asked for are these multiples of the largest count."""


class Planted(NamedTuple):
    """A curve."""

    name: str
    scaling: Scaling
    time_s: Callable[[int], float]
    """Seconds of an epoch on so many GPUs, in truth."""


def of_law(name: str, law: Law, scaling: Scaling, coefficients: tuple[float, ...]) -> Planted:
    """A law with its coefficients, as `laws.terms` orders them."""
    load = Workload(scaling=scaling, batch_per="gpu", batch=MICRO_BATCH, accum=1, work=IMAGES)
    return Planted(name, scaling, lambda gpus: law_time_s(law, gpus, load, coefficients))


OF_NO_LAW = (
    Planted("no law: 100/p + log2 p", Scaling.STRONG, lambda p: 100 / p + log2(p)),
    Planted("no law: 100/p + 0.8 sqrt p", Scaling.STRONG, lambda p: 100 / p + 0.8 * (sqrt(p) - 1)),
    Planted("no law: 100/p^0.9", Scaling.STRONG, lambda p: 100 / p**0.9),
    Planted("no law: 100/p^0.8", Scaling.STRONG, lambda p: 100 / p**0.8),
    Planted("no law: 98 whole blocks", Scaling.STRONG, lambda p: 100 * ceil(98 / p) / 98),
)
"""Smooth curves, or nearly so, that none of the laws fitted here can follow."""
PLANTED = (
    of_law("Amdahl, s = 2 %", Law.AMDAHL, Scaling.STRONG, (2.0, 98.0)),
    of_law("USL, a = 3 %, b = 0.05 %", Law.USL, Scaling.STRONG, (100.0, 3.0, 0.05)),
    of_law("USL, a = 2 %, b = 0.2 %", Law.USL, Scaling.STRONG, (100.0, 2.0, 0.2)),
    of_law("USL, weak, a = 3 %, b = 0.1 %", Law.USL, Scaling.WEAK, (10.0, 0.3, 0.01)),
    of_law("Gustafson, s = 5 %", Law.GUSTAFSON, Scaling.WEAK, (0.005, 0.095)),
    of_law("latency-bandwidth", Law.LATENCY_BANDWIDTH, Scaling.STRONG, (0.01, 0.0003, 0.0004, 0.01)),
)


class Outcome(NamedTuple):
    """What became of the predictions of one row."""

    predicted: int = 0
    held: int = 0
    refused: int = 0

    def plus(self, other: "Outcome") -> "Outcome":
        """Both together."""
        return Outcome(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def words(self) -> str:
        """Three cells of a table."""
        covered = f"{self.held} ({self.held / self.predicted:.0%})" if self.predicted else "–"
        return f"{self.predicted} | {covered} | {self.refused}"


def simulated(planted: Planted, counts: Sequence[int], repeats: int, seed: int) -> ScalingSeries:
    """One measured curve; its ranks' nodes are not known, so no link forbids a prediction."""
    draw = random.Random(f"{planted.name} {seed}")
    curve = Series(scaling=planted.scaling, batch_per=BatchPer.GPU, placement="packed")
    runs = [
        Run(
            run_id=f"g{gpus}-s{repeat}",
            origin=Origin.IMPORTED,
            gpus=gpus,
            curves=(curve,),
            micro_batch=MICRO_BATCH,
            accum=1,
            work=IMAGES * (gpus if planted.scaling is Scaling.WEAK else 1),
            seed=repeat,
            epoch_s=(planted.time_s(gpus) * exp(draw.gauss(0, SPREAD)),),
        )
        for gpus in counts
        for repeat in range(repeats)
    ]
    (series,) = group(runs, planted.scaling)
    return series


def outcome(planted: Planted, counts: Sequence[int], repeats: int, seeds: int) -> Outcome:
    """Of all seeds."""
    total = Outcome()
    for seed in range(seeds):
        laws = plausible(fit(simulated(planted, counts, repeats, seed)))
        for times in FURTHER:
            gpus = times * max(counts)
            prediction = predict(laws, gpus) if laws else None
            if prediction is None or isinstance(prediction, Refusal):
                total = total.plus(Outcome(refused=1))
                continue
            low, high = prediction.time_s.low or 0.0, prediction.time_s.high or 0.0
            total = total.plus(Outcome(predicted=1, held=int(low <= planted.time_s(gpus) <= high)))
    return total


def main() -> None:
    """Simulate and print."""
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    args = parser.parse_args()
    figures = {}
    print("| planted | counts | runs each | predicted | held the truth | refused |\n|---|---|---|---|---|---|")
    for name, curves in (("together", PLANTED), ("no law, together", OF_NO_LAW)):
        together = Outcome()
        for planted in curves:
            for counts in COUNTS:
                for repeats in REPEATS:
                    row = outcome(planted, counts, repeats, args.seeds)
                    together = together.plus(row)
                    figures[f"{planted.name}, 1 to {max(counts)}, {repeats}"] = list(row)
                    print(f"| {planted.name} | 1 to {max(counts)} | {repeats} | {row.words} |")
        print(f"| {name} | | | {together.words} |")
    report(figures, args)


if __name__ == "__main__":
    main()
