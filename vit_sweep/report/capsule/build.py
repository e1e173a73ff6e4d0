"""A study becomes a capsule: a folder, or one .zip file, that is whole or not there. An edge.

Tables, figures, page and exports are made anew from the cleaned copy, so that they say no more than it does, and what
anybody collects from the copy is the same again. The same study gives the same bytes, but for the date.
"""

import datetime
import hashlib
import os
import re
import subprocess
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from launchers.atomic import fill, make_folder, read, remove, replacing, temporary
from launchers.errors import UserError
from launchers.invocation import called
from vit_sweep import __version__
from vit_sweep.analysis.pairing import cells_of
from vit_sweep.outcome.result import Status
from vit_sweep.record.machine import hardware_words
from vit_sweep.report.capsule.contents import cleaned_files, cleaner_of, listed
from vit_sweep.report.capsule.manifest import MANIFEST, METADATA, line_of
from vit_sweep.report.capsule.metadata import (
    About,
    Author,
    author_of,
    badges,
    check_license,
    citation,
    environments,
    hardware,
    readme,
    unfinished_text,
)
from vit_sweep.report.records import Records
from vit_sweep.runs.baseline import baseline_of, text_of
from vit_sweep.study.store import Study

if TYPE_CHECKING:
    # It imports numpy, and what it is used with all that draws: a study that cannot be published needs neither.
    from vit_sweep.report.gather import Gathered

_NEVER = re.compile(r"\.(runs|done|collected)-\d+")
"""What collecting keeps for this user."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a .zip: the first that it can say."""
_FILE, _FOLDER = 0o100644, 0o40755
SOURCE_DATE = "SOURCE_DATE_EPOCH"
"""Seconds since 1970 that stand for today (https://reproducible-builds.org/specs/source-date-epoch)."""


class Request(NamedTuple):
    """How a capsule is to be."""

    authors: Sequence[str] = ()
    """None: whom git knows."""
    license: str | None = None
    hosts: bool = True
    """Whether names of hosts stay."""
    unfinished: bool = False
    """Whether cells may be under way."""


class Capsule(NamedTuple):
    """What was made."""

    path: Path
    files: int
    digest: str
    """sha256 of the manifest."""
    notes: tuple[str, ...]


def make_capsule(study: Study, out: Path, request: Request) -> Capsule:
    """Write the capsule of a study to `out`: one file where that ends with `.zip`, else a folder.

    Raises `UserError` where something is there, nobody is named, or the study is not to be published as it is.
    """
    license_, authors = check_license(request.license), request.authors or _by_git()
    people = tuple(map(author_of, authors))
    _check_place(out, study)
    unfinished = _unfinished(study)
    if unfinished and not request.unfinished:
        raise UserError(
            f"study {study.name}: {unfinished_text(unfinished)}; {called()} resume {study.name} runs them, "
            "--unfinished makes a capsule of what is there"
        )
    make_folder(out.parent)
    aside = temporary(out)
    try:
        notes = [unfinished_text(unfinished)] if unfinished else []
        written = _fill(study, aside, request, people=people, license_=license_, notes=notes)
        if out.suffix == ".zip":
            _pack(aside, written, out)
        else:
            os.rename(aside, out)  # noqa: PTH104 - it takes no folder's place that has something in it
    finally:
        remove(aside, pattern=r"\..*\.tmp")
    return Capsule(path=out, files=written.files, digest=written.digest, notes=tuple(notes))


