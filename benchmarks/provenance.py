"""What every benchmark shares at its ends: its options, and what made its figures, printed and written with them."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
"""The checkout that this program belongs to."""
_LOAD_BEFORE = os.getloadavg()[0]


class Table(NamedTuple):
    """Figures for a reader."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """With its title above; columns with nothing in them are left out."""
        columns = [i for i, name in enumerate(self.head) if name == "" or any(row[i] for row in self.rows)]
        lines = [[line[i] for i in columns] for line in (self.head, ["---"] * len(self.head), *self.rows)]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"

    def text(self) -> str:
        """For a terminal: columns in line."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        padded = ("  ".join(word.ljust(w) for word, w in zip(line, widths, strict=True)).rstrip() for line in lines)
        return "\n".join([self.title, *padded])


def options(doc: str | None) -> argparse.ArgumentParser:
    """A program's options, of which `--json` and `--markdown` are everyone's; `doc` is its docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    return parser


def report(figures: Mapping[str, Any], args: argparse.Namespace, *tables: Table) -> None:
    """Print the tables and what made the figures; write both where `args`, the program's options, say so."""
    provenance = made_by()
    for table in tables:
        print(table.text(), end="\n\n")
    print(sentence(provenance))
    if args.json:
        args.json.write_text(json.dumps({"made_by": provenance} | dict(figures), indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text("\n".join([*(table.markdown() for table in tables), f"{sentence(provenance)}\n"]))


def sentence(provenance: Mapping[str, str | float]) -> str:
    """In one line: date, commit, command, machine."""
    machine = (
        f"{provenance['processor']}, {provenance['cores']} cores, {provenance['memory_gib']} GiB, Linux "
        f"{provenance['kernel']}, Python {provenance['python']}, load {provenance['load_before']} before it and "
        f"{provenance['load_after']} after"
    )
    return f"{provenance['date']}, commit {provenance['commit']}, `{provenance['command']}`, {machine}"


def made_by() -> dict[str, str | float]:
    """The facts without which a figure cannot be taken again."""
    program = Path(sys.argv[0]).resolve()
    name = program.relative_to(ROOT) if program.is_relative_to(ROOT / "benchmarks") else program.name
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit_of(ROOT),
        "command": shlex.join(["python", str(name), *_words()]),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(_LOAD_BEFORE, 1),
        "load_after": round(os.getloadavg()[0], 1),
    }


def _words() -> list[str]:
    """What the program was told, without where to write: that changes no figure."""
    words = list(sys.argv[1:])
    for option in ("--json", "--markdown"):
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
    return words


def commit_of(checkout: Path) -> str:
    """Twelve digits, `-dirty` behind them where files differ; `unknown` outside of a repository."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _processor() -> str:
    """Its model as the kernel says it. `fingerprint.processor` is not for here: it comes with torch."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
