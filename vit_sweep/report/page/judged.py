"""The audit as the page says it: claims, findings, the three speedups side by side. Pure."""

from collections.abc import Sequence

from vit_sweep.analysis.audit import finding as audited
from vit_sweep.analysis.audit.finding import Severity
from vit_sweep.analysis.audit.judge import Audit
from vit_sweep.analysis.audit.speedups import Speedups
from vit_sweep.report.page.content import Column, Finding, Table
from vit_sweep.report.page.modelled import sentence


def findings_of(audit: Audit) -> tuple[Finding, ...]:
    """What the rules found, what makes a claim fall first."""
    ordered = sorted(audit.findings, key=lambda one: one.severity is not Severity.FALLS)
    return tuple(_finding(one) for one in ordered)


def tables_of(audit: Audit, *, prefix: str = "") -> tuple[Table, ...]:
    """How each claim stands, and three speedups of every GPU count; `prefix` keeps names apart on one page."""
    claims = Table(
        name=f"{prefix}claims", title="Claims", lead="What such a study is usually made to say, and whether it may.",
        columns=(
            Column(name="claim"), Column(name="stands"), Column(name="because", title="because of"),
            Column(name="in_words", title="in words"),
        ),
        rows=tuple(
            (one.claim.value, one.standing.value, "; ".join(one.reasons) or None, audited.IN_WORDS[one.claim])
            for one in audit.claims
        ),
    )  # fmt: skip
    return (claims, *([_speedups(audit.speedups, prefix)] if audit.speedups else []))


def _finding(one: audited.Finding) -> Finding:
    return Finding(
        rule=one.rule,
        verdict=f"{'falls' if one.severity is Severity.FALLS else 'weakened'}: {', '.join(one.claims)}",
        sentence=sentence(one.sentence) + (f" To do: {sentence(one.advice)}" if one.advice else ""),
        bad=one.severity is Severity.FALLS,
        about=one.where,
    )


def _speedups(found: Sequence[Speedups], prefix: str) -> Table:
    rows = tuple(
        (
            f"{one.scaling.value} scaling, {one.where}", one.gpus, one.baseline_gpus, one.throughput, one.fixed_batch,
            one.to_accuracy, one.target, _of(one),
            "; ".join(dict.fromkeys(filter(None, (one.fixed_batch_why, one.to_accuracy_why)))) or None,
        )
        for one in found
    )  # fmt: skip
    return Table(
        name=f"{prefix}three-speedups", title="Three speedups",
        lead="The same GPUs, three questions: images per second; the same training; an equal accuracy.",
        columns=(
            Column(name="series"), Column(name="gpus", title="GPUs"), Column(name="baseline_gpus", title="baseline"),
            Column(name="throughput"), Column(name="fixed_global_batch", title="fixed global batch"),
            Column(name="time_to_accuracy", title="time to equal accuracy"),
            Column(name="target", title="that accuracy", unit="%"), Column(name="of", title="of"),
            Column(name="why", title="why not"),
        ),
        rows=rows,
    )  # fmt: skip


def _of(one: Speedups) -> str | None:
    if one.to_accuracy is None:
        return None
    return ("training images" if one.of_training else "test images") + (", at least" if one.at_least else "")
