"""What a change of a profile does to the scripts: two dry runs, compared. An edge: reads studies, may ask git."""

import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from launchers.atomic import read
from launchers.errors import UserError
from launchers.references import masked

_STUDY = "render-diff"


def render_diff(old: str, new: str, words: Sequence[str]) -> str:
    """Return the unified diff of the scripts of two studies, or of two git revisions' dry runs of `words`.

    Empty when they are the same. Raises `UserError` for what is neither a study nor a revision.
    """
    with _rendered(old, words) as before, _rendered(new, words) as after:
        return compare(scripts_of(before), scripts_of(after), names=(old, new))


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


def scripts_of(study: Path) -> dict[str, str]:
    """Scripts by shape (`n1-g4`, then `n1-g4#2`); the study's place and name, code and interpreter left out."""
    scripts: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for script in sorted([*study.glob("jobs/*/job.sbatch"), *study.glob("jobs/*/job.sh")]):
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


@contextmanager
def _rendered(name: str, words: Sequence[str]) -> Iterator[Path]:
    """The folder of a study: an existing one, or a revision's dry run that is removed afterwards."""
    for folder in (Path(name), Path("outputs") / name):
        if (folder / "study.json").is_file():
            yield folder.absolute()
            return
    commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if commit.returncode != 0:
        raise UserError(f"{name} is neither a study (a folder with study.json) nor a git revision of this checkout")
    with tempfile.TemporaryDirectory(prefix="vit_sweep-") as aside:
        tree = Path(aside) / "tree"
        added = _git("worktree", "add", "--detach", str(tree), commit.stdout.strip())
        if added.returncode != 0:
            raise UserError(f"git cannot check out {name}: {added.stderr.strip()}")
        try:
            yield _dry_run(tree, Path(aside) / "outputs", name, words)
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _dry_run(tree: Path, outputs: Path, name: str, words: Sequence[str]) -> Path:
    command = [sys.executable, "-m", "vit_sweep", *words, "dry_run=true", f"outputs={outputs}", f"study={_STUDY}"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    answer = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise UserError(f"the dry run of {name} failed: {(answer.stderr or answer.stdout).strip()[-500:]}")
    return outputs / _STUDY


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not on PATH: name two studies, or install git to compare revisions") from None
