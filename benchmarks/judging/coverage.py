"""How often intervals hold the truth, verdicts are false, and the stopping rule keeps its word: simulated studies.

    python benchmarks/judging/coverage.py [--studies 2000] [--seed 1] [--json FILE]

Prints Markdown tables (docs/results/trust.md shows them). Runs of a cell differ by 2 % (lognormal), epochs of a run by
0.5 %, unless a row says otherwise. What judges are the product's own functions (`analysis.series.pooling`,
`plan.repeats`, `analysis.laws`), on many studies at once.
"""

from collections.abc import Callable, Iterable, Sequence
from math import exp
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.provenance import options, report
from vit_sweep.analysis.laws.fits import fit_law
from vit_sweep.analysis.laws.laws import Law
from vit_sweep.analysis.series.estimates import SIGNIFICANT
from vit_sweep.analysis.series.grouping import group, serial_fraction
from vit_sweep.analysis.series.pooling import Spread, half_width, holm, layout_of, p_value, spread_of
from vit_sweep.plan.cell import Series
from vit_sweep.plan.choices import BatchPer, Scaling
from vit_sweep.plan.repeats import RepeatRule, least_runs, runs_to_add
from vit_sweep.runs.run import Origin, Run

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BETWEEN, WITHIN, DAYS = 0.02, 0.005, 0.015
"""Standard deviations of logarithms: between runs, between epochs of a run, between days."""
OWN = 0.005
"""Between runs on the same nodes."""
EPOCHS = 5
REPEATS = (2, 3, 5, 10)
CELLS, PAIRS = 8, 12
SERIAL = 0.03
"""Part of the time on one GPU that does not shrink: the planted truth is Amdahl's law."""


