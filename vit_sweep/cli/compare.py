"""The verb `compare`: two studies, paired by cell. An edge."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from launchers.atomic import write
from launchers.errors import UserError
from launchers.text import plural
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.table_options import Csv, Decimal, Map, Set, Sheet, is_table
from vit_sweep.report.tables.form.text import to_csv, to_markdown
from vit_sweep.runs.reshaping import reading_of
from vit_sweep.runs.sources import from_csv, from_study, source_of

if TYPE_CHECKING:
    # It imports numpy, which `--help` does not need.
    from vit_sweep.analysis.compare import Comparison
    from vit_sweep.analysis.series.series import Estimate


def compare(
    study_a: Annotated[str, typer.Argument(help="A study's folder, or its name below outputs/, or a table: a.")],
    study_b: Annotated[str | None, typer.Argument(help="The study or table to compare it with: b.")] = None,
    *,
    csv: Csv = None,
    reference: Annotated[str | None, typer.Option(help="Instead of b: a published study, paper_cifar100.")] = None,
    across: Annotated[
        list[str] | None, typer.Option(help="A condition that may differ: engine, partition, ...; several times.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Also write the table: FILE.csv or FILE.md.")] = None,
    columns: Map = None,
    constants: Set = None,
    decimal: Decimal = None,
    sheet: Sheet = None,
) -> None:
    """Say cell by cell whether b is faster than a: ratios with intervals. Exit 1 if no cell could be paired."""
    if output is not None and output.suffix not in (".csv", ".md"):
        raise UserError(f"output={output}: write FILE.csv or FILE.md")
    read_as = reading_of(columns, constants, decimal=decimal, sheet=sheet)
    tables = [*([study_b] if study_b and is_table(study_b) else []), *(csv or [])]
    a = from_csv([study_a], read_as) if is_table(study_a) else from_study(study_a)
    b = source_of(study=None if study_b in tables else study_b, csv=tables, reference=reference, reading=read_as)
    from vit_sweep.analysis.compare import compare as compare_runs
    from vit_sweep.report.tables.compared import compared_table, remarks, summary

    console = show.console()
    comparison = compare_runs(a.runs, b.runs, across=across or ())
    for side, source in (("a", a), ("b", b)):
        console.print(f"{side}: {source.name}, {len(source.timed)} of {plural(len(source.runs), 'run')} with a time")
        for note in source.notes:
            console.print(f"   {note}", soft_wrap=True)
        show.problems(console, source.problems)
    if comparison.pairs:
        console.print(_table(comparison))
        console.print(summary(comparison), soft_wrap=True)
    for text in remarks(comparison, a.name, b.name):
        console.print(text, soft_wrap=True)
    if output is not None and comparison.pairs:
        write(output, (to_markdown if output.suffix == ".md" else to_csv)(compared_table(comparison)))
        console.print(f"  {output}", soft_wrap=True)
    raise typer.Exit(0 if comparison.pairs else 1)


def _table(comparison: "Comparison") -> Table:
    labelled = any(pair.label for pair in comparison.pairs)
    table = Table(title="b against a (ratio of epoch times)", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("GPUs", "nodes"):
        table.add_column(title, justify="right")
    if labelled:
        table.add_column("cell", overflow="fold")
    for title in ("a s", "b s", "b / a", "95%", "runs"):
        table.add_column(title, justify="right")
    table.add_column("verdict", overflow="fold")
    for pair in comparison.pairs:
        style = {"b is faster": "green", "b is slower": "red"}.get(pair.verdict, "dim")
        table.add_row(
            str(pair.gpus),
            _or_dash(pair.nodes),
            *([pair.label] if labelled else []),
            f"{pair.a_s:.4g}",
            f"{pair.b_s:.4g}",
            f"{pair.ratio.value:.3f}",
            _interval(pair.ratio),
            f"{pair.a_runs}, {pair.b_runs}",
            Text(pair.verdict + (f": {pair.reason}" if pair.reason else ""), style=style),
        )
    return table


def _interval(ratio: "Estimate") -> str:
    return f"{ratio.low:.3f} – {ratio.high:.3f}" if ratio.low is not None and ratio.high is not None else "–"


def _or_dash(value: object) -> str:
    return "–" if value in (None, "") else str(value)
