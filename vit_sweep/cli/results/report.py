"""The verb `report`: one HTML page with all that a study says. An edge."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from vit_sweep.runs.sources import Source, source_of, words_of
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.store import open_study

if TYPE_CHECKING:
    # They import numpy and more, which `--help` does not need.
    from vit_sweep.report.assemble import ReportOptions
    from vit_sweep.report.page.content import ReportContent


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
    tables = (
        None
        if study and not csv
        else source_of(study=study, csv=csv, reference=reference if alone else None, reading=read_as)
    )
    require_extra("report")
    from vit_sweep.report.assemble import ReportOptions
    from vit_sweep.report.render import write_report

    console = show.console(quiet=quiet)
    options = ReportOptions(
        reference=None if alone else reference, proposal=proposal, threshold=threshold, target=target
    )
    if tables is not None:
        words = words_of(csv or (), read_as, reference)
        content, path = _of_tables(tables, words, output, options, console)
    else:
        content, path = _of_study(str(study), output, options, console)
    for written in write_report(content, path):
        show.console().print(str(written), soft_wrap=True)
    if open_page:
        show.page(show.console(), path)


def _of_study(
    name: str, output: Path | None, options: "ReportOptions", console: Console
) -> "tuple[ReportContent, Path]":
    from vit_sweep.report.assemble import content_of

    opened = open_study(name)
    folder = print_place(opened, console, output=output.parent if output is not None else None)
    path = page_path(output, folder)
    content = content_of(opened, options, folder=folder)
    show.problems(console, opened.problems)
    if console.quiet:
        show.errors((), opened.problems)
    if content is None:
        show.console(stderr=console.quiet).print(
            f"no run of study {opened.name} has a time yet, so there is nothing to report; "
            f"{called()} status {name} says what became of each",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    return content, path


def _of_tables(
    source: Source, words: str, output: Path | None, options: "ReportOptions", console: Console
) -> "tuple[ReportContent, Path]":
    """The page lies beside its tables and figures, in outputs/ and the file's name."""
    from vit_sweep.report.assemble import content_of_tables

    folder = folder_of(source, output.parent if output is not None else None).absolute()
    print_notes(console, source)
    folder.mkdir(parents=True, exist_ok=True)
    path = page_path(output, folder)
    content = content_of_tables(source, folder, command=f"{SCRIPT} report {words}", options=options)
    if console.quiet:
        show.errors((), source.problems)
    if content is None:
        show.console(stderr=console.quiet).print(
            f"no run of {source.name} has a time, so there is nothing to report", soft_wrap=True
        )
        raise typer.Exit(1)
    return content, path
