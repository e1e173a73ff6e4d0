"""The verb `check`: whether a study's folder is consistent. An edge."""

import typer

from launchers.text import plural
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.study_options import StudyName
from vit_sweep.study.check import check as examine
from vit_sweep.study.store import open_study


def check(study: StudyName) -> None:
    """Prove a study's folder consistent, or say what is wrong: exit 0 or 1. Reads only, and asks no scheduler."""
    opened, console = open_study(study), show.console()
    seen = examine(opened)
    for mark, sentences in (("wrong", seen.wrong), ("note", seen.notes)):
        for sentence in sentences:
            console.print(f"{mark}: {sentence}", soft_wrap=True, markup=False, highlight=False)
    end = f"{plural(len(seen.wrong), 'thing')} wrong" if seen.wrong else "consistent"
    console.print(
        f"study {opened.name}: {plural(seen.cells, 'cell')}, {plural(seen.records, 'record')}: {end}", soft_wrap=True
    )
    raise typer.Exit(1 if seen.wrong else 0)
