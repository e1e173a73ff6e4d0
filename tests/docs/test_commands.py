"""No command that the documentation shows is a mistake: each runs, a sweep as a dry run, on studies of these names."""

import re
import shlex
import shutil

import pytest

from tests.conftest import OLD_STUDY, ROOT
from tests.docs.test_docs import PAGES

SHOWN = re.compile(r"^    ((?:python -m )?vit_sweep (?:.*\\\n)*.*)$|`((?:python -m )?vit_sweep [^`]*)`", re.MULTILINE)
PROGRAM = re.compile(r"^(?:python -m )?vit_sweep ")
STUDIES = ("STUDY", "NAME", "A", "B", "before", "after", "mine", "first", "t4", "fig13", "zero0", "zero1")
TABLES = ("FILE", "theirs.csv", "before.csv", "after.csv")
ELSEWHERE = {
    "open ": "opens a browser; tests/unit/cli/test_studies.py",
    "render-diff main": "needs a repository; tests/unit/cli/terminal/test_render_diff.py",
    "profiles discover": "needs a Slurm; tests/slurm/sites",
    "profiles check": "needs what discover wrote; tests/unit/cli/test_profiles.py",
    "profiles show": "of a partition of one's own; tests/unit/cli/test_profiles.py",
    "profiles drift": "needs a Slurm; tests/slurm/sites",
    "data prepare": "downloads or packs; tests/unit/data",
    "resume ": "goes on with what its reader has let run; tests/e2e",
    "cancel ": "ends jobs that run; tests/unit/submit, tests/slurm",
    "drop ": "takes points out; tests/unit/submit/test_dropping.py",
    "completion": "writes into a home folder; tests/unit/cli",
}
FILES_OF_THEIR_OWN = (
    "data=photos/",
    "continue_from=",
    "data=./",
    "data.path=",
    "data=path/",
    "--config-dir",
    "model.init=",
)
"""Sweeps of files that a reader has: each kind has its own tests."""


def commands():
    """Every command that a page shows, once, without its comment, its placeholders as they stand."""
    found = {}
    for page in PAGES:
        for shown in SHOWN.finditer(page.read_text()):
            command = (shown[1] or shown[2]).replace("\\\n", " ")
            words = PROGRAM.sub("", re.sub(r"\s+#\s.*$|\s*\|.*$|\s*;.*$|\s*2>&1.*$", "", command))
            found.setdefault(" ".join(words.split()), page.name)
    return found


def runs_here(words):
    """Whether a command needs nothing that its reader brings."""
    return (
        "..." not in words
        and "[" not in words.partition("=")[0]
        and (" " in words or words in ("doctor", "list"))  # a verb alone is a name in a sentence
        and not words.startswith(tuple(ELSEWHERE))
        and not any(word in words for word in FILES_OF_THEIR_OWN)
    )


COMMANDS = {words: page for words, page in commands().items() if runs_here(words)}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the studies and tables that the pages speak of."""
    folder = tmp_path_factory.mktemp("desk")
    for name in STUDIES:
        shutil.copytree(OLD_STUDY, folder / "outputs" / name)
    for name in TABLES:
        shutil.copy(ROOT / "reference" / "paper_cifar100.csv", folder / name)
    return folder


@pytest.mark.parametrize("words", [pytest.param(w, id=f"{page}: {w}"[:90]) for w, page in COMMANDS.items()])
def test_no_shown_command_is_a_mistake(words, desk, sweep):
    pytest.importorskip("pyarrow")
    given = [{"KEY": "gpus", "VERB": "status"}.get(word, word) for word in shlex.split(words)]
    if given[0] == "-m" or "=" in given[0]:
        given += ["dry_run=true", "study=shown"]
    answer = sweep(*given, cwd=desk)
    assert answer.returncode in (0, 1, 3), answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_most_shown_commands_run_here():
    assert len(COMMANDS) > 0.6 * len(commands())
