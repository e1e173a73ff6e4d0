"""What an audit says: claims, findings and the evidence that rules look at: the types. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median

from launchers.checked import checked
from launchers.text import grouped, plural
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.series import Estimate, ScalingSeries, SeriesPoint
from vit_sweep.plan.choices import Scaling
from vit_sweep.runs.run import Origin, Run


class Claim(StrEnum):
    """What scaling studies are usually made to say."""

    THROUGHPUT = "throughput"
    """So many GPUs pass images through the model so many times faster."""
    FIXED_PROBLEM = "fixed problem"
    """The same training (equal global batch, equal steps) takes so much less time."""
    ACCURACY = "accuracy"
    """The model classifies new images so well."""
    TIME_TO_ACCURACY = "time to accuracy"
    """An equal accuracy is reached in so much less time."""
    COMMUNICATION = "communication"
    """Exchanging gradients takes such a part of a step."""
    SMALL_DIFFERENCES = "small differences"
    """This placement, batch or GPU count is some percent better than that one, or is not."""


IN_WORDS = {
    Claim.THROUGHPUT: "more GPUs pass so many times as many images a second through the model",
    Claim.FIXED_PROBLEM: "the same training, with the same global batch, takes so much less time",
    Claim.ACCURACY: "the model classifies new images with this accuracy",
    Claim.TIME_TO_ACCURACY: "an equal accuracy is reached in so much less time",
    Claim.COMMUNICATION: "exchanging gradients takes this part of a step",
    Claim.SMALL_DIFFERENCES: "one cell is a few percent better than another, or is not",
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
    """What one rule has against the data."""

    rule: str
    severity: Severity = Severity.WEAKENS
    claims: tuple[Claim, ...]
    weakens: tuple[Claim, ...] = ()
    """Further claims, which stand with a reservation whatever `severity` says of the others."""
    where: str = ""
    """The series, as its label says, or empty: everything."""
    sentence: str
    """With the numbers."""
    advice: str
    """What to do."""

    def weight(self, claim: Claim) -> Severity | None:
        """What it does to a claim; None: nothing."""
        if claim in self.claims:
            return self.severity
        return Severity.WEAKENS if claim in self.weakens else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFindings:
    """All that one rule has against the data, of one severity."""

    rule: str
    severity: Severity
    findings: tuple[Finding, ...]

    @property
    def effect(self) -> str:
        """`falls: small differences; weakened: throughput`."""
        claims = dict.fromkeys(claim for finding in self.findings for claim in finding.claims)
        weaker = dict.fromkeys(claim for finding in self.findings for claim in finding.weakens)
        if self.severity is Severity.WEAKENS:
            claims, weaker = {}, claims | weaker
        parts = [f"falls: {', '.join(claims)}" if claims else "", f"weakened: {', '.join(weaker)}" if weaker else ""]
        return "; ".join(filter(None, parts))

    @property
    def places(self) -> tuple[str, ...]:
        """The series that it speaks of; of all of them it names none."""
        return tuple(dict.fromkeys(finding.where for finding in self.findings if finding.where))


def by_rule(findings: Iterable[Finding]) -> tuple[RuleFindings, ...]:
    """Findings grouped by rule, the worst first: what makes a claim fall, then what speaks of most series."""
    groups = grouped(((finding.severity, finding.rule), finding) for finding in findings)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0] is not Severity.FALLS, -len(item[1])))
    return tuple(
        RuleFindings(rule=rule, severity=severity, findings=tuple(group)) for (severity, rule), group in ordered
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the rules look at."""

    runs: tuple[Run, ...]
    strong: tuple[ScalingSeries, ...]
    weak: tuple[ScalingSeries, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    """What people call an imported run, by its id: `weak, 2 GPUs`."""

    @property
    def series(self) -> tuple[ScalingSeries, ...]:
        """All of them."""
        return (*self.strong, *self.weak)

    def name(self, run: Run) -> str:
        """A study's run by its cell, an imported one by what it is."""
        return self.names.get(run.run_id, run.run_id)


Rule = Callable[[Evidence], Iterable[Finding]]


def evidence_of(runs: Iterable[Run]) -> Evidence:
    """Group runs into series.

    A run that is given twice counts once, and the order in which runs are given means nothing. One that goes on from
    another cell's checkpoint makes no claim.
    """
    by_id = {run.run_id: run for run in runs if not run.continued_from}
    ordered = tuple(sorted(by_id.values(), key=lambda run: (run.gpus, run.run_id)))
    strong, weak = (tuple(group(ordered, scaling)) for scaling in (Scaling.STRONG, Scaling.WEAK))
    names = _names((*strong, *weak))
    if strong and weak:
        # A label tells series of one mode apart.
        strong, weak = (
            tuple(replace(series, label=f"{series.key.scaling.value}, {series.label}") for series in mode)
            for mode in (strong, weak)
        )
    return Evidence(runs=ordered, strong=strong, weak=weak, names=names)


def _names(series: Sequence[ScalingSeries]) -> dict[str, str]:
    """`weak, batch 16, 2 GPUs, seed 1`: the series' label only where its mode has several, the seed among repeats."""
    names: dict[str, str] = {}
    for one_series in series:
        mode = one_series.key.scaling
        several = sum(other.key.scaling is mode for other in series) > 1
        for point in with_apart(one_series):
            for number, run in enumerate(point.runs, start=1):
                repeat = f"seed {run.seed}" if run.seed is not None else f"repeat {number}"
                words = [
                    mode.value,
                    one_series.label if several else "",
                    plural(point.gpus, "GPU"),
                    plural(point.nodes or 0, "node")
                    if sum(p.gpus == point.gpus for p in one_series.points) > 1
                    else "",
                    repeat if len(point.runs) > 1 else "",
                ]
                if run.origin is not Origin.STUDY:
                    names.setdefault(run.run_id, ", ".join(filter(None, words)))
    return names


def with_apart(series: ScalingSeries) -> tuple[SeriesPoint, ...]:
    """The points that have a time, and those of the runs that stand apart, which no speedup counts but every rule
    about their own time, network and machine judges; sorted by GPUs."""
    groups: dict[tuple[int, int | None, tuple[str, ...]], list[Run]] = {}
    for apart in series.apart:
        run = apart.run
        if run.timed and not run.oversubscribed:
            groups.setdefault((run.gpus, run.nodes, tuple(sorted(set(run.devices)))), []).append(run)
    apart_points = [
        SeriesPoint(
            gpus=gpus,
            nodes=nodes,
            runs=tuple(runs),
            time_s=Estimate(value=median(median(run.epoch_s) for run in runs), n=len(runs)),
        )
        for (gpus, nodes, _), runs in groups.items()
    ]
    return tuple(sorted((*series.timed, *apart_points), key=lambda point: (point.gpus, point.nodes or 0)))


def points_shown(series: ScalingSeries) -> tuple[SeriesPoint, ...]:
    """`with_apart`, less what stands apart where the series has a point of its own: no figure of that rests on it."""
    places = {(point.gpus, point.nodes) for point in series.timed}
    series_points = set(map(id, series.timed))
    return tuple(p for p in with_apart(series) if id(p) in series_points or (p.gpus, p.nodes) not in places)
