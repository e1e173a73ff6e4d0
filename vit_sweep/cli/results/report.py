"""The verb `report`: one HTML page with all that a study says. An edge."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from launchers.invocation import SCRIPT, called
from vit_sweep.cli.results.audit import print_notes
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.collected import print_place
from vit_sweep.cli.terminal.options.study import MaybeStudy, Quiet
from vit_sweep.cli.terminal.options.tables import Csv, Decimal, Map, Set, Sheet
from vit_sweep.report.output_paths import folder_of, page_path
from vit_sweep.runs.reshaping import reading_of
from vit_sweep.runs.sources import source_of, words_of
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.store import Study, open_study


def report(
    study: MaybeStudy = None,
    *,
    csv: Csv = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Draw a published study beside one's own curves, or report it alone: paper_cifar100."),
    ] = None,
    proposal: Annotated[
        bool, typer.Option("--proposal", help="Add what an application for compute time needs; write proposal.md too.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Least parallel efficiency of a chosen GPU count.")] = 0.8,
    target: Annotated[float | None, typer.Option(help="Test accuracy whose time is reported, 0 to 1.")] = None,
    output: Annotated[Path | None, typer.Option(help="The page; default: report.html in the study's folder.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser of this machine.")] = False,
    quiet: Quiet = False,
    columns: Map = None,
    constants: Set = None,
    decimal: Decimal = None,
    sheet: Sheet = None,
) -> None:
    """Write one HTML page of a study or a CSV file: answers, tables, figures, fits, audit, methods; it needs no
    network."""
    alone = study is None and not csv
    read_as = reading_of(columns, constants, decimal=decimal, sheet=sheet)
    opened = open_study(study) if study and not csv else None
    require_extra("report")
    console, beside = show.console(quiet=quiet), output.parent if output is not None else None
    if opened is not None:
        _require_a_record(opened, console)
    from vit_sweep.report.assemble import ReportOptions, content_of, content_of_tables
    from vit_sweep.report.render import write_report

    options = ReportOptions(
        reference=None if alone else reference, proposal=proposal, threshold=threshold, target=target
    )
    if opened is None:
        tables = source_of(study=study, csv=csv, reference=reference if alone else None, reading=read_as)
        # The page lies beside its tables and figures, in outputs/ and the file's name.
        folder = folder_of(tables, beside).absolute()
        print_notes(console, tables)
        folder.mkdir(parents=True, exist_ok=True)
        path = page_path(output, folder)
        command = f"{SCRIPT} report {words_of(csv or (), read_as, reference)}"
        content = content_of_tables(tables, folder, command=command, options=options)
        problems, nothing = tables.problems, f"no run of {tables.name} has a time, so there is nothing to report"
    else:
        folder = print_place(opened, console, output=beside)
        path = page_path(output, folder)
        content = content_of(opened, options, folder=folder)
        show.problems(console, opened.problems)
        problems, nothing = tuple(opened.problems), _without_a_time(opened)
    if quiet:
        show.errors((), problems)
    if content is None:
        show.console(stderr=quiet).print(nothing, soft_wrap=True)
        raise typer.Exit(1)
    for written in write_report(content, path):
        show.console().print(str(written), soft_wrap=True)
    if open_page:
        show.page(show.console(), path)


def _require_a_record(opened: Study, console: Console) -> None:
    """Before what draws is imported: nothing of a study can have a time where no job has left a record."""
    if not any(os.access(opened.cell_dir(name) / "record.json", os.F_OK) for name in opened.cell_names()):
        opened.plan_file(), opened.cell_files(), opened.jobs()  # so that damaged ones are named
        show.problems(console, opened.problems)
        if console.quiet:
            show.errors((), opened.problems)
        show.console(stderr=console.quiet).print(_without_a_time(opened), soft_wrap=True)
        raise typer.Exit(1)


def _without_a_time(opened: Study) -> str:
    return (
        f"no run of study {opened.name} has a time yet, so there is nothing to report; "
        f"{called()} status {shlex.quote(show.shown_path(opened.folder))} says what became of each"
    )
