"""The audit's tables: how each claim stands, the three speedups side by side. Pure."""

from collections.abc import Sequence

from vit_sweep.analysis.audit.finding import IN_WORDS, Finding, Severity
from vit_sweep.analysis.audit.judge import Audit
from vit_sweep.analysis.audit.speedups import Speedups
from vit_sweep.report.page.layout import table_of
from vit_sweep.report.tables.table import Column, Table


def by_severity(audit: Audit) -> tuple[Finding, ...]:
    """What the rules found, what makes a claim fall first."""
    return tuple(sorted(audit.findings, key=lambda one: one.severity is not Severity.FALLS))


def tables_of(audit: Audit, *, prefix: str = "") -> tuple[Table, ...]:
    """How each claim stands, and three speedups of every GPU count; `prefix` keeps names apart on one page."""
    claims = table_of(
        f"{prefix}claims",
        "Claims: what such a study is usually made to say, and whether it may",
        (
            Column(name="claim"),
            Column(name="stands"),
            Column(name="because", title="because of"),
            Column(name="in_words", title="in words"),
        ),
        [
            {
                "claim": one.claim.value,
                "stands": one.standing.value,
                "because": "; ".join(one.reasons) or None,
                "in_words": IN_WORDS[one.claim],
            }
            for one in audit.claims
        ],
    )
    return (claims, *([_speedups(audit.speedups, prefix)] if audit.speedups else []))


def _speedups(found: Sequence[Speedups], prefix: str) -> Table:
    return table_of(
        f"{prefix}three-speedups",
        "Three speedups: the same GPUs, three questions: images per second; the same training; an equal accuracy",
        (
            Column(name="series"),
            Column(name="gpus", title="GPUs"),
            Column(name="baseline_gpus", title="baseline"),
            Column(name="throughput"),
            Column(name="fixed_global_batch", title="fixed global batch"),
            Column(name="time_to_accuracy", title="time to equal accuracy"),
            Column(name="target", title="that accuracy", percent=True),
            Column(name="of"),
            Column(name="why", title="why not"),
        ),
        [
            {
                "series": f"{one.scaling.value} scaling, {one.where}",
                "gpus": one.gpus,
                "baseline_gpus": one.baseline_gpus,
                "throughput": one.throughput,
                "fixed_global_batch": one.fixed_batch,
                "time_to_accuracy": one.to_accuracy,
                "target": one.target,
                "of": _images(one),
                "why": "; ".join(dict.fromkeys(filter(None, (one.fixed_batch_why, one.to_accuracy_why)))) or None,
            }
            for one in found
        ],
    )


def _images(one: Speedups) -> str | None:
    """Of which images the accuracy is."""
    if one.to_accuracy is None:
        return None
    return ("training images" if one.of_training else "test images") + (", at least" if one.at_least else "")
