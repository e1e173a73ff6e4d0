"""The verb `compare`: two studies, paired by cell. An edge."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.text import Text

from launchers.atomic import write
from launchers.errors import UserError
from launchers.text import plural
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.fit_width import Column, Fitted, Role
from vit_sweep.cli.terminal.options.completing import studies
from vit_sweep.cli.terminal.options.output import output_file
from vit_sweep.cli.terminal.options.tables import Csv, Decimal, Map, Set, Sheet, is_table
from vit_sweep.report.tables.form.text import to_csv, to_markdown
from vit_sweep.runs.reshaping import reading_of
from vit_sweep.runs.sources import from_csv, from_study, source_of
from vit_sweep.study.code.provenance import require_extra

if TYPE_CHECKING:
    # It imports numpy, which `--help` does not need.
    from vit_sweep.analysis.compare import Comparison, Pair
    from vit_sweep.analysis.series.series import Estimate


def compare(
    study_a: Annotated[
        str, typer.Argument(help="A study's folder, or its name below outputs/, or a table: a.", autocompletion=studies)
    ],
    study_b: Annotated[
        str | None, typer.Argument(help="The study or table to compare it with: b.", autocompletion=studies)
    ] = None,
    *,
    csv: Csv = None,
    reference: Annotated[str | None, typer.Option(help="Instead of b: a published study, paper_cifar100.")] = None,
    across: Annotated[
        list[str] | None, typer.Option(help="A condition that may differ: engine, partition, ...; several times.")
    ] = None,
    output: Annotated[Path | None, output_file(help="Also write the table: FILE.csv or FILE.md.")] = None,
    columns: Map = None,
    constants: Set = None,
    decimal: Decimal = None,
    sheet: Sheet = None,
) -> None:
    """Say cell by cell whether b is faster than a: ratios with intervals. Exit 1 if no cell could be paired."""
    if output is not None and output.suffix not in (".csv", ".md"):
        raise UserError(f"output={output}: write FILE.csv or FILE.md")
    if not (study_b or csv or reference):
        raise UserError(f"compare {study_a}: with what? Name another study or table, --csv FILE or --reference NAME")
    read_as = reading_of(columns, constants, decimal=decimal, sheet=sheet)
    tables = [*([study_b] if study_b and is_table(study_b) else []), *(csv or [])]
    a = from_csv([study_a], read_as) if is_table(study_a) else from_study(study_a)
    b = source_of(study=None if study_b in tables else study_b, csv=tables, reference=reference, reading=read_as)
    require_extra("report")
    from vit_sweep.analysis.compare import compare as compare_runs
    from vit_sweep.report.tables.comparisons.comparison import compared_table, remarks, summary

    console = show.console()
    comparison = compare_runs(a.runs, b.runs, across=across or ())
    for side, source in (("a", a), ("b", b)):
        console.print(f"{side}: {source.name}, {len(source.timed)} of {plural(len(source.runs), 'run')} with a time")
        for note in source.notes:
            console.print(f"   {note}", soft_wrap=not console.is_terminal)
        show.problems(console, source.problems)
    if comparison.pairs:
        console.print(_table(comparison))
        console.print(summary(comparison), soft_wrap=not console.is_terminal)
    for text in remarks(comparison, a.name, b.name):
        console.print(text, soft_wrap=not console.is_terminal)
    if output is not None and comparison.pairs:
        write(output, (to_markdown if output.suffix == ".md" else to_csv)(compared_table(comparison)))
        console.print(f"  {output}", soft_wrap=True)
    raise typer.Exit(0 if comparison.pairs else 1)


def _table(comparison: "Comparison") -> Fitted:
    pairs = sorted(comparison.pairs, key=lambda pair: (pair.label, pair.gpus))
    nodes = {pair.nodes for pair in pairs}
    runs = {f"{pair.a_runs}, {pair.b_runs}" for pair in pairs}

    def column(heading: str, text: "Callable[[Pair], object]", role: Role = Role.KEY, **how: Any) -> Column:
        return Column(heading, tuple(str(text(pair)) for pair in pairs), role, **how)

    columns = [
        column("GPUs", lambda pair: pair.gpus),
        *([column("nodes", lambda pair: _or_dash(pair.nodes), Role.MEASURE, rank=4)] if len(nodes) > 1 else []),
        *(
            [column("cell", lambda pair: pair.label, Role.CONDITION, is_text=True)]
            if any(pair.label for pair in pairs)
            else []
        ),
        column("a s", lambda pair: f"{pair.a_s:.4g}", Role.MEASURE, rank=1),
        column("b s", lambda pair: f"{pair.b_s:.4g}", Role.MEASURE, rank=1),
        column("b/a", lambda pair: f"{pair.ratio.value:.3f}"),
        column("95% interval", lambda pair: _interval(pair.ratio), Role.MEASURE, rank=2),
        *(
            [column("runs", lambda pair: f"{pair.a_runs}, {pair.b_runs}", Role.MEASURE, rank=3)]
            if len(runs) > 1
            else []
        ),
        column("verdict", lambda pair: pair.verdict + (f": {pair.reason}" if pair.reason else ""), Role.REMARK),
    ]
    once = [f"{min(runs)} runs of a, b in each cell"] if len(runs) == 1 else []
    once += [f"nodes {_or_dash(*nodes)}"] if len(nodes) == 1 else []
    return Fitted(
        tuple(columns),
        title=Text.assemble("b against a (ratio of epoch times)\n", (", ".join(once), "dim")),
        styles=tuple({"b is faster": "green", "b is slower": "red"}.get(pair.verdict, "dim") for pair in pairs),
        frame=box.SIMPLE_HEAD,
        left_out="a wider terminal, or --output pairs.csv, shows {}",
        heading_of=lambda pairs: pairs[0][1],
    )


def _interval(ratio: "Estimate") -> str:
    return f"[{ratio.low:.3f}, {ratio.high:.3f}]" if ratio.low is not None and ratio.high is not None else "–"


def _or_dash(value: object) -> str:
    return "–" if value in (None, "") else str(value)
