"""The verb `collect`: tables and figures of a study, or of somebody else's figures. An edge."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from launchers.errors import UserError, closest
from launchers.invocation import called
from vit_sweep.cli.results.audit import print_notes
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.collected import Collected, collect_again, collect_runs, collect_study
from vit_sweep.cli.terminal.options.study import MaybeStudy
from vit_sweep.cli.terminal.options.tables import Csv, Decimal, Map, Set, Sheet
from vit_sweep.plan.choices import Scaling
from vit_sweep.report.output_paths import folder_of
from vit_sweep.runs.reshaping import reading_of
from vit_sweep.runs.run import Run
from vit_sweep.runs.sources import Source, source_of, words_of
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.store import Study, open_study

_ALL = "all"


def _completions(incomplete: str) -> list[str]:
    """The names that a word may become."""
    from vit_sweep.report.tables.all_tables import NAMES

    return [name for name in (*NAMES, _ALL) if name.startswith(incomplete)]


def collect(
    study: MaybeStudy = None,
    *,
    csv: Csv = None,
    reference: Annotated[str | None, typer.Option(help="A published study: paper_cifar100.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="A folder; default: the study's own, of a CSV file outputs/ and its name.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(min=0, max=1, help="Test accuracy whose time is reported, for the study's own.")
    ] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(
            "--export", metavar="FORM", help="Also write it for another tool: extra-p, mlperf; several times."
        ),
    ] = None,
    shown: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            metavar="NAME",
            help="Only print this table, and write nothing: engines, placement, cost, memory, all; several times.",
            autocompletion=_completions,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all tables as one JSON object for programs, the rest on stderr.")
    ] = False,
    columns: Map = None,
    constants: Set = None,
    decimal: Decimal = None,
    sheet: Sheet = None,
) -> None:
    """Rebuild tables and figures from the records: at any time, from any machine that sees the folder."""
    forms = export or []
    _check_forms(forms)
    shown = [name for names in shown or () for name in names.split(",")]
    if shown:
        _check_tables(shown, alone=not (forms or as_json or output))
    console, source = show.console(stderr=as_json), None
    if study is None or csv or reference:
        read_as = reading_of(columns, constants, decimal=decimal, sheet=sheet)
        source = source_of(study=study, csv=csv, reference=reference, reading=read_as)
        if shown:
            print_notes(console, source)
            raise typer.Exit(_print_tables(shown, source.runs, console, name=source.name, target=target))
        files = words_of(csv or (), read_as, reference)
        done = _of_tables(source, files, output, console=console, target=target, forms=forms, draw=not as_json)
    else:
        opened = open_study(study)
        require_extra("report")
        if shown:
            raise typer.Exit(_print_tables(shown, opened, console, name=opened.name, target=target))
        if not forms and not as_json:
            collect_again(opened, console, output=output, target=target)
            return
        done = collect_study(opened, console, output=output, target=target, forms=forms, draw=not as_json)
    if as_json:
        typer.echo(json.dumps(done.as_data(source), indent=1, allow_nan=False))
    if not done.timed:
        raise typer.Exit(1)


def _check_forms(forms: Sequence[str]) -> None:
    if forms:
        require_extra("report")
        from vit_sweep.report.exports import check_forms

        check_forms(forms)


def _of_tables(
    source: Source,
    words: str,
    output: Path | None,
    *,
    console: Console,
    target: float | None,
    forms: Sequence[str],
    draw: bool,
) -> Collected:
    """Write tables and figures of imported runs into `output`.

    `words`: the options that read them. Raises `UserError` where `output` belongs to a study.
    """
    require_extra("report")
    folder = folder_of(source, output)
    print_notes(console, source)
    done = collect_runs(source.runs, folder.absolute(), console, target=target, forms=forms, draw=draw)
    if done.timed:
        console.print(f"  which claims they can carry: {called()} audit {words}", soft_wrap=True)
        console.print(f"  all of it on one page: {called()} report {words}", soft_wrap=True)
    return done


def _check_tables(names: Sequence[str], *, alone: bool) -> None:
    """Raise `UserError` for a table that there cannot be, and, unless it is `alone`, beside options that write."""
    require_extra("report")
    from vit_sweep.report.tables.all_tables import NAMES

    for name in names:
        if name not in (*NAMES, _ALL):
            raise UserError(f"--table {name}: there is no such table – {closest(name, (*NAMES, _ALL))}")
    if not alone:
        raise UserError(
            "--table only prints, and --output, --export and --json do more: leave them out, or leave --table out and "
            "find every table in what they write"
        )


def _print_tables(
    names: Sequence[str], origin: Study | Sequence[Run], console: Console, *, name: str, target: float | None
) -> int:
    """Print tables of a study or of imported runs, which are called `name`; returns 1 where one has nothing in it."""
    from vit_sweep.report.gather import gather, gather_runs

    gathered = gather(origin, target=target) if isinstance(origin, Study) else gather_runs(origin, target=target)
    tables = {table.name: table for table in gathered.tables}
    for requested in tables if _ALL in names else dict.fromkeys(names):
        if requested in tables:
            draw = show.scaling if requested in [mode.value for mode in Scaling] else show.whole
            console.print(draw(tables[requested]))
        else:
            console.print(f"{requested}: {name} has nothing for it; it has {', '.join(tables) or 'no table'}")
    show.problems(console, gathered.problems)
    return 0 if tables and {*names} <= {*tables, _ALL} else 1