_OTHER_ARCHIVES = {".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}


class _Written(NamedTuple):
    """The files of a capsule that has no name yet."""

    paths: list[str]
    """All of them, sorted; the manifest is the last."""
    files: int
    """That the manifest names."""
    digest: str


def _check_place(out: Path, study: Study) -> None:
    if out.suffix in _OTHER_ARCHIVES:
        raise UserError(f"out={out}: a capsule is a .zip file or a folder; write {out.with_suffix('').stem}.zip")
    if os.path.lexists(out):  # a link that leads nowhere is there, too
        raise UserError(f"out={out}: that is there already; name another place with --out, or put it away")
    if out.resolve().is_relative_to(study.folder.resolve()):
        raise UserError(f"out={out}: that lies in the study, which the capsule copies; name a place outside of it")


def _by_git() -> tuple[str, ...]:
    """Whom git knows here as author; raises `UserError` where it knows nobody."""
    with suppress(OSError):
        answer = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
        if name := answer.stdout.strip():
            return (name,)
    raise UserError("author=: who is to be cited? git knows no user.name here; write --author 'Ada Lovelace'")


def _unfinished(study: Study) -> list[str]:
    """Cells that have not ended, or never ran though somebody asked for them."""
    runs = (read.run for read in Records(study, None).reader.read())
    return [run.run_id for run in runs if run.status.under_way or run.status is Status.MISSING]


def _fill(
    study: Study, aside: Path, request: Request, *, people: Sequence[Author], license_: str, notes: list[str]
) -> _Written:
    """Write all of a capsule into a new folder; `notes` gets what its reader must know."""
    listing = listed(study)
    cleaner = cleaner_of(study, listing, hosts=request.hosts)
    inner = f"outputs/{study.name}"
    for path, content in cleaned_files(study, listing, cleaner):
        fill(aside, {f"{inner}/{path}": content}, mode=0o644)
    notes.extend(listing.notes)
    copy = Study(aside / inner)
    gathered = _regenerate(copy, study.name)
    notes.extend(cleaner.text(problem) for problem in copy.problems)
    about = _about(study.name, people, license_, gathered, sorted({path.split("/")[1] for path in listing.code}))
    environment = environments(gathered.runs)
    described = [
        (path, meaning)
        for path, meaning in _descriptions(inner, about, [*environment])
        if not path.startswith(inner) or (aside / path).exists()
    ]
    own = {
        "BADGES.md": badges(about, notes, _fewest(gathered)),
        "CITATION.cff": citation(about),
        "README.md": readme(about, notes, hosts=request.hosts, files=described),
        **environment,
        **_baselines(copy, gathered),
    }
    from vit_sweep.report.capsule.crate import metadata

    own[METADATA] = metadata(about, described)
    fill(aside, {name: text.encode() for name, text in own.items()}, mode=0o644)
    return _sealed(aside)


def _regenerate(copy: Study, name: str) -> "Gathered":
    """Tables, figures, page and exports of the copy, in its folder."""
    from vit_sweep.report.assemble import content_of
    from vit_sweep.report.exports import FORMS, export
    from vit_sweep.report.gather import gather
    from vit_sweep.report.render import write_report

    gathered = gather(copy)
    content = content_of(copy, gathered=gathered)
    if content is None:
        raise UserError(
            f"no run of study {name} has a time yet, so there is nothing to cite; {called()} status {name} says what "
            "became of each"
        )
    write_report(content, copy.folder / "report.html")
    export(FORMS, gathered, copy.folder)
    for path in copy.folder.iterdir():
        remove(path, pattern=_NEVER.pattern)
    return gathered


def _about(name: str, people: Sequence[Author], license_: str, gathered: "Gathered", code: Sequence[str]) -> About:
    began = sorted(run.started_at for run in gathered.runs if run.started_at)
    return About(
        name=name,
        authors=tuple(people),
        license=license_,
        date=_today(),
        version=__version__,
        code=tuple(code),
        began=began[0] if began else "",
        ended=began[-1] if began else "",
        runs=len(gathered.runs),
        done=sum(run.status is Status.DONE for run in gathered.runs),
        hardware=hardware_words(rank for run in gathered.runs for rank in run.machine),
    )


def _fewest(gathered: "Gathered") -> int:
    """Finished runs of the cell that has fewest; 0 where one has none."""
    return min((sum(run.status is Status.DONE for run in cell.runs) for cell in cells_of(gathered.runs)), default=0)


def _today() -> str:
    source_date = os.environ.get(SOURCE_DATE, "")
    if source_date.isdigit():
        return datetime.datetime.fromtimestamp(int(source_date), datetime.UTC).date().isoformat()
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _baselines(copy: Study, gathered: "Gathered") -> dict[str, str]:
    """What `gate` takes, and of it the kinds of machine."""
    commits = [command["git_commit"] for command in copy.commands() or () if command.get("git_commit")]
    baseline = baseline_of(copy.name, gathered.runs, commit=str(commits[-1]) if commits else "")
    return {
        "baseline.json": text_of(baseline),
        "hardware.json": hardware(baseline.machines),
    }


def _descriptions(inner: str, about: About, environment: Sequence[str]) -> list[tuple[str, str]]:
    """Path and meaning of what a reader looks for."""
    return [
        ("CITATION.cff", "who is to be cited, and how"),
        ("README.md", "what is in the capsule, and what is not"),
        ("BADGES.md", "the checklist of the artifact-evaluation badges, as far as it can be filled"),
        (MANIFEST, "sha256 of every other file"),
        *((name, "packages that trained, as the records state them") for name in environment),
        ("hardware.json", "kinds of machine that ran it, as the records state them"),
        ("baseline.json", "what vit_sweep gate --against takes"),
        (f"{inner}/", "the study: a folder that vit_sweep reads"),
        (f"{inner}/study.json", "every command, with versions and commit"),
        (f"{inner}/plan.json", "every point that was asked for, and its cell"),
        (f"{inner}/jobs.jsonl", "what was submitted, and when"),
        (f"{inner}/jobs/", "the scripts that were submitted"),
        (f"{inner}/cells/", "each cell: what its job was told (cell.json), what it measured (record.json)"),
        *((f"{inner}/.code/{digest}/", "the very code that the jobs ran") for digest in about.code),
        (f"{inner}/report.html", "all of it on one page"),
        (f"{inner}/tables/", "the tables"),
        (f"{inner}/tables/runs.csv", "a row for every run and point"),
        (f"{inner}/figures/", "the figures"),
        (f"{inner}/extra-p.json", "the series, for Extra-P"),
        (f"{inner}/mlperf/", "each timed run as a log of MLPerf"),
    ]


def _sealed(folder: Path) -> _Written:
    """Write the manifest of all that is in the folder, and the list of its files."""
    paths = sorted(
        os.path.relpath(os.path.join(place, name), folder)  # noqa: PTH118
        for place, _, names in os.walk(folder)
        for name in names
    )
    text = "".join(line_of(path, read(folder / path)) for path in paths).encode()
    fill(folder, {MANIFEST: text}, mode=0o644)
    return _Written(paths=[*paths, MANIFEST], files=len(paths), digest=hashlib.sha256(text).hexdigest())


def _pack(folder: Path, written: _Written, out: Path) -> None:
    """One file, in which folders have entries as well: a validator looks for those that the metadata names."""
    folders = {f"{above.as_posix()}/" for path in written.paths for above in Path(path).parents} - {"./"}
    with replacing(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted([*written.paths, *folders]):
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = (_FOLDER if path in folders else _FILE) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, b"" if path in folders else read(folder / path))
