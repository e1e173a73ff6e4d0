"""Every benchmark that a machine without a GPU can run, each in its short form, one after the other: `make bench`.

    python benchmarks/run.py [NAME ...] [--folder outputs/bench] [--page docs/performance.md]

A NAME is `orchestrator` or `trainer` for all of its kind, or a program such as `orchestrator/collecting`. Each writes
`NAME.json`, `NAME.md` and what it printed, `NAME.log`, below the folder. `--page` puts the tables in their places in a
page: between `<!-- bench: NAME -->` and `<!-- end -->`. A benchmark that fails or runs past its time is named at the
end, and the others go on. Exit code 1 if there was one.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
WITHOUT_A_COMPILER = ("AdamW fused", "AdamW foreach", "patches as a product", "buckets copied", "denormals flushed")
"""Switches of a step that no kernel has to be built for."""
SHORT: dict[str, Sequence[str]] = {
    "orchestrator/start": ("--rounds=5", "--seconds=60"),
    "orchestrator/planning": ("240", "--rounds=3"),
    "orchestrator/collecting": ("--records=2000", "--rounds=3"),
    "orchestrator/waiting": ("--seconds=20",),
    "orchestrator/figures": ("--rounds=3",),
    "orchestrator/first_result": ("--sweeps=1",),
    "orchestrator/growth": ("--sizes=10,100,400", "--rounds=2", "--seconds=60"),
    "trainer/start": ("--rounds=3",),
    "trainer/instrumentation": ("--rounds=20",),
    "trainer/cpu_step": ("--rounds=8", "--steps=2", "--switches", *WITHOUT_A_COMPILER),
    "trainer/engines": ("--rounds=4", "--steps=3"),
    "trainer/input": ("--seconds=0.5", "--rounds=3", "--cases=2"),
    "trainer/reading": ("--images=256", "--rounds=3"),
}
"""What each is told, so that all of them take less than 15 minutes on two cores."""
MOST_S = 240
"""Of one of them; a hanging one must not hold up the others."""
_PLACE = re.compile(r"(<!-- bench: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(words: Sequence[str] | None = None) -> int:
    """Run them, say what each took, and renew the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="orchestrator, trainer, or a program; all unless told")
    parser.add_argument("--folder", type=Path, default=HERE.parent / "outputs" / "bench")
    parser.add_argument("--page", type=Path, help="a page whose tables are renewed")
    args = parser.parse_args(words)
    selected = [name for name in SHORT if not args.names or {name, name.partition("/")[0]} & set(args.names)]
    unknown = [name for name in args.names if not any(name in (one, one.partition("/")[0]) for one in selected)]
    if unknown:
        parser.error(f"{', '.join(unknown)}: no such benchmark; there are {', '.join(SHORT)}")
    begun = time.perf_counter()
    failed = [name for name in selected if not measured(name, SHORT[name], args.folder)]
    print(f"{len(selected)} benchmarks in {time.perf_counter() - begun:.0f} s; tables below {args.folder}")
    if args.page:
        text = args.page.read_text()
        args.page.write_text(renewed(text, tables_below(args.folder, selected)))
    for name in failed:
        print(f"failed: {name}; see {args.folder / name}.log")
    return 1 if failed else 0


def measured(name: str, words: Iterable[str], folder: Path) -> bool:
    """Run one, its files below `folder`; whether it ended well within its time."""
    log, figures, table = (folder / f"{name}.{ending}" for ending in ("log", "json", "md"))
    log.parent.mkdir(parents=True, exist_ok=True)
    for old in (figures, table):
        old.unlink(missing_ok=True)
    command: list[str | Path] = [sys.executable, HERE / f"{name}.py", *words, "--json", figures, "--markdown", table]
    begun = time.perf_counter()
    print(f"{name} {' '.join(words)} ... ", end="", flush=True)
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    with (
        log.open("w") as log_file,
        subprocess.Popen(
            command, env=environment, stdout=log_file, stderr=subprocess.STDOUT, process_group=0
        ) as process,
    ):
        try:
            code = process.wait(MOST_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # what it started as well
            code = -signal.SIGKILL
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    print(f"{time.perf_counter() - begun:.0f} s" if code == 0 else f"exit {code}")
    return code == 0 and figures.is_file()


def tables_below(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The Markdown of those that have some."""
    files = {name: folder / f"{name}.md" for name in names}
    return {name: file.read_text() for name, file in files.items() if file.is_file()}


def renewed(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables in their places; a place whose table is not among them stays as it is."""
    return _PLACE.sub(lambda place: f"{place[1]}{tables[place[2]]}{place[3]}" if place[2] in tables else place[0], page)


if __name__ == "__main__":
    sys.exit(main())
