"""The verb `render-diff`: what a change does to the scripts of two dry runs. An edge: reads studies, may ask git."""

import difflib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from launchers.atomic import read
from launchers.errors import UserError
from launchers.references import masked
from launchers.text import visible
from vit_sweep.cli.terminal import show

_STUDY = "render-diff"
_AT_ONCE = 2
"""Dry runs: one of each revision."""
_SHOWN = 2000
"""Characters of what a dry run that failed says, from its beginning: there the mistake is named."""


class Change(NamedTuple):
    """What became of the scripts of one partition."""

    partition: str
    state: str
    """`new`, `removed`, `changed`, `the same`, or `cannot be rendered`."""
    diff: str
    """Unified; empty where nothing changed."""
    problem: str = ""
    """Why the new revision renders none of its scripts."""


def render_diff(
    context: typer.Context,
    old: Annotated[str, typer.Argument(help="A study, or a git revision of this checkout.")],
    new: Annotated[str, typer.Argument(help="The other one.")],
    *,
    partitions: Annotated[
        bool,
        typer.Option("--partitions", help="Every partition of two revisions, new ones too; Markdown, for a summary."),
    ] = False,
) -> None:
    """Show what a change does to the scripts: exit 0 if nothing, 1 with a diff, 2 if something cannot be rendered.

    Revisions need the sweep's words.
    """
    console = show.console()
    if partitions:
        raise typer.Exit(_markdown(console, diff_of_each(old, new, context.args)))
    text = diff_of(old, new, context.args)
    if text and console.is_terminal:
        from rich.syntax import Syntax

        console.print(Syntax(text, "diff", background_color="default"))
    elif text:
        console.print(text, soft_wrap=True)
    else:
        console.print("the scripts are the same")
    raise typer.Exit(1 if text else 0)


def _markdown(console: Console, changes: Sequence[Change]) -> int:
    """Print a section for each partition, those that cannot be rendered first; returns the exit code."""
    for change in sorted(changes, key=lambda change: not change.problem):
        console.print(f"## {change.partition}: {change.state}\n", soft_wrap=True)
        if content := visible(change.problem) or change.diff:
            console.print(f"```{'' if change.problem else 'diff'}\n{content.rstrip()}\n```\n", soft_wrap=True)
    if any(change.problem for change in changes):
        return 2
    return 1 if any(change.diff for change in changes) else 0


def diff_of(old: str, new: str, words: Sequence[str]) -> str:
    """Return the unified diff of the scripts of two studies, or of two git revisions' dry runs of `words`.

    Empty when they are the same. Raises `UserError` for what is neither a study nor a revision.
    """
    with _rendered(old, words) as before, _rendered(new, words) as after:
        return compare(scripts_of(before), scripts_of(after), names=(old, new))


def diff_of_each(old: str, new: str, words: Sequence[str]) -> list[Change]:
    """The same of `words` with every partition that either git revision has, those of `--config-dir` included.

    A partition of one revision alone is a whole addition or removal. Raises `UserError` for what is no revision.
    """
    with _checkout(old) as before, _checkout(new) as after, ThreadPoolExecutor(_AT_ONCE) as pool:
        earlier, later = pool.map(lambda tree: _by_partition(tree, words), (before, after))
    return [_change(name, earlier.get(name), later.get(name), names=(old, new)) for name in sorted({*earlier, *later})]


def _change(name: str, before: "_Scripts | None", after: "_Scripts | None", *, names: tuple[str, str]) -> Change:
    if after is not None and after.problem:
        return Change(name, "cannot be rendered", "", after.problem)
    diff = compare(before.texts if before else {}, after.texts if after else {}, names=names)
    if before is None or before.problem:
        state = "new" if before is None else "could not be rendered before"
    else:
        state = "removed" if after is None else "changed" if diff else "the same"
    return Change(name, state, diff)


def compare(before: dict[str, str], after: dict[str, str], *, names: tuple[str, str]) -> str:
    """Unified diff by script name; a script on one side only is a whole addition or removal."""
    parts: list[str] = []
    for name in sorted({*before, *after}):
        parts += difflib.unified_diff(
            before.get(name, "").splitlines(keepends=True),
            after.get(name, "").splitlines(keepends=True),
            fromfile=f"{names[0]}/{name}" if name in before else "/dev/null",
            tofile=f"{names[1]}/{name}" if name in after else "/dev/null",
        )
    return "".join(parts)


