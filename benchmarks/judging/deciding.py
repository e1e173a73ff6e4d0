"""What a sweep that decides spends beside a full grid, and how often its answers hold: planted laws, published curves.

    python benchmarks/judging/deciding.py [--laws 200] [--seed 1] [--only time] [--json FILE]

Prints the Markdown tables of docs/study/deciding.md. A law is drawn with its coefficients and its spread between runs
(lognormal, 0.5 to 4 %); what decides are the product's own functions (`analysis.deciding`), one run after the other as
a study would give them. The full grid repeats every count as often as the same answer takes by the intervals of the
tables (`series.pooling`), which are not corrected for having been looked at: the grid's best case.
"""

import random
from collections.abc import Callable, Sequence
from math import asinh, exp, inf, log
from statistics import NormalDist, fmean, median
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv

from benchmarks.provenance import options, report
from vit_sweep.analysis.deciding.answering import TOLERANCE, reach_to_tell
from vit_sweep.analysis.deciding.decide import decide
from vit_sweep.analysis.deciding.evidence import Evidence, Timed
from vit_sweep.analysis.laws.laws import Law, Workload, law_time_s
from vit_sweep.analysis.series.pooling import half_width, layout_of, spread_of
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.deciding.decision import ANSWERED, Decision
from vit_sweep.plan.deciding.question import Quantity, Question, question_of
from vit_sweep.runs.imported import load_reference

DOUBLINGS = (1, 2, 4, 8, 16, 32, 64)
MICRO_BATCH, IMAGES = 16, 51_200
SPREADS = (0.005, 0.01, 0.02, 0.03)
"""Of the published curves."""
MOST = 60
"""Runs of a count at most, of both designs."""


class Curve(NamedTuple):
    """A truth."""

    name: str
    load: Workload
    counts: tuple[int, ...]
    seconds: dict[int, float]
    """Of an epoch, by count, beyond the grid too."""
    spread: float
    """Standard deviation of the logarithm between runs."""

    @property
    def base(self) -> int:
        return self.counts[0]

    def ratio(self, gpus: int) -> float:
        """T(smallest)/T(gpus), in truth."""
        return self.seconds[self.base] / self.seconds[gpus]

    def efficiency(self, gpus: int) -> float:
        """In truth."""
        strong = self.load.scaling is Scaling.STRONG
        return self.ratio(gpus) / (gpus / self.base if strong else 1.0)

    def number(self, question: Question) -> float:
        """The truth that a question for a number asks for."""
        assert question.gpus is not None
        match question.quantity:
            case Quantity.EFFICIENCY:
                return self.efficiency(question.gpus)
            case Quantity.SPEEDUP:
                return self.efficiency(question.gpus) * question.gpus / self.base
            case Quantity.TIME:
                return self.seconds[question.gpus]
            case _:
                return self.load.images(question.gpus) / self.seconds[question.gpus]

    def may_be_largest(self, gpus: int, threshold: float) -> bool:
        """Whether a count is the largest one, efficiencies within `TOLERANCE` of the threshold being either."""
        enough = gpus == self.base or self.efficiency(gpus) >= threshold / (1 + TOLERANCE)
        most = threshold * (1 + TOLERANCE)
        return enough and all(self.efficiency(more) <= most for more in self.counts if more > gpus)

    def hours(self, gpus: int) -> float:
        """Of a run of three epochs."""
        return 3 * gpus * self.seconds[gpus] / 3600


class Runs:
    """The same runs for whoever makes them, in any order."""

    def __init__(self, curve: Curve, seed: str) -> None:
        self._curve, self._seed = curve, seed
        self._made: dict[int, list[float]] = {}

    def of(self, gpus: int, count: int) -> list[float]:
        """Seconds of the first `count` runs."""
        seconds = self._made.setdefault(gpus, [])
        if len(seconds) < count:
            draw = random.Random(f"{self._seed} {gpus}")
            seconds[:] = [self._curve.seconds[gpus] * exp(draw.gauss(0, self._curve.spread)) for _ in range(count + 8)]
        return seconds[:count]


class Spent(NamedTuple):
    """What a sweep that decides came to."""

    answered: bool
    held: bool
    hours: float
    looks: int
    runs: int
    half_width: float


class Outcome(NamedTuple):
    """What became of one question on one curve."""

    answered: bool
    held: bool
    hours: float
    grid_hours: float
    looks: int
    runs: int
    floor_hours: float
    """GPU-hours of `clairvoyant`."""


