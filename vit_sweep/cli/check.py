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
    result = examine(opened)
    console = show.console()
    _print_sentences("wrong", result.wrong, console)
    _print_sentences("note", result.notes, console)
    end = f"{plural(len(result.wrong), 'thing')} wrong" if result.wrong else "consistent"
    console.print(
        f"study {opened.name}: {plural(result.cells, 'cell')}, {plural(result.records, 'record')}: {end}",
        soft_wrap=True,
    )
    raise typer.Exit(1 if result.wrong else 0)


def capsule_is_whole(path: Path, *, stderr: bool = False) -> bool:
    """Verify a capsule, and say what is wrong with it or that nothing is."""
    from vit_sweep.report.capsule.manifest import MANIFEST, verify

    verified = verify(path)
    console = show.console(stderr=stderr)
    _print_sentences("wrong", verified.wrong, console)
    end = f"{plural(len(verified.wrong), 'thing')} wrong" if verified.wrong else f"all as {MANIFEST} says"
    console.print(f"capsule {path}: {plural(verified.files, 'file')}: {end}", soft_wrap=True)
    console.print(f"  sha256 of its manifest: {verified.digest}", soft_wrap=True)
    return not verified.wrong


def _print_sentences(mark: str, sentences: tuple[str, ...], console: Console) -> None:
    for sentence in sentences:
        console.print(f"{mark}: {sentence}", soft_wrap=True)
