"""No command that the pages show is a mistake: each is run, a sweep as a dry run, on studies of these names."""

import shutil

import pytest

from tests import warm
from tests.browser.studies import made_up
from tests.conftest import OLD_STUDY, ROOT
from tests.docs.commands import OWN_DATA, PAGES, filled, shown
from vit_sweep.report.figure import SWITCH

STUDIES = ("NAME", "A", "B", "before", "after", "mine", "first", "fig13", "zero0", "zero1")
TABLES = ("FILE", "theirs.csv", "before.csv", "after.csv")
PROFILE = """name: mine
scheduler: slurm
partition: gpu
nodes: 12
gpus_per_node: 4
gpu_model: NVIDIA A100
"""
ENDS_HERE = {
    "profiles discover": "this machine has no Slurm",  # with one: tests/slurm/sites
    "reproduce theirs.zip outputs": "nothing was run again",
    "continue_from=": "a training goes on as if nothing had happened",  # with a checkpoint: tests/e2e/train
}
"""Commands that need what is not on the desk, with the sentence that says so; a mistake would give another one."""
DRAWING = ("capsule", "open", "report")
"""Verbs that draw whatever is said of figures: off, they would draw all formats."""
COMMANDS = {words: page.name for page in PAGES for words in shown(page) if not OWN_DATA.search(words)}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the studies, tables and profiles that the pages speak of."""
    folder = tmp_path_factory.mktemp("desk")
    made_up(folder, name="STUDY")
    made_up(folder, "gpus=1,8,16", name="t4")
    for name in STUDIES:
        shutil.copytree(OLD_STUDY, folder / "outputs" / name)
    for name in TABLES:
        shutil.copy(ROOT / "reference" / "paper_cifar100.csv", folder / name)
    # A gate is for studies of which every cell has ended.
    for words in (
        ("drop", "mine", "gpus==2 and batch==48"),
        ("gate", "mine", "--write-baseline", "baseline.json"),
        ("capsule", "mine", "--license", "CC-BY-4.0", "--author", "Ada Lovelace", "--out", "theirs.zip"),
    ):
        made = warm.run(*words, cwd=folder, env={SWITCH: "svg"})
        assert made.returncode == 0, made.stderr
    for site in ("my_conf", "site/vit_sweep-site"):
        (folder / site / "partition").mkdir(parents=True)
        for name in ("mine", "a40_short", "a40_long"):
            text = PROFILE.replace("mine", name).replace("partition: gpu", f"partition: {name}")
            (folder / site / "partition" / f"{name}.yaml").write_text(text)
    shutil.copytree(folder / "my_conf" / "partition", folder / "site" / "partition")
    return folder


@pytest.mark.parametrize("words", [pytest.param(w, id=f"{page}: {w}"[:90]) for w, page in COMMANDS.items()])
def test_no_shown_command_is_a_mistake(words, desk, sweep, tmp_path):
    pytest.importorskip("pyarrow")
    if words.startswith("drop "):  # of a study that others ask for
        desk = shutil.copytree(desk, tmp_path / "desk")
    environment = {
        "PATH": "/nowhere",  # no Slurm, no browser
        "HOME": str(tmp_path),
        "SHELL": "/bin/bash",
    }
    if words.startswith(DRAWING):
        environment[SWITCH] = "svg"
    answer = sweep(*filled(words, desk), cwd=desk, env=environment)
    assert "Traceback" not in answer.stderr
    sentence = next((said for start, said in ENDS_HERE.items() if words.startswith(start)), None)
    if sentence is None:
        assert answer.returncode in (0, 1, 3), answer.stdout + answer.stderr
    else:
        assert answer.returncode == 2
        assert sentence in answer.stderr


def test_every_sentence_of_what_ends_here_is_of_a_shown_command():
    assert [start for start in ENDS_HERE if not any(words.startswith(start) for words in COMMANDS)] == []