def random_curve(number: int, seed: int) -> Curve:
    """A planted law: Amdahl, Gustafson, USL, or latency and bandwidth, strong or weak."""
    draw = random.Random(f"{seed} law {number}")

    def between(low: float, high: float) -> float:
        return exp(draw.uniform(log(low), log(high)))

    kind = number % 6
    scaling = Scaling.STRONG if kind in (0, 1, 2) else Scaling.WEAK
    load = Workload(scaling=scaling, batch_per="gpu", batch=MICRO_BATCH, accum=1, work=IMAGES)
    if kind == 0:
        law, part = Law.AMDAHL, between(1e-3, 0.05)
        coefficients: tuple[float, ...] = (100 * part, 100 * (1 - part))
    elif kind == 3:
        law, part = Law.GUSTAFSON, between(1e-3, 0.3)
        coefficients = (part / 100, (1 - part) / 100)
    elif kind in (1, 4):
        law = Law.USL
        coefficients = (100.0, 100 * between(1e-3, 0.03), 100 * between(1e-6, 5e-4))
    else:
        law, step = Law.LATENCY_BANDWIDTH, 0.02
        coefficients = (
            step / MICRO_BATCH,
            step / MICRO_BATCH * between(1e-3, 0.05),
            step * between(1e-5, 3e-3),
            step * between(1e-3, 0.2),
        )
    seconds = {gpus: law_time_s(law, gpus, load, coefficients) for gpus in (*DOUBLINGS, 128)}
    return Curve(f"{law.value}, {scaling.value}", load, DOUBLINGS, seconds, between(0.005, 0.04))


def published(spreads: int) -> list[Curve]:
    """The curves of the paper, their measured means taken for the truth, with spreads that its logs do not have."""
    rows: dict[str, dict[int, float]] = {}
    for run in load_reference("paper_cifar100").imported.runs:
        if run.curves and run.timed:
            rows.setdefault(run.curves[0].placement, {})[run.gpus] = median(run.epoch_s)
    rows["spread"] = {1: rows["packed"][1]} | rows["spread"]
    load = Workload(scaling=Scaling.STRONG, batch_per="gpu", batch=64, accum=1, work=50_000)
    return [
        Curve(f"published, {name}", load, tuple(sorted(seconds)), dict(seconds), spread)
        for name, seconds in sorted(rows.items())
        for spread in SPREADS[:spreads]
    ]


def adaptive(curve: Curve, question: Question, seed: str) -> Spent:
    """A sweep that decides."""
    runs, run_counts = Runs(curve, seed), dict.fromkeys(curve.counts, 0)
    ideal = {
        gpus: 3 * curve.seconds[curve.base] * (1.0 if curve.load.scaling is Scaling.STRONG else gpus) / 3600
        for gpus in curve.counts
    }
    decisions: list[Decision] = []
    while True:
        finished_runs = tuple(
            Timed(gpus=gpus, epoch_s=seconds, gpu_hours=curve.hours(gpus) * seconds / curve.seconds[gpus])
            for gpus, count in run_counts.items()
            for seconds in runs.of(gpus, count)
        )
        evidence = Evidence(load=curve.load, counts=curve.counts, predicted_hours=ideal, runs=finished_runs, most=MOST)
        decision = decide(question, evidence, decisions)
        decisions.append(decision)
        if decision.stop:
            now = decision.answer
            if question.gpus is None:
                is_true = any(curve.may_be_largest(gpus, question.threshold or 0) for gpus in now.possible)
            else:
                is_true = now.low is not None and now.low <= curve.number(question) <= (now.high or inf)
            return Spent(
                decision.stop == ANSWERED,
                is_true,
                evidence.spent,
                len(decisions),
                len(finished_runs),
                now.half_width or 0.0,
            )
        for choice in decision.choices:
            run_counts[choice.gpus] += choice.runs


def full_grid(curve: Curve, question: Question, seed: str) -> float:
    """GPU-hours of the fewest repeats of every count that answer as well, by the intervals of the tables."""
    runs = Runs(curve, seed)
    for repeats in range(2, MOST + 1):
        if _grid_answers(curve, question, [runs.of(gpus, repeats) for gpus in curve.counts], repeats):
            break
    return repeats * sum(curve.hours(gpus) for gpus in curve.counts)


