"""A real job that waits behind another one: expected before it is sent and while it waits, and compared afterwards."""

import json
import shutil
from datetime import UTC, datetime

import pytest

from tests.conftest import wait_for
from tests.slurm.conftest import trivial
from tests.slurm.studies import Lab, program

pytestmark = pytest.mark.slurm

NEBULA = (
    "gpus=2",
    "minutes=5",
    "partition.partition=nebula",
    "partition.nodes=1",
    "partition.gpus_per_node=2",
    "partition.gpu_type=rtx3090",
)
LIMIT_S = 20 * 60


@pytest.fixture
def blocker(ask):
    """A job that holds the whole of nebula; it would for 20 minutes, as far as Slurm knows."""
    job = ask(
        "sbatch",
        "--parsable",
        "--partition=nebula",
        "--gres=gpu:2",
        "--time=20",
        "--output=/dev/null",
        "--wrap=sleep 3000",
    ).strip()
    wait_for(lambda: "RUNNING" in ask("squeue", "--noheader", f"--jobs={job}", "--format=%T"))
    yield job
    ask("scancel", job)


def test_a_job_that_waits_behind_another_is_foretold_and_compared(sweep, shared_cluster, ask, blocker, tmp_path):
    lab = Lab(sweep, shared_cluster, tmp_path / "outputs" / "waits")
    stand_in = program(tmp_path / "bin", "squeue", before=f'echo "$*" >> {tmp_path}/asked')
    # A look of another client of this user, which may be half a minute old, would know nothing of the job ahead.
    copy = shutil.copytree(shared_cluster.folder / "etc", tmp_path / "etc")
    variables = trivial() | {"SLURM_CONF": str(copy / "slurm.conf")}
    completed = lab.run(*NEBULA, "wait=false", variables=variables | {"PATH": f"{stand_in}:{variables['PATH']}"})
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "expected starts, never a promise (a look at the queue, no earlier job of this study" in completed.stdout
    (shape,) = [line for line in completed.stdout.splitlines() if line.startswith("  n1-g2 x 1: about ")]
    assert " to " in shape
    questions = (tmp_path / "asked").read_text().splitlines()
    assert sum("PriorityLong" in words for words in questions) == 1

    def planned_by_slurm():
        (cell,) = json.loads(lab.verb("status", "--json", variables=variables).stdout)["cells"]
        return cell if (cell["expected_start_basis"] or "").startswith("Slurm's plan") else None

    cell = wait_for(planned_by_slurm, what=lab.logs)
    ahead = (datetime.fromisoformat(cell["expected_start"]) - datetime.now(UTC)).total_seconds()
    assert 0 < ahead <= LIMIT_S + 60
    assert cell["expected_start_high"] == cell["expected_start"]
    assert "expected to start about " in lab.verb("status", variables=variables).stdout.replace("\n", " ")

    ask("scancel", blocker)
    wait_for(lambda: lab.record(0), what=lab.logs)
    table = json.loads(lab.verb("collect", "--json", variables=variables).stdout)["tables"]["waiting"]
    rows = {row["forecast_by"]: row for row in table["rows"]}
    assert set(rows) == {"a look at the queue", "Slurm's plan"}
    for row in rows.values():
        assert row["wait_s"] >= 0
        assert row["wait_error_s"] == pytest.approx(row["wait_s"] - row["expected_wait_s"], abs=1)
    assert rows["Slurm's plan"]["wait_error_s"] < 0
    assert any(note.startswith("Slurm's plan: of 1 array the first start came") for note in table["notes"])
    assert lab.verb("check", variables=variables).returncode == 0
