"""The verb `audit`: which claims the figures of a study, or of somebody else's, can carry. An edge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from launchers.atomic import write
from launchers.checked import to_json
from launchers.errors import UserError
from launchers.text import plural, some
from vit_sweep.analysis.audit.finding import RuleFindings, Severity, Standing, by_rule
from vit_sweep.analysis.audit.judge import Audit, ClaimVerdict
from vit_sweep.analysis.audit.judge import audit as judge
from vit_sweep.analysis.audit.speedups import Speedups, bracket
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.fit_width import Column, Fitted, Role, columns_of
from vit_sweep.cli.terminal.options.output import output_file
from vit_sweep.cli.terminal.options.study import MaybeStudy
from vit_sweep.cli.terminal.options.tables import Csv, Decimal, Map, Set, Sheet
from vit_sweep.runs.reshaping import reading_of
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
    study: MaybeStudy = None,
    *,
    csv: Csv = None,
    reference: Annotated[str | None, typer.Option(help="A published study: paper_cifar100.")] = None,
    columns: Map = None,
    constants: Set = None,
    decimal: Decimal = None,
    sheet: Sheet = None,
    output: Annotated[Path | None, output_file(help="Also write all of it as JSON: FILE.json.")] = None,
) -> None:
    """Say which claims the figures can carry: exit 0 if none falls, 1 if one does or nothing has a time."""
    if output is not None and output.suffix != ".json":
        raise UserError(f"output={output}: write FILE.json")
    console = show.console()
    source = source_of(
        study=study, csv=csv, reference=reference, reading=reading_of(columns, constants, decimal=decimal, sheet=sheet)
    )
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
        console.print(f"  {note}", soft_wrap=not console.is_terminal)
    show.problems(console, source.problems)


def draw(console: Console, name: str, verdict: Audit) -> None:
    """Print claims, what each rule has against them and the three speedups: about a page, however large the source."""
    console.print(_claims(name, verdict.claims))
    groups = by_rule(verdict.findings)
    if groups:
        console.print(f"{plural(len(groups), 'rule speaks|rules speak')} against these claims, the worst first:")
    for group in groups:
        _rule(console, group)
    if verdict.speedups:
        console.print(_speedups(verdict.speedups))
    falls = ", ".join(verdict.falls)
    console.print(f"claims that fall: {falls}" if falls else "no claim falls")


def _claims(name: str, claims: Sequence[ClaimVerdict]) -> Fitted:
    rows = [(verdict.claim.value, verdict.standing.value, ", ".join(verdict.reasons)) for verdict in claims]
    columns = (
        Column("claim", role=Role.KEY, is_text=True),
        Column("stands", role=Role.KEY, is_text=True),
        Column("because of", role=Role.REMARK),
    )
    return Fitted(
        columns_of(columns, rows),
        title=f"what {name} can carry",
        styles=tuple(_STYLES[verdict.standing] for verdict in claims),
        frame=box.SIMPLE_HEAD,
        stacks=True,
    )


def _rule(console: Console, group: RuleFindings) -> None:
    """One rule: its effect, its first finding, where else it speaks, and what to do."""
    first = group.findings[0]
    console.print(Text.assemble((group.rule, _STYLES[group.severity]), f" – {group.effect}"))
    where = f"{first.where}: " if first.where else ""
    console.print(Padding(Text(f"{where}{first.sentence}"), (0, 0, 0, 4)))
    other_places = [place for place in group.places if place != first.where]
    if other_places:
        more = f"likewise in {len(other_places)} other series: {some(other_places, 3, separator='; ')}"
        console.print(Padding(Text(more, style="dim"), (0, 0, 0, 4)))
    elif len(group.findings) > 1:
        console.print(Padding(Text(group.findings[1].sentence), (0, 0, 0, 4)))
    console.print(Padding(Text(f"to do: {first.advice}", style="dim"), (0, 0, 0, 4)))


_ROWS = 12
"""Rows of speedups from which on only the largest GPU count of each series is shown, and so many series at most."""


def _speedups(rows: Sequence[Speedups]) -> Fitted:
    title = "three speedups"
    listed = rows
    if len(rows) > _ROWS:
        listed = list({(row.scaling, row.where): row for row in sorted(rows, key=lambda row: row.gpus)}.values())
        title = (
            f"three speedups at the largest GPU count of {min(len(listed), _ROWS)} of {len(listed)} series; --output "
            "FILE.json has all"
        )
    texts = [
        (
            row.where,
            f"{row.gpus} against {row.baseline_gpus}",
            _times(row.throughput),
            _times(row.fixed_batch),
            _to_accuracy(row),
        )
        for row in listed[:_ROWS]
    ]
    reasons = (reason for row in listed for reason in (row.fixed_batch_why, row.to_accuracy_why) if reason)
    notes = some(dict.fromkeys(f"no number: {why}" for why in reasons), 4, separator="\n")
    columns = (
        Column("series", role=Role.CONDITION, is_text=True),
        Column("GPUs", role=Role.KEY),
        Column("throughput"),
        Column("fixed batch"),
        Column("time to equal accuracy", role=Role.REMARK),
    )
    return Fitted(
        columns_of(columns, texts),
        title=title,
        notes=(notes,) if notes else (),
        frame=box.SIMPLE_HEAD,
        heading_of=lambda pairs: pairs[0][1],
    )


def _times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}x"


def _to_accuracy(row: Speedups) -> str:
    if row.to_accuracy is None or row.target is None:
        return "–"
    kind = "training" if row.of_training else "test"
    ends = bracket(row)
    value = f"{row.to_accuracy:.2f}x" + (f" ({ends})" if ends else "") if row.interpolated or not ends else f"{ends}x"
    seeds = some((f"{one_seed:.2f}" for _, one_seed in row.by_seed), 5)
    return f"{value} to {row.target:.1%} {kind} accuracy" + (f"; by seed {seeds}" if seeds else "")
