"""The main job: from a grid to tables and figures, on this machine."""

import csv
import json

import pytest

from tests.e2e.conftest import MEASURED, QUICK, records

pytestmark = pytest.mark.train


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One study that several tests read: strong and weak, one and two ranks, one infeasible point."""
    import subprocess
    import sys

    from tests.warm import clean_environment

    folder = tmp_path_factory.mktemp("finished")
    extensions = folder / "extensions"
    completed = subprocess.run(
        [sys.executable, "-m", "vit_sweep", "-m", *MEASURED, "gpus=1,2,16", "scaling=strong,weak", "weak_fraction=0.5"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=clean_environment() | {"TORCH_EXTENSIONS_DIR": str(extensions), "VIT_SWEEP_FIGURES": "on"},
    )
    return completed, folder / "outputs" / "s", extensions


def test_the_sweep_ends_well_and_prints_both_tables_and_the_figures(finished):
    answer, study, _ = finished
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "strong scaling" in answer.stdout
    assert "weak scaling" in answer.stdout
    for name in ("strong_time.png", "weak_time.svg"):
        assert name.split(".")[0] in answer.stdout
        assert (study / "figures" / name).stat().st_size > 5000
    assert "outputs/s/figures/: " in answer.stdout
    assert (study / "figures" / "strong_time.png").read_bytes().startswith(b"\x89PNG")


def test_strong_and_weak_points_that_are_the_same_run_are_run_once(finished):
    """192 images on 2 GPUs at weak_fraction 0.5 are the strong run on 2 GPUs."""
    _, study, _ = finished
    cells = {json.loads(p.read_text())["cell_id"] for p in study.glob("cells/*/cell.json")}
    assert len(cells) == 3
    strong = {r["cell_id"] for r in rows(study / "tables/strong.csv") if r["gpus"] == "2"}
    weak = {r["cell_id"] for r in rows(study / "tables/weak.csv") if r["gpus"] == "2"}
    assert strong == weak


def test_tables_hold_times_speedup_and_the_infeasible_points(finished):
    _, study, _ = finished
    strong = {row["gpus"]: row for row in rows(study / "tables/strong.csv")}
    assert strong["1"]["speedup"] == "1.0"
    assert float(strong["2"]["images_per_s"]) > 0
    assert strong["16"]["status"] == "infeasible"
    assert "local has 1 node x 8 GPUs = 8" in strong["16"]["note"]
    assert "\\toprule" in (study / "tables/strong.tex").read_text()
    assert "infeasible" in (study / "tables/weak.md").read_text()
    assert {row["status"] for row in rows(study / "tables/runs.csv")} == {"done", "infeasible"}


def test_a_record_says_what_was_asked_what_ran_and_where(finished):
    _, study, _ = finished
    record = next(r for r in records(study).values() if r["requested"]["gpus"] == 2)
    assert record["schema_version"] == 1
    assert record["resolved"]["batch"] == {"micro_batch": 16, "accum": 1, "global_batch": 32}
    assert record["resolved"]["gpus"] == len(record["ranks"]) == 2
    assert set(record["versions"]) == {"python", "vit_sweep", "torch", "torchvision", "deepspeed"}
    first = record["epochs"][0]
    assert len(first["step_ms"]) == record["requested"]["train_images"] // 32
    assert first["step_ms"] == [max(steps) for steps in zip(*first["step_ms_by_rank"], strict=True)]
    assert first["seconds"] == max(first["seconds_by_rank"])
    assert all(0 <= epoch["test_accuracy"] <= 1 for epoch in record["epochs"])
    assert all(rank["peak_host_mib"] > 50 for rank in record["ranks"])


def test_no_compiler_ever_ran_in_a_job(finished):
    _, study, extensions = finished
    assert not extensions.exists()
    logs = "".join(path.read_text() for path in study.glob("cells/*/attempts/*/rank*.log"))
    assert "ninja" not in logs


def test_the_same_command_again_runs_nothing_and_collect_rebuilds_the_tables(sweep, finished):
    _, study, _ = finished
    home = study.parent.parent
    before = records(study)
    again = sweep("-m", *MEASURED, "gpus=1,2", "scaling=strong,weak", "weak_fraction=0.5", cwd=home)
    assert again.returncode == 0
    assert "3 cells, 0 to run" in again.stdout
    assert records(study) == before
    table = (study / "tables/strong.csv").read_text()
    for path in (study / "tables").iterdir():
        path.unlink()
    assert sweep("collect", "outputs/s", cwd=home).returncode == 0
    assert (study / "tables/strong.csv").read_text() == table


def test_a_moved_study_collects_to_the_same_tables(sweep, finished, tmp_path):
    import shutil

    _, study, _ = finished
    shutil.copytree(study, tmp_path / "elsewhere")
    table = (study / "tables/runs.csv").read_text()
    assert sweep("collect", str(tmp_path / "elsewhere")).returncode == 0
    assert (tmp_path / "elsewhere/tables/runs.csv").read_text() == table


def test_a_truncated_record_is_named_stays_visible_and_runs_again(sweep, finished, tmp_path):
    import shutil

    _, study, _ = finished
    copy = tmp_path / "outputs" / "s"
    shutil.copytree(study, copy)
    record = next(copy.glob("cells/n1-g1-*/record.json"))
    record.write_text(record.read_text()[: record.stat().st_size // 2])
    completed = sweep("collect", "outputs/s")
    assert completed.returncode == 0
    assert f"passed over {record}" in completed.stdout
    status = {row["cell_id"]: row["status"] for row in rows(copy / "tables/runs.csv")}
    assert status[record.parent.name] == "missing"
    again = sweep("-m", *MEASURED, "gpus=1,2", "scaling=strong,weak", "weak_fraction=0.5")
    assert "3 cells, 1 to run" in again.stdout
    assert again.returncode == 0, again.stdout + again.stderr


def test_without_m_the_same_command_runs_one_cell(sweep, study):
    completed = sweep(*QUICK, "gpus=2", "epochs=1")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert len(records(study)) == 1


def test_more_ranks_than_cores_are_run_and_marked_in_every_table(sweep, study):
    import os

    ranks = len(os.sched_getaffinity(0)) + 1
    if ranks > 8:
        pytest.skip("the local partition ends at 8 ranks, this machine has more cores")
    completed = sweep("-m", *QUICK, f"gpus=1,{ranks}", "scaling=strong", "batch=8")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    table = {row["gpus"]: row for row in rows(study / "tables/strong.csv")}
    assert table[str(ranks)]["oversubscribed"] == "True"
    assert table[str(ranks)]["speedup"] == ""
    assert float(table[str(ranks)]["epoch_s"]) > 0
    assert table["1"]["oversubscribed"] == "False"
    assert "oversubscribed" in (study / "tables/strong.md").read_text()
    run = next(row for row in rows(study / "tables/runs.csv") if row["gpus"] == str(ranks))
    assert "oversubscribed" in run["note"]
