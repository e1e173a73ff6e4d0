"""Consoles of the documentation: commands behind `$`, run in their order, and what they printed.

    ```console
    $ vit_sweep doctor
    ...
    ```

A shown output may differ from the real one in numbers and paths, and lines may be left out where `...` stands alone.
In a block ` ```console measured` only the first columns of its tables must come again: what stands beside them, and
what is said of it, depends on what was measured.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.warm import clean_environment

_BLOCK = re.compile(r"^```console( measured)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\b[0-9a-f]{8}\b|\b[0-9a-f]{12}\b|\d+(?:[.,:]\d+)*")
COLUMNS = 100
"""Of the terminal that the documentation shows."""
CORES = 2
"""Of the machine that it shows, at most; what a plan proposes depends on them."""


@dataclass(frozen=True)
class Console:
    """One block: its commands with what they printed, as the page shows it."""

    start: int
    """Where its text begins in the page, in characters."""
    end: int
    measured: bool
    commands: list[tuple[str, str]]


def consoles(text: str) -> Iterator[Console]:
    """The consoles of a page, in their order."""
    for block in _BLOCK.finditer(text):
        parts = re.split(r"^\$ ", block[2], flags=re.MULTILINE)
        assert not parts[0], f"a console begins with its command: {parts[0]!r}"
        commands = [(command, output) for command, _, output in (part.partition("\n") for part in parts[1:])]
        yield Console(block.start(2), block.end(2), bool(block[1]), commands)


def run(command: str, folder: Path, bin: Path | None = None) -> str:
    """What a shell in `folder` prints for one command, both streams as a terminal would; it must end well.

    `bin`: of an installation that is not this one, whose programs are taken first.
    """
    mine = Path(sys.executable).parent
    environment = clean_environment() | {
        "PATH": ":".join(str(place) for place in (bin, mine, os.environ["PATH"]) if place),
        "COLUMNS": str(COLUMNS),
        "VIT_SWEEP_FIGURES": "on",
        **{f"GIT_{who}_{what}": "you@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    if bin:
        environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_few_cores,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    return done.stdout


def _few_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def follow(
    page: Path, folder: Path, *, renew: bool, bin: Path | None = None, as_run: Callable[[str], str] = str
) -> None:
    """Run the commands of a page in a folder, in their order, and compare what they print with what it shows.

    `as_run`: a command that is run instead of the shown one, and prints the same but for numbers.
    """
    text = page.read_text()
    answers = [
        (
            console,
            [
                (command, output, shown(run(as_run(command), folder, bin), folder))
                for command, output in console.commands
            ],
        )
        for console in consoles(text)
    ]
    assert answers, "a page without a console"
    if renew:
        for console, commands in reversed(answers):
            block = "".join(f"$ {command}\n{renewed(console, output, answer)}" for command, output, answer in commands)
            text = text[: console.start] + block + text[console.end :]
        page.write_text(text)
        return
    for console, commands in answers:
        for command, output, answer in commands:
            assert output or not answer, f"no output is shown of: $ {command}"
            assert unlike(output, answer, measured=console.measured) == [], f"$ {command}\n{answer}"


def renewed(console: Console, output: str, answer: str) -> str:
    """What a page shows of an answer from now on: lines that somebody left out stay left out while the rest comes."""
    left_out = "..." in output.splitlines()
    return output if left_out and unlike(output, answer, measured=console.measured) == [] else answer


def shown(output: str, folder: Path) -> str:
    """An output as a page shows it: this machine's folder is the reader's."""
    places = {f"{folder}/": "", f"{sys.prefix}/": ".venv/", f"{ROOT}/": "", tempfile.gettempdir(): "/tmp"}
    text = output
    for place, words in places.items():
        text = text.replace(place, words)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n") + "\n" if text.strip() else ""


def unlike(expected: str, output: str, *, measured: bool) -> list[str]:
    """Lines that the page shows and the command did not print, in this order."""
    missing, rest = [], iter([_plain(line) for line in output.splitlines()])
    lines = [line for line in expected.splitlines() if line.strip() and line.strip() != "..."]
    if measured:
        have = {_first(line) for line in output.splitlines()} | {""}
        return [line for line in lines if _first(line) not in have]
    for line in lines:
        if _plain(line) not in rest:
            missing.append(line)
            break
    return missing


def _first(line: str) -> str:
    """The first column of a table's line; of a sentence nothing."""
    columns = re.split(r"\s{2,}", line.strip())
    return _plain(columns[0]) if len(columns) > 1 and columns[0][:1].isalnum() else ""


def _plain(line: str) -> str:
    return re.sub(r"[\s─]+", " ", _NUMBER.sub("0", line)).strip()
