"""The verb `capsule`: a study as one thing that can be cited. An edge."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from launchers.invocation import called
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.options.study import StudyName
from vit_sweep.study.code.provenance import require_extra
from vit_sweep.study.store import open_study


def capsule(
    study: StudyName,
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PLACE", help="A file that ends with .zip, or a folder; default: STUDY-capsule.zip here."),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option("--license", metavar="SPDX", help="What others may do with the results: CC-BY-4.0, CC0-1.0, ..."),
    ] = None,
    author: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Who is to be cited, perhaps 'NAME <ORCID>'; several times. Default: git's user.name."
        ),
    ] = None,
    without_hosts: Annotated[bool, typer.Option("--without-hosts", help="Write host1, host2, ... for hosts.")] = False,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Though cells have not ended.")] = False,
) -> None:
    """Pack a study to be cited: an RO-Crate with code, plan, records, tables, report, CITATION.cff and checksums."""
    opened = open_study(study)
    require_extra("report")
    require_extra("capsule")
    from vit_sweep.report.capsule.build import Request, make_capsule

    place = out if out is not None else Path(f"{opened.name}-capsule.zip")
    request = Request(authors=author or (), license=license_, hosts=not without_hosts, unfinished=unfinished)
    packed = make_capsule(opened, place, request)
    console = show.console()
    for note in packed.notes:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"capsule of study {opened.name}: {packed.files:,} files", soft_wrap=True)
    console.print(f"  sha256 of its manifest: {packed.digest}", soft_wrap=True)
    names = "partitions and accounts" if without_hosts else "partitions, accounts and hosts (--without-hosts)"
    console.print(f"  names that it tells: {names}", soft_wrap=True)
    console.print(f"  whether it is whole: {called()} check {shlex.quote(show.shown_path(place))}", soft_wrap=True)
    console.print(f"  {place}", soft_wrap=True)
