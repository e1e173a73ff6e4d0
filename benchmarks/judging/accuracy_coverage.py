"""How often the interval of a time to accuracy holds the truth: simulated studies.

    python benchmarks/judging/accuracy_coverage.py [--studies 2000] [--seed 1] [--json FILE]

Seeds reach the target after a lognormal number of epochs around 10, seen at the ends of epochs only; epoch times differ
by 1 %. What judges is the product's own function (`spreads.values_interval`). docs/study/learning.md shows the table.
"""

import numpy as np

from benchmarks.judging.coverage import Table, percent
from benchmarks.provenance import options, report
from vit_sweep.analysis.series.spreads import values_interval

EPOCHS, EPOCH_SPREAD = 10.0, 0.01
SEEDS = (3, 5, 10)
APART = (0.01, 0.03, 0.05, 0.1, 0.2)
"""Standard deviations of the logarithm of the epochs that seeds need."""
_MANY = 2000
"""Seeds that say what the truth of a study is."""


def held(seeds: int, deviation: float, *, studies: int, seed: int, rounded: bool = True) -> float:
    """Part of the studies whose interval holds the mean logarithm; without `rounded` it knows nothing of epochs."""
    random = np.random.default_rng(seed)
    # Where in its epoch the target is crossed is another thing in every study.
    crossing = EPOCHS + random.uniform(-0.5, 0.5, (studies, 1))
    truth = np.log(np.ceil(crossing * np.exp(deviation * random.standard_normal((studies, _MANY))))).mean(axis=1)
    ends = np.ceil(crossing * np.exp(deviation * random.standard_normal((studies, seeds))))
    times = ends * np.exp(EPOCH_SPREAD * random.standard_normal(ends.shape))
    intervals = [values_interval(list(t), list(rounded / e)) for t, e in zip(times, ends, strict=True)]
    return float(np.mean([(i.low or 0) <= np.exp(t) <= (i.high or 0) for i, t in zip(intervals, truth, strict=True)]))


def main() -> None:
    """Simulate and print."""
    parser = options(__doc__)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rows, figures = [], {}
    for deviation in APART:
        shares = [held(n, deviation, studies=args.studies, seed=args.seed) for n in SEEDS]
        shares.append(held(SEEDS[0], deviation, studies=args.studies, seed=args.seed, rounded=False))
        rows.append((f"{100 * deviation:g} %", *map(percent, shares)))
        figures[f"{deviation:g}"] = shares
    columns = ("seeds differ by", *(f"{n} seeds" for n in SEEDS), f"{SEEDS[0]} seeds, as if not rounded")
    print(Table(f"Times to accuracy that are held, {args.studies} studies a row", columns, rows))
    report(figures, args)


if __name__ == "__main__":
    main()
