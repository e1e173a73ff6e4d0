"""The audit's tables: how each claim stands, the three speedups side by side. Pure."""

from collections.abc import Iterable, Sequence

from launchers.text import grouped, some
from vit_sweep.analysis.audit.finding import IN_WORDS, Finding
from vit_sweep.analysis.audit.judge import Audit
from vit_sweep.analysis.audit.speedups import Speedups, bracket
from vit_sweep.report.page.layout import table_of
from vit_sweep.report.tables.form.table import Column, Table


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
                "claim": judgement.claim.value,
                "stands": judgement.standing.value,
                "because": "; ".join(judgement.reasons) or None,
                "in_words": IN_WORDS[judgement.claim],
            }
            for judgement in audit.claims
        ],
    )
    return (claims, *([_speedups(audit.speedups, prefix)] if audit.speedups else []))


def merged(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """The series, and what is said of them: equal sentences once."""
    places = grouped((finding.sentence, finding.where) for finding in findings)
    return [("; ".join(filter(None, where)), sentence) for sentence, where in places.items()]


def _speedups(rows: Sequence[Speedups], prefix: str) -> Table:
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
            Column(name="bracket", title="as epochs tell it"),
            Column(name="by_seed", title="by seed"),
            Column(name="target", title="that accuracy", percent=True),
            Column(name="of"),
            Column(name="why", title="why not"),
        ),
        [
            {
                "series": _series(row),
                "gpus": row.gpus,
                "baseline_gpus": row.baseline_gpus,
                "throughput": row.throughput,
                "fixed_global_batch": row.fixed_batch,
                "time_to_accuracy": row.to_accuracy if row.interpolated else None,
                "bracket": bracket(row) or None,
                "by_seed": some((f"{value:.2f}" for _, value in row.by_seed), 5) or None,
                "target": row.target,
                "of": _images(row),
                "why": "; ".join(dict.fromkeys(filter(None, (row.fixed_batch_why, row.to_accuracy_why)))) or None,
            }
            for row in rows
        ],
    )


def _series(row: Speedups) -> str:
    """A label begins with the mode where a study has both."""
    return row.where if row.where.startswith(row.scaling.value) else f"{row.scaling.value} scaling, {row.where}"


def _images(row: Speedups) -> str | None:
    """Of which images the accuracy is."""
    if row.to_accuracy is None:
        return None
    return "training images" if row.of_training else "test images"