class Table(NamedTuple):
    """A table as Markdown shows it: shares of 1 as per cent."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def __str__(self) -> str:
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "\n".join([f"**{self.title}**", "", *("| " + " | ".join(line) + " |" for line in lines), ""])


class Simulation:
    """Simulated run medians, and what became of them."""

    def __init__(self, studies: int, seed: int) -> None:
        """`studies`: simulated ones for a row of a table."""
        self.studies, self._random = studies, np.random.default_rng(seed)

    def runs(
        self,
        cells: int,
        repeats: int,
        *,
        spread: Floats | float = BETWEEN,
        sessions: Integers | None = None,
    ) -> Floats:
        """Logarithms of run medians over the truth, studies x (cells x repeats); days if `sessions` are given."""
        shape = (self.studies, cells, repeats)
        between = self._random.normal(size=shape) * np.broadcast_to(spread, cells)[:, None]
        epochs = self._random.normal(size=(*shape, EPOCHS)) * WITHIN
        logs = (between + np.median(epochs, axis=-1)).reshape(self.studies, -1)
        if sessions is not None:
            logs += (self._random.normal(size=(self.studies, int(sessions.max()) + 1)) * DAYS)[:, sessions]
        return np.asarray(logs)

    def coverage(
        self,
        cells: int,
        repeats: int,
        *,
        spread: Floats | float = BETWEEN,
        sessions: Integers | None = None,
    ) -> dict[str, float]:
        """Share of intervals that hold the truth, over all cells; `worst`: of times, of the cell where it is least."""
        logs = self.runs(cells, repeats, spread=spread, sessions=sessions)
        known_sessions = np.zeros(cells * repeats, dtype=np.int64) if sessions is None else sessions
        fitted = spread_of(logs, layout_of(np.repeat(range(cells), repeats).tolist(), known_sessions.tolist()))
        gpus = 2.0 ** np.arange(cells)
        covered: dict[str, list[Floats]] = {
            name: [] for name in ("time", "throughput", "speedup", "efficiency", "serial")
        }
        for cell in range(cells):
            low, high = bounds(fitted, [cell], [1.0])
            truth = SERIAL + (1 - SERIAL) / gpus[cell]
            covered["time"].append(holds(truth * low, truth * high, truth))
            covered["throughput"].append(holds(1 / (truth * high), 1 / (truth * low), 1 / truth))
            if not cell:
                continue
            low, high = (end / truth for end in bounds(fitted, [0, cell], [1.0, -1.0]))
            covered["speedup"].append(holds(low, high, 1 / truth))
            covered["efficiency"].append(holds(low / gpus[cell], high / gpus[cell], 1 / truth / gpus[cell]))
            fractions = [np.asarray(serial_fraction(end, gpus[cell])) for end in (high, low)]
            covered["serial"].append(holds(fractions[0], fractions[1], SERIAL))
        return {name: float(np.mean(shares)) for name, shares in covered.items() if shares} | {
            "worst": min(float(np.mean(share)) for share in covered["time"])
        }

    def packed(self, cells: int, repeats: int, *, jobs: float, jobs_are_known: bool) -> dict[str, float]:
        """Share of intervals that hold the truth where the cells' repeats share jobs, which differ by `jobs`.

        `jobs_are_known`: to the analysis. Of times, of ratios to the first cell, of the mean of all cells.
        """
        shared = np.tile(np.arange(repeats), cells)
        logs = self.runs(cells, repeats, spread=OWN)
        logs += (self._random.normal(size=(self.studies, repeats)) * jobs)[:, shared]
        known_jobs = shared if jobs_are_known else np.zeros_like(shared)
        fitted = spread_of(logs, layout_of(np.repeat(range(cells), repeats).tolist(), known_jobs.tolist()))
        contrasts_by_name: dict[str, list[tuple[list[int], list[float]]]] = {
            "time": [([cell], [1.0]) for cell in range(cells)],
            "ratio": [([0, cell], [1.0, -1.0]) for cell in range(1, cells)],
            "mean": [(list(range(cells)), [1 / cells] * cells)],
        }
        return {
            name: float(np.mean([holds(*bounds(fitted, *contrast), 1.0) for contrast in contrasts]))
            for name, contrasts in contrasts_by_name.items()
        }

    def false_verdicts(self, repeats: int, *, days: str, truth: float = 0.0) -> tuple[float, float]:
        """Share of comparisons with a false verdict, and of all verdicts that `truth` (of the first cell) is found."""
        runs = 2 * PAIRS * repeats
        cells, repeat = np.divmod(np.arange(runs), repeats)
        side = cells % 2
        sessions = {
            "none": np.zeros(runs, dtype=np.int64),
            "in turn": repeat,
            "each its own": repeat + repeats * side,
            "one each": side,
        }[days]
        logs = self.runs(2 * PAIRS, repeats, sessions=None if days == "none" else sessions)
        logs[:, cells == 1] += truth
        fitted = spread_of(logs, layout_of(cells.tolist(), sessions.tolist()))
        tests = [fitted.contrast([2 * pair + 1, 2 * pair], [1.0, -1.0]) for pair in range(PAIRS)]
        tests.append(fitted.contrast(list(range(2 * PAIRS)), [-1 / PAIRS, 1 / PAIRS] * PAIRS))
        significant = holm(np.stack([p_value(*test) for test in tests], axis=-1)) < SIGNIFICANT
        equal = significant[:, 1:PAIRS] if truth else significant
        return float(equal.any(axis=-1).mean()), float(significant[:, 0].mean())

    def stopping(self, cells: int, spread: float, rule: RepeatRule) -> tuple[float, float]:
        """Coverage of times when everybody has stopped, and runs of a cell by then."""
        logs = self.runs(cells, rule.most, spread=spread).reshape(self.studies, cells, rule.most)
        runs = np.full((self.studies, cells), min(least_runs(cells), rule.most))
        covered = np.zeros((self.studies, cells), dtype=bool)
        open_studies = np.arange(self.studies)
        while len(open_studies):
            further_runs = np.zeros((self.studies, cells), dtype=np.int64)
            for counts in np.unique(runs[open_studies], axis=0):
                members = open_studies[(runs[open_studies] == counts).all(axis=1)]
                logs_made = np.concatenate([logs[members, cell, :count] for cell, count in enumerate(counts)], axis=-1)
                cell_of_run = np.repeat(range(cells), counts)
                fitted = spread_of(logs_made, layout_of(cell_of_run.tolist(), [0] * len(cell_of_run)))
                for cell in range(cells):
                    low, high = bounds(fitted, [cell], [1.0])
                    covered[members, cell] = (low <= 1) & (high >= 1)
                    middle = np.exp(np.median(logs[members, cell, : counts[cell]], axis=-1))
                    further_runs[members, cell] = [
                        runs_to_add(int(counts[cell]), width, cells, rule)
                        for width in ((high - low) / 2 / middle).tolist()
                    ]
            runs += further_runs
            open_studies = open_studies[further_runs[open_studies].any(axis=1)]
        return float(covered.mean()), float(runs.mean())

    def fitted_fractions(self, repeats: int) -> float:
        """Share of the intervals of Amdahl's serial fraction that hold the truth; at most 200 fits."""
        counts, covered = (1, 2, 4, 8, 16), []
        studies = self.runs(len(counts), repeats)[:200]
        for logs in studies.reshape(len(studies), len(counts), repeats):
            runs = [
                _run(gpus, 100 * exp(log) * (SERIAL + (1 - SERIAL) / gpus), seed)
                for gpus, row in zip(counts, logs, strict=True)
                for seed, log in enumerate(row)
            ]
            (series,) = group(runs, Scaling.STRONG)
            fit = fit_law(series, Law.AMDAHL)
            if not fit.refusal:
                fraction = fit.parameter("serial_fraction")
                covered.append((fraction.low or 0.0) <= SERIAL <= (1.0 if fraction.high is None else fraction.high))
        return sum(covered) / max(1, len(covered))


