"""The verb `audit`: which claims the figures of a study, or of somebody else's, can carry. An edge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchers.atomic import write
from launchers.checked import to_json
from launchers.errors import UserError
from vit_sweep.analysis.audit.finding import IN_WORDS, Finding, Severity, Standing
from vit_sweep.analysis.audit.judge import Audit, Judged
from vit_sweep.analysis.audit.judge import audit as judge
from vit_sweep.analysis.audit.speedups import Speedups
from vit_sweep.cli import show
from vit_sweep.runs.sources import Source, source_of

_STYLES = {
    Standing.HOLDS: "green",
    Standing.WEAKENED: "yellow",
    Standing.FALLS: "red",
    Standing.OPEN: "dim",
    Severity.FALLS: "red",
    Severity.WEAKENS: "yellow",
}


def audit(
    study: Annotated[str | None, typer.Argument(help="A study's folder, or its name below outputs/.")] = None,
    csv: Annotated[Path | None, typer.Option(help="A tidy CSV file of somebody's results (docs/import.md).")] = None,
    reference: Annotated[str | None, typer.Option(help="A published study: paper_cifar100.")] = None,
    output: Annotated[Path | None, typer.Option(help="Also write all of it as JSON: FILE.json.")] = None,
) -> None:
    """Say which claims the figures can carry: exit 0 if none falls, 1 if one does or nothing has a time."""
    if output is not None and output.suffix != ".json":
        raise UserError(f"output={output}: write FILE.json")
    source, console = source_of(study=study, csv=csv, reference=reference), show.console()
    print_notes(console, source)
    if not source.timed:
        console.print(f"{source.name}: no run has a time yet, so there is nothing to audit")
        raise typer.Exit(1)
    verdict = judge(source.runs)
    draw(console, source.name, verdict)
    if output is not None:
        write(output, to_json(verdict))
        console.print(f"  {output}", soft_wrap=True)
    raise typer.Exit(1 if verdict.falls else 0)


def print_notes(console: Console, source: Source) -> None:
    """Print what a source says of itself and what of it was passed over."""
    for note in source.notes:
        console.print(f"  {note}", soft_wrap=True)
    show.problems(console, source.problems)


def draw(console: Console, name: str, verdict: Audit) -> None:
    """Print claims, findings and the three speedups."""
    console.print(_claims(name, verdict.claims))
    if verdict.findings:
        console.print(_findings(verdict.findings))
    if verdict.speedups:
        console.print(_speedups(verdict.speedups))
    falls = ", ".join(verdict.falls)
    console.print(f"claims that fall: {falls}" if falls else "no claim falls")


def _claims(name: str, claims: Sequence[Judged]) -> Table:
    table = Table(title=f"what {name} can carry", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("claim", "stands", "because of", "in words"):
        table.add_column(title, overflow="fold", no_wrap=title in ("claim", "stands"))
    for claim in claims:
        standing = Text(claim.standing.value, style=_STYLES[claim.standing])
        table.add_row(claim.claim.value, standing, ", ".join(claim.reasons), IN_WORDS[claim.claim])
    return table


_PER_RULE = 3
"""Findings of one rule that are shown; --output has all."""
_ROWS = 60
"""Rows of speedups from which on only the largest GPU count of each series is shown."""


def _findings(findings: Sequence[Finding]) -> Table:
    table = Table(title=f"{len(findings)} finding(s)", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("rule", "series", "finding", "what to do"):
        table.add_column(title, overflow="fold")
    by_rule: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault((finding.severity, finding.rule), []).append(finding)
    for (severity, name), group in sorted(by_rule.items(), key=lambda item: item[0][0] is not Severity.FALLS):
        rule = Text(f"{name} ({severity.value})", style=_STYLES[severity])
        for finding in group[:_PER_RULE]:
            table.add_row(rule, finding.where or "all", finding.sentence, finding.advice)
        if len(group) > _PER_RULE:
            table.add_row(rule, f"{len(group) - _PER_RULE} more", "likewise; --output FILE.json has all", "")
    return table


def _speedups(rows: Sequence[Speedups]) -> Table:
    table = Table(title="three speedups", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("series", "scaling"):
        table.add_column(title, overflow="fold")
    for title in ("GPUs", "against", "throughput", "fixed batch", "time to equal accuracy"):
        table.add_column(title, justify="right", overflow="fold")
    table.add_column("why not", overflow="fold")
    shown = rows
    if len(rows) > _ROWS:
        shown = list({(row.scaling, row.where): row for row in sorted(rows, key=lambda row: row.gpus)}.values())
        table.title = f"three speedups at the largest GPU count of {len(shown)} series; --output FILE.json has all"
    for row in shown[:_ROWS]:
        why = "; ".join(dict.fromkeys(filter(None, (row.fixed_batch_why, row.to_accuracy_why))))
        table.add_row(
            row.where,
            row.scaling.value,
            str(row.gpus),
            str(row.baseline_gpus),
            _times(row.throughput),
            _times(row.fixed_batch),
            _to_accuracy(row),
            why,
        )
    return table


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}x"


def _to_accuracy(row: Speedups) -> str:
    if row.to_accuracy is None or row.target is None:
        return "–"
    kind = "training" if row.of_training else "test"
    return f"{'>= ' if row.at_least else ''}{row.to_accuracy:.2f}x (to {row.target:.1%} {kind})"
