"""Every import contract can fail: an import planted in a copy of the tree makes lint-imports exit 1 and name it."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PLANTED = {
    "A room uses those below it, never those above or beside it": ("vit_sweep/plan", "import vit_sweep.study.store"),
    "A room of the scheduler side uses those below it": ("launchers/queue", "import launchers.slurm.backend"),
    "The scheduler side knows nothing of ViTs": ("launchers/slurm", "import vit_sweep"),
    "Nobody imports the Hydra plugin, Hydra finds it": ("vit_sweep/config", "import hydra_plugins.vit_sweep_sweeper"),
    "The pure rooms open no file and look at no machine, not through others either": (
        "vit_sweep/record",
        "import launchers.atomic",  # which imports os: that it is indirect is the point
    ),
    "Only the edges touch files, processes, clocks and the network": ("launchers/slurm", "import time"),
    "Only the trainer and the makers of data sets import torch, torchvision, deepspeed": (
        "vit_sweep/submit",
        "import torch",
    ),
    "Only what draws imports matplotlib, seaborn, jinja2": ("vit_sweep/runs", "import matplotlib"),
    "Only what reads and writes tables imports pandas and guesses encodings": ("vit_sweep/cli", "import pandas"),
    "Only what measures, analyses and draws imports numpy and scipy": ("vit_sweep/plan", "import numpy"),
    "Only the configuration's room and its door know Hydra": ("vit_sweep/cli", "import omegaconf"),
    "Only what a person sees imports typer and rich": ("vit_sweep/submit", "import rich"),
    "rocrate is called in one place": ("vit_sweep/cli", "import rocrate"),
    "submitit is called in one place": ("launchers/local", "import submitit"),
}
"""By contract: a folder, and an import that a new file there must not have."""


def contracts():
    """Names of the contracts in pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of what the contracts are about."""
    copy = tmp_path_factory.mktemp("tree")
    for package in ("vit_sweep", "launchers", "hydra_plugins"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint(tree):
    """Run lint-imports over the copy; returns its exit code and what it says of each broken contract."""
    program = Path(sys.executable).with_name("lint-imports")
    answer = subprocess.run(
        [program, "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    headings = "|".join(re.escape(name) for name in contracts())
    parts = re.split(rf"^({headings})\n-+$", answer.stdout, flags=re.MULTILINE)
    return answer.returncode, dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_contract_is_proved_here():
    assert list(PLANTED) == contracts()


def test_the_tree_itself_keeps_them_all(tree):
    assert lint(tree) == (0, {})


def test_a_planted_import_breaks_its_contract(tree):
    """All at once, and each contract must name the import that was planted for it."""
    files = {name: f"planted_{number}x" for number, name in enumerate(PLANTED)}
    for name, (folder, line) in PLANTED.items():
        (tree / folder / f"{files[name]}.py").write_text(f"{line}\n")
    try:
        code, broken = lint(tree)
    finally:
        for path in tree.rglob("planted_*.py"):
            path.unlink()
    assert code == 1
    assert [name for name, file in files.items() if f".{file} ->" not in broken.get(name, "")] == []


def test_no_folder_of_code_holds_more_files_than_a_reader_takes_in_at_once():
    """A new room, named so that a stranger guesses what is in it, before the eighteenth file."""
    places = [
        path.parent.relative_to(ROOT)
        for top in ("vit_sweep", "launchers", "hydra_plugins", "benchmarks", "tests")
        for path in (ROOT / top).rglob("*.py")
    ]
    assert {str(place): count for place, count in Counter(places).items() if count > 17} == {}


SIGNALLING = {"kill", "killpg", "terminate", "send_signal", "pidfd_send_signal", "pthread_kill", "tgkill"}


def signalling(source):
    """The lines that may signal a process other than this one."""
    return [
        call.lineno
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in SIGNALLING
        and not (call.args and ast.unparse(call.args[0]) == "os.getpid()")
    ]


def test_signals_leave_by_one_function():
    """Which sends them only to what is proven to be ours."""
    assert signalling("import os\nos.kill(os.getpid(), 9)\nos.kill(17, 9)\nchild.terminate()") == [3, 4]
    files = [path for folder in ("launchers", "vit_sweep", "hydra_plugins") for path in (ROOT / folder).rglob("*.py")]
    places = {path.relative_to(ROOT).as_posix() for path in files if signalling(path.read_text())}
    assert places == {"launchers/queue/signals.py"}


def unpickling(source):
    """The lines that may run what a file names: `weights_only=True` is tensors only."""
    return [
        call.lineno
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and re.fullmatch(
            r"(torch|c?[Pp]ickle|dill|joblib|marshal|pandas|shelve)\.(loads?|read_pickle|Unpickler|open)",
            ast.unparse(call.func),
        )
        and "weights_only=True" not in [f"{word.arg}={ast.unparse(word.value)}" for word in call.keywords]
    ]


def test_nothing_of_a_file_is_unpickled_but_tensors():
    """DeepSpeed unpickles within a guard of its own, torchvision only what has the published checksum."""
    source = "torch.load(x)\ntorch.load(x, weights_only=True)\ntorch.load(x, weights_only=False)\npickle.loads(y)"
    assert unpickling(source) == [1, 3, 4]
    files = [path for folder in ("launchers", "vit_sweep", "hydra_plugins") for path in (ROOT / folder).rglob("*.py")]
    assert {str(path) for path in files if unpickling(path.read_text())} == set()