def bounds(spread: Spread, cells: Sequence[int], weights: Sequence[float]) -> tuple[Floats, Floats]:
    """The interval of a time or a ratio of times."""
    value, variance, freedom = spread.contrast(cells, weights)
    width = half_width(variance, freedom)
    return np.exp(value - width), np.exp(value + width)


def holds(low: Floats, high: Floats, truth: float) -> Floats:
    """Whether each interval holds the truth."""
    return ((low <= truth) & (truth <= high)).astype(np.float64)


def _run(gpus: int, seconds: float, seed: int) -> Run:
    curve = Series(scaling=Scaling.STRONG, batch_per=BatchPer.GPU, placement="packed")
    return Run(
        run_id=f"{gpus}-{seed}",
        origin=Origin.STUDY,
        gpus=gpus,
        nodes=1,
        curves=(curve,),
        micro_batch=16,
        accum=1,
        work=6400,
        images=6400,
        seed=seed,
        epoch_s=(seconds,),
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def coverage_table(simulation: Simulation) -> tuple[Table, dict[str, dict[str, float]]]:
    """Coverage without days: like cells, unlike cells, a cell alone."""
    rising = 0.01 * 4 ** (np.arange(CELLS) / (CELLS - 1))
    wild = np.where(np.arange(CELLS) == 5, 0.04, 0.01)
    kinds: list[tuple[str, int, Floats | float]] = [
        (f"{CELLS} cells, 2 % each", CELLS, BETWEEN),
        (f"{CELLS} cells, 1 % rising to 4 %", CELLS, rising),
        (f"{CELLS} cells, 1 %, one of them 4 %", CELLS, wild),
        ("1 cell", 1, BETWEEN),
    ]
    figures = {
        f"{kind}, n={n}": simulation.coverage(cells, n, spread=spread) for kind, cells, spread in kinds for n in REPEATS
    }
    return _coverage(
        f"Intervals that hold the truth (95 % is said), {simulation.studies} studies a row", figures
    ), figures


def days_table(simulation: Simulation) -> tuple[Table, dict[str, dict[str, float]]]:
    """Coverage where days differ by 1.5 % and the repeats of each cell are spread over sessions."""
    figures = {}
    for days, repeats in ((2, 2), (3, 3), (5, 5), (2, 10), (5, 10)):
        sessions = np.tile(np.arange(repeats) % days, CELLS)
        figures[f"{CELLS} cells, n={repeats} over {days} sessions"] = simulation.coverage(
            CELLS, repeats, sessions=sessions
        )
    return _coverage("The same where sessions differ by 1.5 %", figures), figures


def packed_table(simulation: Simulation) -> tuple[Table, dict[str, dict[str, float]]]:
    """Coverage where cells share jobs (`pack`), with and without the analysis knowing of it."""
    rows, figures = [], {}
    for jobs in (0.02, 0.0):
        for repeats in (2, 3, 5):
            for jobs_are_known in (True, False):
                shares = simulation.packed(CELLS, repeats, jobs=jobs, jobs_are_known=jobs_are_known)
                label = f"jobs differ by {100 * jobs:g} %, n={repeats}"
                rows.append((label, "yes" if jobs_are_known else "no", *map(percent, shares.values())))
                figures[f"{label}, {'told' if jobs_are_known else 'not told'}"] = shares
    title = f"Intervals that hold the truth where {CELLS} packed cells share a job for each repeat (95 % is said)"
    return Table(title, ("study", "told of the jobs", "time", "ratio of two cells", "mean of all cells"), rows), figures


def _coverage(title: str, figures: dict[str, dict[str, float]]) -> Table:
    names = {
        "time": "time",
        "throughput": "images/s",
        "speedup": "speedup",
        "efficiency": "efficiency",
        "serial": "serial fraction",
        "worst": "time, worst cell",
    }
    rows = [
        (label, *(percent(shares[name]) if name in shares else "–" for name in names))
        for label, shares in figures.items()
    ]
    return Table(title, ("study", *names.values()), rows)


def verdicts_table(simulation: Simulation) -> tuple[Table, dict[str, float]]:
    """False verdicts of whole comparisons of equal studies, and how often a slower cell is found."""
    rows, figures = [], {}
    for text, days in (
        ("no difference between days", "none"),
        ("days differ by 1.5 %, both studies in each session", "in turn"),
        ("days differ by 1.5 %, each study in sessions of its own", "each its own"),
        ("days differ by 1.5 %, each study in one session (assumed)", "one each"),
    ):
        for n in REPEATS:
            false, _ = simulation.false_verdicts(n, days=days)
            _, power = simulation.false_verdicts(n, days=days, truth=0.08)
            rows.append((text, str(n), percent(false), percent(power)))
            figures[f"{days}, n={n}"] = false
    title = f"Comparisons of {PAIRS} equal cells with any false verdict (at most 5 %), and one cell slower by 8 % found"
    return Table(title, ("study", "runs a side", "false", "8 % found"), rows), figures


def stopping_table(simulation: Simulation) -> tuple[Table, dict[str, float]]:
    """What `repeat_until=0.02` gives."""
    rule = RepeatRule(half_width=0.02, most=30)
    rows, figures = [], {}
    for cells in (1, 2, 4, CELLS):
        for spread in (0.005, 0.015, 0.02, 0.03):
            share, runs = simulation.stopping(cells, spread, rule)
            rows.append((str(cells), percent(spread), percent(share), f"{runs:.1f}"))
            figures[f"{cells} cells, {spread:g}"] = share
    title = "repeat_until=0.02 max_repeats=30: times that are held when it stops (at least 93 %)"
    return Table(title, ("cells", "runs differ by", "held", "runs a cell"), rows), figures


def fits_table(simulation: Simulation) -> tuple[Table, dict[str, float]]:
    """Coverage of a fitted parameter."""
    figures = {f"n={n}": simulation.fitted_fractions(n) for n in REPEATS}
    rows = [(label, percent(share)) for label, share in figures.items()]
    return Table(
        "Amdahl's serial fraction, fitted on 1 to 16 GPUs (200 fits a row)", ("runs a count", "held"), rows
    ), figures


TABLES: Iterable[tuple[str, Callable[[Simulation], tuple[Table, dict]]]] = (  # type: ignore[type-arg]  # of two depths
    ("coverage", coverage_table),
    ("days", days_table),
    ("verdicts", verdicts_table),
    ("stopping", stopping_table),
    ("fits", fits_table),
    ("packed", packed_table),
)


def simulate_and_print(
    doc: str | None,
    tables: Iterable[tuple[str, Callable[[Any], tuple[Table, Any]]]],
    simulation: Callable[[int, int], Any],
) -> None:
    """A program: its docstring, its tables by their names, and of how many studies and with which seed each is made."""
    parser = options(doc)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    figures = {}
    for name, make in tables:
        table, figures[name] = make(simulation(args.studies, args.seed))
        print(table)
    report(figures, args)


if __name__ == "__main__":
    simulate_and_print(__doc__, TABLES, Simulation)
