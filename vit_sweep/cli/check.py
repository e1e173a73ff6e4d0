"""The verb `check`: whether a study's folder is consistent, or a capsule whole. An edge."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from launchers.text import plural
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.options.completing import studies
from vit_sweep.study.check import check as examine
from vit_sweep.study.store import is_study, open_study


def check(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study's folder, its name below outputs/, or a capsule.", autocompletion=studies
        ),
    ],
) -> None:
    """Prove a study's folder consistent, or a capsule whole, or say what is wrong: exit 0 or 1. Reads only, and asks no
    scheduler."""
    if not is_study(study):
        from vit_sweep.report.capsule.manifest import is_capsule

        if is_capsule(Path(study)):
            raise typer.Exit(0 if capsule_is_whole(Path(study)) else 1)
    opened = open_study(study)
    seen = examine(opened)
    console = show.console()
    _told("wrong", seen.wrong, console)
    _told("note", seen.notes, console)
    end = f"{plural(len(seen.wrong), 'thing')} wrong" if seen.wrong else "consistent"
    console.print(
        f"study {opened.name}: {plural(seen.cells, 'cell')}, {plural(seen.records, 'record')}: {end}", soft_wrap=True
    )
    raise typer.Exit(1 if seen.wrong else 0)


def capsule_is_whole(path: Path, *, stderr: bool = False) -> bool:
    """Verify a capsule, and say what is wrong with it or that nothing is."""
    from vit_sweep.report.capsule.manifest import MANIFEST, verify

    seen = verify(path)
    console = show.console(stderr=stderr)
    _told("wrong", seen.wrong, console)
    end = f"{plural(len(seen.wrong), 'thing')} wrong" if seen.wrong else f"all as {MANIFEST} says"
    console.print(f"capsule {path}: {plural(seen.files, 'file')}: {end}", soft_wrap=True, highlight=False)
    console.print(f"  sha256 of its manifest: {seen.digest}", soft_wrap=True, highlight=False)
    return not seen.wrong


def _told(mark: str, sentences: tuple[str, ...], console: Console) -> None:
    for sentence in sentences:
        console.print(f"{mark}: {sentence}", soft_wrap=True, markup=False, highlight=False)
