"""What a capsule says of itself beside the study: who to cite, with what it ran, what was left out. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from launchers.checked import checked, to_plain
from launchers.errors import UserError
from launchers.text import indented, plural, some
from vit_sweep.record.machine import FACTS, Fingerprint
from vit_sweep.runs.run import Run

_AUTHOR = re.compile(r"([^<>]*[^<>\s])\s*(?:<(?:https://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])>)?")
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_NO_PACKAGE = ("python", "platform", "code", "vit_sweep")


@checked
class Author:
    """Somebody to be cited."""

    name: str
    orcid: str = ""

    @property
    def id(self) -> str:
        """What an RO-Crate calls them."""
        return f"https://orcid.org/{self.orcid}" if self.orcid else f"#{re.sub(r'[^A-Za-z0-9]+', '-', self.name)}"


@checked
class About:
    """What is said of a capsule as a whole."""

    name: str
    """The study's."""
    authors: tuple[Author, ...]
    license: str
    """An SPDX identifier."""
    date: str
    """Of publication, `2026-11-30`."""
    version: str
    """Of vit_sweep."""
    code: tuple[str, ...]
    """Digests of the snapshots in it."""
    began: str
    ended: str
    """First and last start of a run; empty where nobody noted it."""
    runs: int
    done: int
    hardware: str

    @property
    def title(self) -> str:
        """Of the data set."""
        return f"{self.name}: a scaling study of Vision Transformers"

    @property
    def description(self) -> str:
        """In two sentences."""
        on = f" on {self.hardware}" if self.hardware else ""
        return (
            f"{plural(self.runs, 'run')}{on}, {self.done} of them finished, with code, plan, records, tables, figures "
            f"and report. Made by vit_sweep {self.version}."
        )


def author_of(text: str) -> Author:
    """Read `Ada Lovelace <0000-0002-1825-0097>`; raises `UserError` for what is no name.

    >>> author_of("Ada Lovelace <https://orcid.org/0000-0002-1825-0097>").orcid
    '0000-0002-1825-0097'
    """
    match = _AUTHOR.fullmatch(text.strip())
    if match is None or not text.isprintable():
        raise UserError(f"author={text!r}: a name, perhaps with an ORCID: 'Ada Lovelace <0000-0002-1825-0097>'")
    return Author(name=match[1], orcid=match[2] or "")


def check_license(text: str | None) -> str:
    """Raises `UserError` for what can be no SPDX identifier: nobody but its authors may say what others may do."""
    if text is None or not _LICENSE.fullmatch(text):
        raise UserError(
            f"license={text or ''}: what may others do with the results? Name a licence by its SPDX identifier "
            "(https://spdx.org/licenses): --license CC-BY-4.0, CC0-1.0, MIT"
        )
    return text


def citation(about: About) -> str:
    """CITATION.cff, by the Citation File Format 1.2.0."""
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": "If you use these results, please cite them.",
        "type": "dataset",
        "title": about.title,
        "abstract": about.description,
        "authors": [_person(author) for author in about.authors],
        "license": about.license,
        "date-released": about.date,
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _person(author: Author) -> dict[str, str]:
    given, _, family = author.name.rpartition(" ")
    if "," in author.name:
        family, given = (part.strip() for part in author.name.split(",", 1))
    person = {"family-names": family} | ({"given-names": given} if given else {})
    return person | ({"orcid": f"https://orcid.org/{author.orcid}"} if author.orcid else {})


def environments(runs: Iterable[Run]) -> dict[str, str]:
    """`environment.txt` as pip reads it, by what the records state, most runs first; `environment-2.txt` ... if others
    ran with something else."""
    environments_seen: Counter[tuple[tuple[str, str], ...]] = Counter()
    machines: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for run in runs:
        if run.software:
            environments_seen[run.software] += 1
            machines.setdefault(run.software, set()).update(map(_builds, run.machine))
    ordered = sorted(environments_seen.items(), key=lambda item: (-item[1], item[0]))
    return {
        f"environment{f'-{number}' if number > 1 else ''}.txt": _environment(dict(software), count, machines[software])
        for number, (software, count) in enumerate(ordered, start=1)
    }


def _builds(rank: Fingerprint) -> str:
    facts = {name: FACTS[name](rank) for name in ("torch", "CUDA", "NCCL", "driver")}
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


