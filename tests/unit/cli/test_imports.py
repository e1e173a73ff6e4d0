"""Planning, rendering and --help import nothing heavy; a second test proves that the first can fail."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "deepspeed", "sklearn", "pandas", "matplotlib", "seaborn", "scipy", "numpy", "pyarrow")

PROBE = """
import sys
from vit_sweep.__main__ import main
code = main(sys.argv[1:])
heavy = [name for name in {heavy!r} if name in sys.modules]
print("HEAVY", *heavy)
sys.exit(code)
"""


def heavy_imports(words, cwd, before=""):
    answer = subprocess.run(
        [sys.executable, "-c", before + PROBE.format(heavy=HEAVY), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    # Hydra ends `--help` and `--cfg` by itself; the probe's line is then missing and so is the proof.
    line = next((part for part in answer.stdout.splitlines() if part.startswith("HEAVY")), None)
    assert line is not None, answer.stdout + answer.stderr
    assert "Example" in answer.stdout or words[1:] != ["--help"]
    return line.split()[1:]


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "gpus=1,2,4,8", "batch=16,64,128", "dry_run=true"],
        ["-m", "gpus=1,2,4,8", "batch=16,64,128", "partition=vector_t4v2", "dry_run=true"],
        ["--help"],
        *([verb, "--help"] for verb in ("audit", "collect", "compare", "status")),
        ["simulate", "partition=vector_t4v2", "gpus=1,2,4", "--no-figure"],
    ],
    ids=" ".join,
)
def test_planning_rendering_and_help_import_nothing_heavy(words, tmp_path):
    assert heavy_imports(words, tmp_path) == []


def test_status_of_a_study_imports_nothing_heavy(tmp_path):
    assert heavy_imports(["gpus=2", "dry_run=true", "study=s"], tmp_path) == []
    assert heavy_imports(["status", "outputs/s"], tmp_path) == []


def test_the_probe_sees_a_heavy_import(tmp_path):
    assert heavy_imports(["collect", "--help"], tmp_path, before="import numpy\n") == ["numpy"]
