"""All rules over all runs: the verdict on each claim. Pure."""

from collections.abc import Iterable

from launchers.checked import checked
from launchers.text import some
from vit_sweep.analysis.audit import baseline, executions, labels, learning, machines, network
from vit_sweep.analysis.audit.finding import Claim, Evidence, Finding, Rule, Severity, Standing, evidence_of
from vit_sweep.analysis.audit.speedups import Speedups, speedups, time_is_not_throughput
from vit_sweep.runs.run import Run

RULES: tuple[Rule, ...] = (
    labels.global_batch_column,
    labels.weak_rows_called_strong,
    labels.strong_rows_called_weak,
    labels.images_of_one_gpu,
    labels.gpus_of_one_node,
    labels.names_alike,
    learning.global_batch_grew,
    learning.training_accuracy,
    learning.one_seed,
    learning.seeds_differ,
    learning.padded_images,
    baseline.throttled_baseline,
    baseline.borrowed_baseline,
    baseline.unequal_baselines,
    baseline.superlinear,
    baseline.negative_serial_fraction,
    baseline.slower_with_more,
    baseline.slow_clock,
    executions.single_runs,
    executions.few_repeats,
    executions.repeats_differ,
    executions.drift,
    executions.partial_runs,
    executions.missing_ranks,
    executions.warm_up_included,
    network.straggler_wait,
    network.slow_link,
    network.saturated_link,
    machines.another_node,
    machines.unlike_gpus,
    machines.runs_apart,
    machines.conditions_not_stated,
    machines.disturbed_runs,
)
"""In the order in which findings are said; each is described in docs/results/audit.md."""


@checked
class ClaimVerdict:
    """How one claim stands."""

    claim: Claim
    standing: Standing
    reasons: tuple[str, ...]
    """The rules that speak against it; without data what is missing."""


@checked
class Audit:
    """What a study's figures can carry."""

    findings: tuple[Finding, ...]
    claims: tuple[ClaimVerdict, ...]
    """Every claim, in the order of `Claim`."""
    speedups: tuple[Speedups, ...]

    @property
    def falls(self) -> tuple[Claim, ...]:
        """The claims that the data cannot carry."""
        return tuple(judgement.claim for judgement in self.claims if judgement.standing is Standing.FALLS)


def audit(runs: Iterable[Run]) -> Audit:
    """Apply every rule."""
    evidence = evidence_of(runs)
    findings = tuple(finding for rule in RULES for finding in rule(evidence))
    rows = speedups(evidence)
    findings += time_is_not_throughput(rows)
    return Audit(
        findings=findings,
        claims=tuple(_judge(claim, findings, evidence, rows) for claim in Claim),
        speedups=rows,
    )


def _judge(claim: Claim, findings: Iterable[Finding], evidence: Evidence, rows: tuple[Speedups, ...]) -> ClaimVerdict:
    against = [finding for finding in findings if finding.weight(claim) is not None]
    fatal = _rules([finding for finding in against if finding.weight(claim) is Severity.FALLS], evidence)
    if fatal:
        return ClaimVerdict(claim=claim, standing=Standing.FALLS, reasons=fatal)
    missing = _missing(claim, evidence, rows)
    if missing:
        return ClaimVerdict(claim=claim, standing=Standing.OPEN, reasons=(missing,))
    weak = _rules(against, evidence)
    return ClaimVerdict(claim=claim, standing=Standing.WEAKENED if weak else Standing.HOLDS, reasons=weak)


def _rules(findings: Iterable[Finding], evidence: Evidence) -> tuple[str, ...]:
    """The names of the rules, with the series where it is not all of them."""
    places: dict[str, set[str]] = {}
    for finding in findings:
        places.setdefault(finding.rule, set()).add(finding.where)
    labels_of_all = {series.label for series in evidence.series}
    return tuple(
        rule if "" in where or where >= labels_of_all else f"{rule} ({some(sorted(where), 3, separator='; ')})"
        for rule, where in places.items()
    )


def _missing(claim: Claim, evidence: Evidence, rows: tuple[Speedups, ...]) -> str:
    """What the claim would need and nobody measured; empty if it can be judged."""
    timed = [run for run in evidence.runs if run.timed]
    match claim:
        case Claim.THROUGHPUT if not any(row.throughput is not None for row in rows):
            return "no GPU count has a baseline to be compared with"
        case Claim.FIXED_PROBLEM if not any(row.fixed_batch is not None for row in rows):
            return "no two GPU counts share a global batch"
        case Claim.ACCURACY if not any(value is not None for run in timed for value in run.test_accuracy):
            return "no test accuracy"
        case Claim.TIME_TO_ACCURACY if not any(row.to_accuracy is not None for row in rows):
            return "no accuracy that two GPU counts are known to reach"
        case Claim.COMMUNICATION if not any(
            run.gpus > 1 and run.parts is not None and run.parts.communication is not None for run in timed
        ):
            return "no time in collectives"
        case Claim.SMALL_DIFFERENCES if len(timed) < 2:
            return "fewer than two runs with a time"
        case _:
            return ""
