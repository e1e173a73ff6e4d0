"""What made a benchmark's figures, printed and written with them: date, commit, command, processor, load."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_LOAD_BEFORE = os.getloadavg()[0]


def options(doc: str | None) -> argparse.ArgumentParser:
    """A program's options, of which `--json` is everyone's; `doc` is its docstring."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", type=Path)
    return parser


def report(figures: Mapping[str, Any], file: Path | None) -> None:
    """Print what made the figures; write both to `file` if one is named."""
    made = made_by()
    machine = f"{made['processor']}, {made['cores']} cores, load {made['load_before']} before it"
    print(f"{made['date']}, commit {made['commit']}, `{made['command']}`, {machine}")
    if file:
        file.write_text(json.dumps({"made_by": made} | dict(figures), indent=1) + "\n")


def made_by() -> dict[str, str | float]:
    """The facts without which a figure cannot be taken again."""
    here = Path(__file__).parent
    program = Path(sys.argv[0]).resolve()
    name = program.relative_to(here.parent) if program.is_relative_to(here) else program.name
    commit = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": subprocess.run(commit, capture_output=True, text=True, check=False).stdout.strip() or "unknown",
        "command": shlex.join(["python", str(name), *sys.argv[1:]]),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(_LOAD_BEFORE, 1),
    }


def _processor() -> str:
    """Its model as the kernel says it. `fingerprint.processor` is not for here: it comes with torch."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