def scripts_of(study: Path, partition: str | None = None) -> dict[str, str]:
    """Scripts by shape (`n1-g4`, then `n1-g4#2`), of one partition or of all; the study's place and name, code and
    interpreter left out."""
    scripts: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for script in sorted([*study.glob("jobs/*/job.sbatch"), *study.glob("jobs/*/job.sh")]):
        if partition is not None and _partition_of(script) != partition:
            continue
        shape = "-".join(script.parent.name.split("-")[:2])
        seen[shape] += 1
        text = masked(read(script).decode(errors="replace")).replace(str(study), "STUDY")
        # Only where a script says it: a study may be called `time`, or `closing` as the module is.
        text = re.sub(rf"(study: |--comment=|--job-name=vit_sweep-){re.escape(study.name)}(?!\w)", r"\1NAME", text)
        # The digest of an array's folder changes with any cell of it: the list of cells shows that already.
        text = re.sub(rf"\b{shape}-[0-9a-f]{{8}}\b", shape, text)
        # So does the code's digest, with any change of the code: a script only says where the copy is.
        text = re.sub(r"/\.code/[0-9a-f]{12}\b", "/.code/DIGEST", text)
        text = re.sub(r"\S+ -m (vit_sweep\.\w+|launchers\.\w+)", r"PYTHON -m \1", text)
        scripts[shape if seen[shape] == 1 else f"{shape}#{seen[shape]}"] = text
    return scripts


def _partition_of(script: Path) -> str:
    return str(json.loads(read(script.parent / "batch.json"))["profile"]["name"])


class _Scripts(NamedTuple):
    """The scripts of a partition, or why there are none."""

    texts: dict[str, str]
    problem: str = ""


class _Tree(NamedTuple):
    """A revision, checked out beside an empty folder for studies."""

    revision: str
    tree: Path
    outputs: Path


def _by_partition(place: _Tree, words: Sequence[str]) -> dict[str, _Scripts]:
    """The scripts of every partition: all by one dry run, or, where that fails, by one for each to see which it is."""
    names = _partitions(place.tree, words)
    try:
        study = _dry_run(place, "all", [*words, f"partition={','.join(names)}"])
    except UserError:
        return {name: _scripts_of_one(place, name, words) for name in names}
    return {name: _Scripts(scripts_of(study, name)) for name in names}


def _scripts_of_one(place: _Tree, name: str, words: Sequence[str]) -> _Scripts:
    try:
        return _Scripts(scripts_of(_dry_run(place, name, [*words, f"partition={name}"]), name))
    except UserError as error:
        return _Scripts({}, str(error))


def _partitions(tree: Path, words: Sequence[str]) -> list[str]:
    """Names of the partitions of a checkout; raises `UserError` for one without any."""
    folders = ["conf", *_values_of(words, "--config-dir", "-cd")]
    names = {path.stem for folder in folders for path in (tree / folder / "partition").glob("*.yaml")}
    if not names:
        raise UserError(f"{tree.name}: no partition in {' or '.join(f'{folder}/partition/' for folder in folders)}")
    return sorted(names)


def _values_of(words: Sequence[str], *options: str) -> Iterable[str]:
    """What follows an option, or stands behind its equals sign."""
    for place, word in enumerate(words):
        name, mark, value = word.partition("=")
        if name in options:
            yield value if mark else "".join(words[place + 1 : place + 2])


@contextmanager
def _rendered(name: str, words: Sequence[str]) -> Iterator[Path]:
    """The folder of a study: an existing one, or a revision's dry run that is removed afterwards."""
    for folder in (Path(name), Path("outputs") / name):
        if (folder / "study.json").is_file():
            yield folder.absolute()
            return
    with _checkout(name, or_study=True) as place:
        yield _dry_run(place, _STUDY, words)


@contextmanager
def _checkout(name: str, *, or_study: bool = False) -> Iterator[_Tree]:
    """A git revision in a folder of its own, which is removed afterwards."""
    commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if commit.returncode != 0:
        neither = "neither a study (a folder with study.json) nor a" if or_study else "no"
        raise UserError(f"{name} is {neither} git revision of this checkout")
    with tempfile.TemporaryDirectory(prefix="vit_sweep-") as aside:
        tree = Path(aside) / "tree"
        added = _git("worktree", "add", "--detach", str(tree), commit.stdout.strip())
        if added.returncode != 0:
            raise UserError(f"git cannot check out {name}: {added.stderr.strip()}")
        try:
            yield _Tree(name, tree, Path(aside) / "outputs")
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _dry_run(place: _Tree, study: str, words: Sequence[str]) -> Path:
    """The folder of a dry run by the code of a revision; raises `UserError` with the beginning of what it says."""
    command = [sys.executable, "-m", "vit_sweep", *words, "dry_run=true", f"outputs={place.outputs}", f"study={study}"]
    environment = os.environ | {"PYTHONPATH": str(place.tree)}
    answer = subprocess.run(command, cwd=place.tree, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        output = (answer.stderr or answer.stdout).strip()
        omitted = f"\n... and {len(output) - _SHOWN} more characters" if len(output) > _SHOWN else ""
        raise UserError(
            f"the dry run of {place.revision} failed ({shlex.join(words)}): "
            f"{output[:_SHOWN].replace(str(place.tree), '.')}{omitted}"
        )
    return place.outputs / study


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not on PATH: name two studies, or install git to compare revisions") from None
