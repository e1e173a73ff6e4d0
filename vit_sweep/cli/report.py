"""The verb `report`: one HTML page with all that a study says. An edge."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from vit_sweep.cli import show


def report(
    study: Annotated[str, typer.Argument(help="A study's folder, or its name below outputs/.")],
    *,
    reference: Annotated[
        str | None, typer.Option(help="Draw a published study beside one's own curves: paper_cifar100.")
    ] = None,
    proposal: Annotated[
        bool, typer.Option("--proposal", help="Add what an application for compute time needs; write proposal.md too.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Least parallel efficiency of a chosen GPU count.")] = 0.8,
    target: Annotated[float | None, typer.Option(help="Test accuracy whose time is reported, 0 to 1.")] = None,
    output: Annotated[Path | None, typer.Option(help="The page; default: report.html in the study's folder.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser of this machine.")] = False,
) -> None:
    """Write one HTML page of a study: answers, tables, figures, fits, audit, methods; it opens without a network."""
    from launchers.errors import UserError
    from vit_sweep.study.provenance import require_extra
    from vit_sweep.study.store import open_study

    opened, console = open_study(study), show.console()
    require_extra("report")
    path = output.absolute() if output is not None else opened.folder / "report.html"
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"output={output}: name a file in a folder that there is, for example --output report.html")
    from vit_sweep.report.assemble import Wishes, content_of
    from vit_sweep.report.page.proposal_text import markdown
    from vit_sweep.report.render import write_page

    content = content_of(opened, Wishes(reference=reference, proposal=proposal, threshold=threshold, target=target))
    show.problems(console, opened.problems)
    if content is None:
        console.print(
            f"no run of study {opened.name} has a time yet, so there is nothing to report; "
            f"python -m vit_sweep status {study} says what became of each",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    console.print(str(write_page(content, path)), soft_wrap=True)
    if content.proposal is not None:
        from launchers.atomic import write

        figure = content.proposal.figure
        text = path.with_name("proposal.md")
        picture = figure.paths.get(".png") if figure is not None else None
        write(text, markdown(content, figure=_from(picture, text.parent) if picture is not None else ""))
        console.print(str(text), soft_wrap=True)
    if open_page and not webbrowser.open(path.as_uri()):
        console.print("no browser was found on this machine; open the file by hand")


def _from(path: Path, folder: Path) -> str:
    """A file's path as a text in `folder` names it; whole where the file lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