def _grid_answers(curve: Curve, question: Question, seconds: Sequence[Sequence[float]], repeats: int) -> bool:
    cells = np.repeat(range(len(curve.counts)), repeats)
    spread = spread_of([log(s) for row in seconds for s in row], layout_of(cells.tolist(), [0] * len(cells)))
    if question.gpus is not None:
        if question.gpus not in curve.counts:
            return False
        columns = [curve.counts.index(question.gpus)]
        weights = [1.0]
        if question.quantity.compared:
            columns, weights = [0, *columns], [1.0, -1.0]
        _, variance, freedom = spread.contrast(columns, weights)
        return bool(np.sinh(half_width(variance, freedom)) <= (question.half_width or 0))
    assert question.threshold is not None
    for column, gpus in enumerate(curve.counts[1:], 1):
        value, variance, freedom = spread.contrast([0, column], [1.0, -1.0])
        reach = float(half_width(variance, freedom))
        ideal = log(gpus / curve.base) if curve.load.scaling is Scaling.STRONG else 0.0
        off = float(value) - ideal - log(question.threshold)
        if reach > reach_to_tell(off):
            return False
    return True


def outcome(curve: Curve, question: Question, seed: str) -> Outcome:
    """Both designs."""
    spent = adaptive(curve, question, seed)
    grid = full_grid(curve, question, seed)
    floor = clairvoyant(curve, question)
    return Outcome(spent.answered, spent.held, spent.hours, grid, spent.looks, spent.runs, floor)


def clairvoyant(curve: Curve, question: Question) -> float:
    """GPU-hours of who knows curve and spread beforehand and only shows the answer, by one look. No choice takes less.

    The largest count is shown by itself and the next one; the runs of the smallest count serve both.
    """
    z = NormalDist().inv_cdf((1 + question.confidence) / 2)
    if question.half_width is not None:
        assert question.gpus is not None
        error = asinh(question.half_width) / z
        if question.quantity.compared:
            return _hours_to_show(curve, {question.gpus: error})
        return max(1.0, (curve.spread / error) ** 2) * curve.hours(question.gpus)
    assert question.threshold is not None
    ways = []
    for place, gpus in enumerate(curve.counts):
        sides = {gpus: 1} if gpus != curve.base else {}
        sides |= dict.fromkeys(curve.counts[place + 1 : place + 2], -1)
        reach = {
            told: reach_to_tell(0.0) + side * log(curve.efficiency(told) / question.threshold)
            for told, side in sides.items()
        }
        if min(reach.values()) > 0:
            ways.append({told: half / z for told, half in reach.items()})
    return min(_hours_to_show(curve, way) for way in ways)


def _hours_to_show(curve: Curve, errors: dict[int, float]) -> float:
    """With as many runs of the smallest count as are cheapest; `errors`: of each other count's ratio to it."""
    least = 1 + int((curve.spread / min(errors.values())) ** 2)
    hours = []
    for runs in range(least, 20 * least + 1):
        others = {gpus: (error / curve.spread) ** 2 - 1 / runs for gpus, error in errors.items()}
        if min(others.values()) > 0:
            of_others = sum(max(1.0, 1 / inverse) * curve.hours(gpus) for gpus, inverse in others.items())
            hours.append(runs * curve.hours(curve.base) + of_others)
    return min(hours)


def efficiency(curve: Curve, draw: random.Random) -> str:
    """Of any count from the fourth on."""
    return f"efficiency({draw.choice(curve.counts[3:])}) +- 3 %"


def time(curve: Curve, draw: random.Random) -> str:
    """Likewise."""
    return f"time({draw.choice(curve.counts[3:])}) +- 2 %"


def largest(curve: Curve, draw: random.Random) -> str:
    """Published efficiencies are high: a threshold that some count of the curve may not reach."""
    threshold = draw.choice((85, 90, 95)) if curve.name.startswith("published") else 80
    return f"largest gpus with efficiency {threshold} % at 95 %"


ASKED: dict[str, Callable[[Curve, random.Random], str]] = {
    "efficiency(P) +- 3 %": efficiency,
    "time(P) +- 2 %": time,
    "largest gpus with efficiency E % at 95 %": largest,
}


