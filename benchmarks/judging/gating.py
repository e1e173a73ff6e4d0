"""How often a gate of times is wrong, and how often it finds a slow-down: simulated pairs of studies.

    python benchmarks/judging/gating.py [--studies 2000] [--seed 1] [--json FILE]

Prints Markdown tables (docs/results/gate.md shows them). Each side has 4 cells of one session, whose runs differ
lognormally. What judges are the product's own functions (`analysis.gate.power`, `analysis.series.pooling`), on many
pairs at once; `tests/unit/analysis/gate/test_power.py` goes through the whole gate.
"""

from math import log1p
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.judging.coverage import Table, percent, simulate_and_print
from vit_sweep.analysis.gate.power import Sides, least_runs, more_runs
from vit_sweep.analysis.series.estimates import SIGNIFICANT
from vit_sweep.analysis.series.pooling import Floats, half_width, layout_of, spread_of

CELLS = 4
REPEATS = (2, 3, 5, 10)
SLOWER = 0.05
CONFIDENCE = 1 - SIGNIFICANT / (CELLS + 1)
"""Of each interval: the cells', and their mean's."""
PLANTED = ((0.10, 0.05), (0.05, 0.02), (0.02, 0.01))
"""A slow-down, and the `--slower` beyond which it is to be found."""
SPREADS = (0.005, 0.01, 0.02)


class Verdicts(NamedTuple):
    """Of many gates: pairs of cells and, last, their mean; gates x checks."""

    worse: npt.NDArray[np.bool_]
    fine: npt.NDArray[np.bool_]
    variance: Floats
    freedom: Floats


class Simulation:
    """Simulated pairs of studies."""

    def __init__(self, studies: int, seed: int) -> None:
        """`studies`: pairs of them for a row of a table."""
        self.studies, self._random = studies, np.random.default_rng(seed)

    def gates(
        self, repeats: int, spread: float, *, slower: float = SLOWER, planted: float = 0.0, everywhere: bool = False
    ) -> Verdicts:
        """Judge pairs of studies, of which the second is slower by `planted` in its first cell, or in all of them."""
        sides = 2 * CELLS
        logs = self._random.normal(size=(self.studies, sides, repeats)) * spread
        logs[:, CELLS : sides if everywhere else CELLS + 1] += log1p(planted)
        side_of_run = np.repeat(range(sides), repeats)
        fitted = spread_of(logs.reshape(self.studies, -1), layout_of(side_of_run.tolist(), [0] * len(side_of_run)))
        ratios = [fitted.contrast([CELLS + cell, cell], [1.0, -1.0]) for cell in range(CELLS)]
        ratios.append(fitted.contrast(list(range(sides)), [-1 / CELLS] * CELLS + [1 / CELLS] * CELLS))
        value, variance, freedom = (np.stack(parts, axis=-1) for parts in zip(*ratios, strict=True))
        width, bound = half_width(variance, freedom, CONFIDENCE), log1p(slower)
        return Verdicts(value - width > bound, value + width < bound, variance, freedom)

    def advised(self, repeats: int, spread: float) -> tuple[float, float]:
        """Of gates whose first cell nobody could tell, though it is what it was: runs more that are advised, and the
        share that is fine with them."""
        gates = self.gates(repeats, spread)
        open_gates = np.flatnonzero(~(gates.worse | gates.fine)[:, 0])[:200]
        settled, runs = [], []
        for gate in open_gates:
            variance, freedom = gates.variance[gate, 0], gates.freedom[gate, 0]
            variance_of_side = variance * repeats / 2
            sides = Sides(variance_of_side, variance_of_side, repeats, repeats, 0.0, freedom)
            advice = more_runs(sides, log1p(SLOWER), CONFIDENCE)
            if advice is not None:
                runs.append(advice.runs)
                settled.append(self._with_more(repeats, advice.runs, spread, both=advice.both))
        return (float(np.mean(runs)), float(np.mean(settled))) if runs else (0.0, 1.0)

    def _with_more(self, repeats: int, further_runs: int, spread: float, *, both: bool) -> bool:
        """Whether the first cell is fine in a new gate with as many runs."""
        counts = [repeats + further_runs * both] * CELLS + [repeats + further_runs] * CELLS
        cell_of_run = np.repeat(range(2 * CELLS), counts)
        fitted = spread_of(
            self._random.normal(size=len(cell_of_run)) * spread, layout_of(cell_of_run.tolist(), [0] * len(cell_of_run))
        )
        value, variance, freedom = fitted.contrast([CELLS, 0], [1.0, -1.0])
        return bool(value + half_width(variance, freedom, CONFIDENCE) < log1p(SLOWER))


def runs_for(planted: float, slower: float, spread: float) -> int:
    """Runs of each side with which the gate says that it finds this slow-down in 80 of 100 cases."""
    runs = least_runs(CELLS, log1p(planted) - log1p(slower), spread, CONFIDENCE)
    assert runs is not None
    return runs


def alarms_table(simulation: Simulation) -> tuple[Table, dict[str, float]]:
    """Gates of equal studies, and of such that are just at the bound."""
    rows, figures = [], {}
    for spread in SPREADS:
        for n in REPEATS:
            equal = simulation.gates(n, spread)
            edge = simulation.gates(n, spread, planted=SLOWER, everywhere=True)
            alarm, at_bound = (float(made.worse.any(axis=-1).mean()) for made in (equal, edge))
            fine = float(equal.fine.all(axis=-1).mean())
            rows.append((percent(spread), str(n), percent(alarm), percent(at_bound), percent(fine)))
            figures[f"{spread:g}, n={n}"] = alarm
            figures[f"{spread:g}, n={n}, at the bound"] = at_bound
    columns = ("runs differ by", "runs a side", "worse (equal)", "worse (all slower by 5 %)", "fine (equal)")
    return Table(f"Gates of {CELLS} cells, `--slower 0.05`, {simulation.studies} a row", columns, rows), figures


def power_table(simulation: Simulation) -> tuple[Table, dict[str, float]]:
    """Planted slow-downs at as many runs as the gate asks for."""
    rows, figures = [], {}
    for planted, slower in PLANTED:
        for spread in SPREADS:
            n = runs_for(planted, slower, spread)
            power = float(simulation.gates(n, spread, slower=slower, planted=planted).worse[:, 0].mean())
            all_cells = simulation.gates(n, spread, slower=slower, planted=planted, everywhere=True)
            mean = float(all_cells.worse.any(axis=-1).mean())
            rows.append((f"{planted:.0%}", f"{slower:g}", percent(spread), str(n), percent(power), percent(mean)))
            figures[f"{planted:g} beyond {slower:g}, {spread:g}"] = power
    columns = ("one cell slower by", "`--slower`", "runs differ by", "runs a side for 80 %", "found", "in all cells")
    return Table("Planted slow-downs that are found", columns, rows), figures


def advice_table(simulation: Simulation) -> tuple[Table, dict[str, float]]:
    """What comes of `run N more`."""
    rows, figures = [], {}
    for spread, n in ((0.02, 2), (0.02, 3), (0.03, 3), (0.03, 5)):
        runs_advised, settled = simulation.advised(n, spread)
        rows.append((percent(spread), str(n), f"{runs_advised:.1f}", percent(settled)))
        figures[f"{spread:g}, n={n}"] = settled
    columns = ("runs differ by", "runs a side", "more runs advised", "fine with them")
    return Table("Gates that could not tell of an equal cell", columns, rows), figures


TABLES = (("alarms", alarms_table), ("power", power_table), ("advice", advice_table))


if __name__ == "__main__":
    simulate_and_print(__doc__, TABLES, Simulation)