def _environment(software: dict[str, str], count: int, machines: Iterable[str]) -> str:
    lines = [
        f"# What {plural(count, 'run')} had installed, as their records state it: what trains, not all it needs.",
        f"# python {software.get('python', 'unknown')}",
        *(f"# built as: {words}" for words in sorted(machines) if words),
    ]
    if "vit_sweep" in software:
        lines.append(f"# vit_sweep {software['vit_sweep']}, code {software.get('code', 'unknown')}")
    lines += [f"{name}=={version}" for name, version in sorted(software.items()) if name not in _NO_PACKAGE]
    return "\n".join(lines) + "\n"


def hardware(machines: Iterable[Fingerprint]) -> str:
    """`hardware.json`: each kind of machine that ran something, once, without names of hosts."""
    kinds = [to_plain(kind, defaults=False) for kind in machines]
    for kind in kinds:
        kind.pop("rank", None)
        kind.pop("host", None)
    return indented({"schema_version": 1, "machines": kinds}, sort_keys=True) + "\n"


def readme(about: About, notes: Sequence[str], *, hosts: bool, files: Sequence[tuple[str, str]]) -> str:
    """README.md: what is in it, what is not, how to look at it."""
    named = f"`outputs/{about.name}`"
    names = "names of partitions, accounts and hosts" if hosts else "names of partitions and accounts"
    lines = [
        f"# {about.title}",
        "",
        f"{about.description} Licence: {about.license}; the code of vit_sweep is under its own, MIT. Cite it by "
        "`CITATION.cff`.",
        "",
        "| what | where |",
        "| --- | --- |",
        *(f"| {what} | `{path}` |" for path, what in files),
        "",
        "To look at it, with vit_sweep installed, in this folder:",
        "",
        "    vit_sweep check .       # or: sha256sum -c manifest-sha256.txt",
        f"    vit_sweep status {about.name}",
        "",
        "To run it again, and to judge that cell by cell:",
        "",
        "    vit_sweep reproduce .           # says what to type; runs nothing",
        "    vit_sweep reproduce . --run partition=NAME    # runs a sample of the cells on a partition of yours",
        "    vit_sweep reproduce . MY_STUDY",
        "",
        "## What it does not say",
        "",
        f"Absolute paths stand without their folders (`.../name`), those of the study as {named}, values of secret "
        f"variables as `***`. It keeps {names}{'' if hosts else '; hosts are host1, host2, ...'}. Logs, traces and "
        "checkpoints are left out.",
        *(f"\n- {note}" for note in notes),
        "",
    ]
    return "\n".join(lines)


def badges(about: About, notes: Sequence[str], repeats: int) -> str:
    """BADGES.md: the checklist of ACM's Artifact Review and Badging 1.1, ticked where a fact of the capsule says so.

    `repeats`: the fewest runs of a cell that finished.
    """
    whole = about.done == about.runs and bool(about.code) and not notes
    runs = f"all {about.runs} runs have" if about.done == about.runs else f"{about.done} of {about.runs} runs have"
    code = "the code that ran is in it" if about.code else "the code that ran is not in it"
    several = f"every cell has {repeats} runs or more" if repeats > 1 else "a cell has a single run, so no interval"
    facts = [
        (False, "Artifacts available", "put the capsule into an archive that keeps it, and write its DOI here"),
        (True, "Documented", "README.md says what is in it, how to look at it, and how to run it again"),
        (True, "Consistent", "tables, figures and report were made from the records that lie beside them"),
        (whole, "Complete", f"{runs} finished; {code}" + (f"; {'; '.join(notes)}" if notes else "")),
        (
            True,
            "Exercisable",
            "`vit_sweep check .`, `status`, `collect`, `report` and `audit` work on it without a GPU",
        ),
        (True, "Reusable", f"licence {about.license}; code under MIT; an RO-Crate 1.1 with checksums"),
        (repeats > 1, "Judged with intervals", several),
        (False, "Results reproduced", "for others to fill: `vit_sweep reproduce CAPSULE --run` ends with code 0"),
    ]
    lines = [
        f"# Badges of {about.name}",
        "",
        "By ACM's Artifact Review and Badging 1.1 (https://www.acm.org/publications/policies/artifact-review-and-badging-"
        "current). What is ticked, the capsule itself shows.",
        "",
        *(f"- [{'x' if met else ' '}] **{name}**: {words}." for met, name, words in facts),
        "",
    ]
    return "\n".join(lines)


def unfinished_text(names: Sequence[str]) -> str:
    """Of cells that have not ended."""
    return f"{plural(len(names), 'cell has|cells have')} not ended: {some(names, 3)}"
