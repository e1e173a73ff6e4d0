"""The verb `report`: one HTML page with all that a study says. An edge."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from launchers.atomic import write
from launchers.errors import UserError
from vit_sweep.cli.audit import print_notes
from vit_sweep.cli.collect import folder_of, place_for
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.table_options import Csv, Decimal, Map, Set, Sheet, words_of
from vit_sweep.runs.reshaping import reading_of
from vit_sweep.runs.sources import Source, source_of
from vit_sweep.study.provenance import require_extra
from vit_sweep.study.store import open_study

if TYPE_CHECKING:
    # They import numpy and more, which `--help` does not need.
    from vit_sweep.report.assemble import Wishes
    from vit_sweep.report.page.content import ReportContent


def report(
    study: Annotated[str | None, typer.Argument(help="A study's folder, or its name below outputs/.")] = None,
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
    columns: Map = None,
    constants: Set = None,
    decimal: Decimal = None,
    sheet: Sheet = None,
) -> None:
    """Write one HTML page of a study or a CSV file: answers, tables, figures, fits, audit, methods; it needs no
    network."""
    from vit_sweep.report.page.proposal_text import markdown

    alone = study is None and not csv
    read_as = reading_of(columns, constants, decimal=decimal, sheet=sheet)
    tables = (
        None
        if study and not csv
        else source_of(study=study, csv=csv, reference=reference if alone else None, reading=read_as)
    )
    require_extra("report")
    from vit_sweep.report.assemble import Wishes
    from vit_sweep.report.render import page

    console = show.console()
    wishes = Wishes(reference=None if alone else reference, proposal=proposal, threshold=threshold, target=target)
    if tables is not None:
        words = words_of(csv or (), read_as, reference)
        content, path = _of_tables(tables, words, output, wishes, console)
    else:
        content, path = _of_study(str(study), output, wishes, console)
    write(path, page(content))
    console.print(str(path), soft_wrap=True)
    if content.proposal is not None:
        figure = content.proposal.figure
        text = path.with_name("proposal.md")
        picture = figure.paths.get(".png", figure.paths[".svg"]) if figure is not None else None
        write(text, markdown(content, figure=_from(picture, text.parent) if picture is not None else ""))
        console.print(str(text), soft_wrap=True)
    if open_page:
        show.page(console, path)


def _from(path: Path, folder: Path) -> str:
    """A file's path as a text in `folder` names it; whole where the file lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _of_study(name: str, output: Path | None, wishes: "Wishes", console: Console) -> "tuple[ReportContent, Path]":
    from vit_sweep.report.assemble import content_of

    opened = open_study(name)
    folder = place_for(opened, console, output=output.parent if output is not None else None)
    path = _page_path(output, folder)
    content = content_of(opened, wishes, folder=folder)
    show.problems(console, opened.problems)
    if content is None:
        console.print(
            f"no run of study {opened.name} has a time yet, so there is nothing to report; "
            f"python -m vit_sweep status {name} says what became of each",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    return content, path


def _of_tables(
    source: Source, words: str, output: Path | None, wishes: "Wishes", console: Console
) -> "tuple[ReportContent, Path]":
    """The page lies beside its tables and figures, in outputs/ and the file's name."""
    from vit_sweep.report.assemble import content_of_tables

    folder = folder_of(source, output.parent if output is not None else None).absolute()
    print_notes(console, source)
    folder.mkdir(parents=True, exist_ok=True)
    path = _page_path(output, folder)
    content = content_of_tables(source, folder, command=f"python -m vit_sweep report {words}", wishes=wishes)
    if content is None:
        console.print(f"no run of {source.name} has a time, so there is nothing to report", soft_wrap=True)
        raise typer.Exit(1)
    return content, path


def _page_path(output: Path | None, folder: Path) -> Path:
    path = output.absolute() if output is not None else folder / "report.html"
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"output={output}: name a file in a folder that there is, for example --output report.html")
    return path
