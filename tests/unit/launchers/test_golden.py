"""Golden scripts: what a dry run writes for each profile, to the letter.

After a wanted change: `make golden`, then read the diff.
"""

import re
import sys

import pytest

from tests.conftest import ROOT, TEST_CONF

GOLDEN = ROOT / "tests" / "golden"
GRIDS = {
    "vector_t4v2": ["-m", "gpus=1,4,16", "batch=16,64", "model=vit_b_16", "data=cifar100"],
    "vector_a40": ["-m", "gpus=1,4,8", "batch=16", "model=vit_b_16", "data=cifar100"],
    "nebula_midcard": ["-m", "gpus=1", "batch=32,64", "model=vit_b_16", "data=cifar100", "precision=fp16"],
    "nebula_dualcard": ["-m", "gpus=1,2", "batch=32", "model=vit_b_16", "data=cifar100", "precision=fp16"],
    "h100_nvlink_ib": ["-m", "gpus=8,128", "batch=256", "model=vit_b_16", "data=cifar100", "precision=bf16"],
    "tesla": ["-m", "gpus=1,3", "batch=16", "model=vit_b_16", "data=cifar10"],
    "local": ["-m", "gpus=1,2", "batch=16"],
    "local_gpu": ["-m", "gpus=1,2", "batch=16"],
    "lab_vector": ["-m", f"--config-dir={TEST_CONF}", "gpus=1,2", "placement=packed,spread"],
    "lab_dialect": ["-m", f"--config-dir={TEST_CONF}", "gpus=1,8", "precision=fp16"],
    "shared": [
        "-m",
        f"--config-dir={TEST_CONF}",
        "gpus=1,2,4",
        "partition=lab_vector",
        "partition.gpus_per_node=2",
        "allocation=shared",
    ],
    "packed": [
        "-m",
        f"--config-dir={TEST_CONF}",
        "gpus=2",
        "batch=8,16,32",
        "partition=lab_vector",
        "minutes=20",
        "pack=2",
    ],
}
FILES = ("job.sbatch", "job.sh", "rank.sh", "hostfile")


def test_every_shipped_profile_has_its_golden_scripts():
    assert {path.stem for path in (ROOT / "conf" / "partition").glob("*.yaml")} <= set(GRIDS)


@pytest.mark.parametrize("profile", GRIDS)
def test_a_dry_run_renders_the_golden_scripts(sweep, tmp_path, profile, request):
    words = GRIDS[profile]
    where = [] if any(override.startswith("partition=") for override in words) else [f"partition={profile}"]
    completed = sweep(*words, *where, "dry_run=true", "study=golden")
    assert completed.returncode == 0, completed.stderr
    rendered = ""
    for file in sorted(f for name in FILES for f in tmp_path.glob(f"outputs/golden/jobs/*/{name}")):
        if file.name.startswith("job."):
            assert f"  {file.relative_to(tmp_path)}\n" in completed.stdout, "as it can be typed from here"
        text = file.read_text().replace(str(tmp_path), "FOLDER").replace(sys.executable, "PYTHON")
        text = re.sub(r"\.code/[0-9a-f]+", ".code/CODE", text)  # or every commit would change every script
        rendered += f"{file.relative_to(tmp_path)}\n{text}\n{'=' * 80}\n"
    path = GOLDEN / f"{profile}.{'sbatch' if 'job.sbatch' in rendered else 'sh'}"
    if request.config.getoption("--renew-golden"):
        path.write_text(rendered)
    assert rendered == path.read_text(), "the scripts changed; if that is wanted: make golden"


def test_the_same_command_renders_the_same_bytes(sweep, tmp_path):
    words = [*GRIDS["vector_t4v2"], "partition=vector_t4v2", "dry_run=true", "study=twice"]
    sweep(*words)
    first = {p: p.read_bytes() for p in tmp_path.rglob("job.sbatch")}
    sweep(*words)
    assert {p: p.read_bytes() for p in tmp_path.rglob("job.sbatch")} == first
    assert first
