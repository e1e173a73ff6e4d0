"""The verb `compare`: two studies, paired by cell. An edge."""

import csv as csv_module
import io
from collections.abc import Callable
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
from vit_sweep.report.tables.form.text import csv_field, markdown, pipe_table
from vit_sweep.runs.reshaping import reading_of
from vit_sweep.runs.sources import Source, from_csv, from_study, source_of

if TYPE_CHECKING:
    # It imports numpy, which `--help` does not need.
    from vit_sweep.analysis.compare import Comparison, Pair
    from vit_sweep.analysis.series.series import Estimate

_COLUMNS: "dict[str, Callable[[Pair], object]]" = {
    "gpus": lambda pair: pair.gpus,
    "nodes": lambda pair: pair.nodes,
    "cell": lambda pair: pair.label,
    "a_epoch_s": lambda pair: pair.a_s,
    "b_epoch_s": lambda pair: pair.b_s,
    "ratio": lambda pair: pair.ratio.value,
    "ratio_low": lambda pair: pair.ratio.low,
    "ratio_high": lambda pair: pair.ratio.high,
    "a_runs": lambda pair: pair.a_runs,
    "b_runs": lambda pair: pair.b_runs,
    "freedom": lambda pair: pair.ratio.freedom,
    "adjusted_p": lambda pair: pair.adjusted_p if pair.ratio.known else None,
    "verdict": lambda pair: pair.verdict,
    "reason": lambda pair: pair.reason,
}


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
    for text in remarks(comparison, a, b):
        console.print(text, soft_wrap=True)
    if output is not None and comparison.pairs:
        write(output, _markdown(comparison) if output.suffix == ".md" else _csv(comparison))
        console.print(f"  {output}", soft_wrap=True)
    raise typer.Exit(0 if comparison.pairs else 1)


def summary(comparison: "Comparison") -> str:
    """The geometric mean in one sentence."""
    mean = comparison.mean
    if mean is None:
        return "nothing was compared"
    ratio, decided = mean.ratio, sum(not pair.reason for pair in comparison.pairs)
    wide = f" (95 %: {ratio.low:.3f} to {ratio.high:.3f})" if ratio.low is not None and ratio.high is not None else ""
    return (
        f"b / a over {plural(ratio.n, 'cell')}, geometric mean {ratio.value:.3f}{wide}: {mean.verdict}; "
        f"{decided} of {ratio.n} can be told apart (5 % for the whole comparison)"
    )


def remarks(comparison: "Comparison", a: Source, b: Source) -> list[str]:
    """What was not paired and why, and what could not be checked."""
    texts = [f"not paired, {cell.side}: {cell.cell} – {cell.reason}" for cell in comparison.unpaired]
    if len(texts) > 20:
        texts = [*texts[:20], f"and {len(texts) - 20} more that are not paired"]
    texts += comparison.notes
    if comparison.one_sided and comparison.pairs:
        texts.append(f"said by one side only, so not compared: {', '.join(comparison.one_sided)}")
    if not comparison.pairs:
        texts.append(f"no cell of {a.name} could be paired with one of {b.name}")
        if comparison.across:
            words = " ".join(f"--across {name}" for name in comparison.across)
            texts.append(f"to compare across what differs, add: {words}")
    return texts


def _table(comparison: "Comparison") -> Table:
    labelled = any(pair.label for pair in comparison.pairs)
    table = Table(title="b against a (ratio of epoch times)", title_justify="left", box=box.SIMPLE_HEAD)
    for title in ("GPUs", "nodes"):
        table.add_column(title, justify="right")
    if labelled:
        table.add_column("cell", overflow="fold")
    for title in ("a s", "b s", "b / a", "95 %", "runs"):
        table.add_column(title, justify="right")
    table.add_column("so", overflow="fold")
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


def _row(pair: "Pair") -> list[object]:
    return [value(pair) for value in _COLUMNS.values()]


def _csv(comparison: "Comparison") -> str:
    text = io.StringIO()
    lines = csv_module.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    lines.writerows([csv_field(value) for value in _row(pair)] for pair in comparison.pairs)
    return text.getvalue()


def _markdown(comparison: "Comparison") -> str:
    rows = [
        [f"{value:.4g}" if isinstance(value, float) else _or_dash(value) for value in _row(pair)]
        for pair in comparison.pairs
    ]
    notes = ["", *(f"- {markdown(note)}" for note in comparison.notes)] if comparison.notes else []
    return "\n".join([*pipe_table(list(_COLUMNS), rows), "", summary(comparison), *notes]) + "\n"
