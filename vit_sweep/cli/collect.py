"""The verb `collect`: tables and figures of a study, or of somebody else's figures. An edge."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from launchers.errors import UserError
from vit_sweep.cli import show
from vit_sweep.runs.sources import from_csv
from vit_sweep.study.provenance import require_extra
from vit_sweep.study.studies import open_study


def collect(
    study: Annotated[str | None, typer.Argument(help="A study's folder, or its name below outputs/.")] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Instead: a tidy CSV file of somebody's results (docs/import.md).")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="With --csv: a folder; outputs/ and the file's name.")] = None,
    target: Annotated[
        float | None, typer.Option(min=0, max=1, help="Test accuracy whose time is reported, for the study's own.")
    ] = None,
) -> None:
    """Rebuild tables and figures from the records: at any time, from any machine that sees the folder."""
    if csv is not None or study is None:
        if not _of_csv(csv, output, study=study, console=show.console(), target=target):
            raise typer.Exit(1)
        return
    if output is not None:
        raise UserError(f"output={output}: a study's tables lie in its own folder; --output goes with --csv")
    found = open_study(study)
    require_extra("report")
    from vit_sweep.report.gather import collect as collect_study

    if not collect_study(found, show.console(), target=target):
        raise typer.Exit(1)


def _of_csv(
    csv: Path | None, output: Path | None, *, study: str | None, console: Console, target: float | None = None
) -> list[Path]:
    """Write tables and figures of a CSV file into `output`; returns the files, none if no run has a time.

    Raises `UserError` unless just the file is given, and where `output` belongs to a study.
    """
    if csv is None or study is not None:
        raise UserError(f"{'a study and a file are' if csv else 'nothing is'} named; name a study or --csv FILE")
    require_extra("report")
    folder = output or Path("outputs") / csv.stem
    if (folder / "study.json").exists():
        raise UserError(f"{folder} is the folder of a study; name another one with --output FOLDER")
    found = from_csv(csv)
    from vit_sweep.report.gather import collect_runs

    for note in found.notes:
        console.print(note, soft_wrap=True)
    return collect_runs(found.runs, folder.absolute(), console, problems=found.problems, target=target)