def beyond(curves: Sequence[Curve], seed: int) -> dict[str, float]:
    """Twice the largest count, which no run can be made of: how wide the laws' interval is, and whether it holds."""
    widths, covered, repeats = [], [], []
    for number, curve in enumerate(curves):
        *counts, largest = sorted(curve.seconds)
        question, without_largest = question_of(f"efficiency({largest}) +- 5 %"), replace_counts(curve, tuple(counts))
        spent = adaptive(without_largest, question, f"{seed} beyond {number}")
        widths.append(spent.half_width)
        covered.append(spent.held)
        repeats.append(spent.hours / sum(map(curve.hours, counts)))
    return {"curves": len(curves), "held": fmean(covered), "half_width": median(widths), "repeats": fmean(repeats)}


def replace_counts(curve: Curve, counts: tuple[int, ...]) -> Curve:
    """The same truth, of which only these counts can run."""
    return curve._replace(counts=counts)


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Figures of a row; GPU-hours as parts of the grid's."""
    ratios = [o.hours / o.grid_hours for o in outcomes]
    answered = [o for o in outcomes if o.answered]
    could = [o for o in outcomes if o.floor_hours <= o.grid_hours / 2]
    held = sum(o.held for o in answered)
    return {
        "questions": len(outcomes),
        "answered": len(answered) / len(outcomes),
        "held": held / max(1, len(answered)),
        "held_at_least": float(betaincinv(held, len(answered) - held + 1, 0.05)) if held else 0.0,
        "hours": _together(outcomes),
        "hours_of_answered": _together(answered),
        "floor_of_answered": sum(o.floor_hours for o in answered) / max(1e-9, sum(o.grid_hours for o in answered)),
        "median": median(ratios),
        "at_most_half": fmean(ratio <= 0.5 for ratio in ratios),
        "could": len(could) / len(outcomes),
        "hours_where_it_could": _together(could),
        "runs": fmean(o.runs for o in outcomes),
    }


def _together(outcomes: Sequence[Outcome]) -> float:
    return sum(o.hours for o in outcomes) / sum(o.grid_hours for o in outcomes) if outcomes else 0.0


HEAD = (
    "| curves | question | asked | answered | held the truth (surely) | GPU-hours of the grid's: median | all | "
    "answered | clairvoyant | where it could halve them | at most half | runs |\n"
    f"|{'---|' * 12}"
)


def line(curves: str, question: str, figures: dict[str, float]) -> str:
    """A row as Markdown."""
    return (
        f"| {curves} | {question} | {figures['questions']:.0f} | {figures['answered']:.1%} | "
        f"{figures['held']:.1%} ({figures['held_at_least']:.1%}) | {figures['median']:.0%} | {figures['hours']:.0%} | "
        f"{figures['hours_of_answered']:.0%} | {figures['floor_of_answered']:.0%} | "
        f"{figures['hours_where_it_could']:.0%} of {figures['could']:.0%} | {figures['at_most_half']:.0%} | "
        f"{figures['runs']:.1f} |"
    )


def main() -> None:
    """Simulate and print."""
    parser = options(__doc__)
    parser.add_argument("--laws", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=10, help="of each published curve and question")
    parser.add_argument("--spreads", type=int, default=len(SPREADS), help="of each published curve, the smallest first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="questions that begin so, and none beyond the grid")
    args = parser.parse_args()
    figures = {}
    planted = [random_curve(number, args.seed) for number in range(args.laws)]
    replayed = [curve for curve in published(args.spreads) for _ in range(args.seeds)]
    print(HEAD)
    for kind, curves in (("planted", planted), ("published", replayed)):
        for name, question_for in ASKED.items():
            if not name.startswith(args.only):
                continue
            outcomes = []
            for number, curve in enumerate(curves):
                draw = random.Random(f"{args.seed} {name} {number}")
                outcomes.append(outcome(curve, question_of(question_for(curve, draw)), f"{args.seed} {kind} {number}"))
            figures[f"{kind}, {name}"] = summary(outcomes)
            print(line(kind, name, summary(outcomes)), flush=True)
    if args.only:
        return report(figures, args)
    print("\n| curves | half-width, median | held the truth | GPU-hours, in repeats of the grid |\n|---|---|---|---|")
    for kind, curves in (("planted, 64 known", planted), ("published, all but the largest known", replayed)):
        further = beyond(curves, args.seed)
        figures[f"beyond, {kind}"] = further
        print(
            f"| {kind} | {further['half_width']:.0%} | {further['held']:.1%} | {further['repeats']:.1f} |", flush=True
        )
    report(figures, args)


if __name__ == "__main__":
    main()
