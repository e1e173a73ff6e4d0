"""Planning, rendering and --help import nothing heavy; a second test proves that the first can fail."""

import json
import subprocess
import sys

HEAVY = (
    *("torch", "torchvision", "deepspeed", "sklearn", "pandas", "matplotlib", "seaborn", "scipy", "numpy", "pyarrow"),
    *("rocrate", "jinja2"),
)

PROBE = """
import json, sys
from vit_sweep.__main__ import main
for words in json.loads(sys.argv[1]):
    expected = 0 if "--help" in words else {exits!r}.get(words[0], 0)
    assert main(words) == expected, words
    print("HEAVY", json.dumps([words, [name for name in {heavy!r} if name in sys.modules]]))
"""
EXITS = {"status": 3, "compare": 1, "gate": 2, "report": 1, "open": 1, "capsule": 2}
"""Of a study that nobody has run: no cell has ended, no pair compares, nothing is to judge, draw or publish."""
LIGHT = [
    ["-m", "gpus=1,2,4,8", "batch=16,64,128", "dry_run=true"],
    ["-m", "gpus=1,2,4,8", "batch=16,64,128", "partition=vector_t4v2", "dry_run=true", "study=s"],
    ["status", "outputs/s"],
    ["compare", "outputs/s", "outputs/s"],
    ["gate", "outputs/s", "--against", "outputs/s"],
    ["report", "outputs/s"],
    ["open", "outputs/s"],
    ["capsule", "outputs/s", "--author", "Ada", "--license", "MIT"],
    ["--help"],
    *([verb, "--help"] for verb in ("audit", "collect", "compare", "gate", "status")),
    ["simulate", "partition=vector_t4v2", "gpus=1,2,4", "--no-figure"],
]


SLOW = ("hydra", "omegaconf", "antlr4", "yaml", "psutil", "filelock", "submitit")
"""What took most of a command's start: Hydra, and what a verb may need later or never."""
IN_TYPER = ("pydantic", "annotated_types")
"""What typer imports to say that text is text."""
QUICK = [
    ["--help"],
    ["-m", "gpus=1,2,4,8", "batch=16,64,128", "dry_run=true", "study=s"],
    ["plan", "-m", "gpus=1,2", "study=t"],
    ["status", "outputs/s"],
    *([verb, "--help"] for verb in ("cancel", "check", "collect", "doctor", "report", "status")),
    ["list"],
    ["simulate", "partition=vector_t4v2", "gpus=1,2", "--no-figure"],
]


def heavy_imports(commands, cwd, before="", names=HEAVY):
    """Run `commands` one after another in one fresh process; returns each with what heavy is imported after it."""
    answer = subprocess.run(
        [sys.executable, "-c", before + PROBE.format(heavy=names, exits=EXITS), json.dumps(commands)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("Example") >= sum(words[1:] == ["--help"] for words in commands)
    lines = [line.removeprefix("HEAVY ") for line in answer.stdout.splitlines() if line.startswith("HEAVY")]
    return [json.loads(line) for line in lines]


def test_planning_rendering_status_and_help_import_nothing_heavy(tmp_path):
    assert heavy_imports(LIGHT, tmp_path) == [[words, []] for words in LIGHT]


def test_the_probe_sees_a_heavy_import(tmp_path):
    assert heavy_imports([["--version"]], tmp_path, before="import numpy\n") == [[["--version"], ["numpy"]]]


def test_a_command_starts_without_what_took_longest_to_import(tmp_path, monkeypatch):
    """The first of them composes with Hydra and keeps it, in a process of its own: the second needs it no more."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = heavy_imports(QUICK[:2], tmp_path, names=SLOW)
    assert "hydra" in first[-1][1]
    sweep = heavy_imports(QUICK[:3], tmp_path, names=(*SLOW, *IN_TYPER, "typer"))
    assert sweep == [[words, []] for words in QUICK[:3]]
    heavy_imports(QUICK[-1:], tmp_path)
    assert heavy_imports(QUICK, tmp_path, names=(*SLOW, *IN_TYPER)) == [[words, []] for words in QUICK]


def test_keys_and_profiles_are_read_without_hydra(tmp_path):
    verbs = [
        ["explain", "gpus", "data.path"],
        ["profiles", "list"],
        ["profiles", "show", "local"],
        ["explain"],
        ["data", "list"],
    ]
    assert heavy_imports(verbs, tmp_path, names=("hydra", *IN_TYPER)) == [[words, []] for words in verbs]


def test_many_cells_are_counted_without_what_analyses_predicts_and_submits(tmp_path):
    commands = [["plan", "-m", "gpus=1", "seed=range(60)", "study=many"], ["status", "outputs/many"]]
    rooms = (
        "vit_sweep.analysis",
        "vit_sweep.runs",
        "vit_sweep.submit.batches",
        "vit_sweep.outcome.eta_jobs",
    )
    heavy_imports(commands[:1], tmp_path)
    assert heavy_imports(commands[1:], tmp_path, names=rooms) == [[commands[1], []]]


def test_a_verb_imports_no_other_verbs_file(tmp_path):
    files = tuple(f"vit_sweep.cli.{name}" for name in ("audit", "compare", "report", "simulate", "data", "profiles"))
    verbs = [["check", "--help"], ["simulate", "--help"]]
    found = heavy_imports(verbs, tmp_path, names=files)
    assert found == [[verbs[0], []], [verbs[1], ["vit_sweep.cli.simulate"]]]
