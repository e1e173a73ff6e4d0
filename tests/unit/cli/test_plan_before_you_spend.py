"""The planner's words on the command line: estimates, budget, throttle, stdout, render-diff, a site's folder."""

import json
import shutil
import subprocess

import pytest

from tests.conftest import ROOT
from tests.unit.builders import asked_for

B16 = ["-m", "model=vit_b_16", "data=cifar100", "partition=vector_t4v2", "dry_run=true", "study=s"]
PRICED = ["++partition.peak_tflops={fp32: 8.1}"]


def test_the_plan_table_and_plan_json_show_memory_time_and_their_basis(sweep, tmp_path):
    answer = sweep(*B16, *PRICED, "gpus=1,8", "batch=64")
    assert answer.returncode == 0, answer.stderr
    for part in ("GiB/GPU", "step ms", "GPU-h", "estimate:", "30% of 8.1 TFLOP/s"):
        assert part in answer.stdout
    plan = json.loads((tmp_path / "outputs/s/plan.json").read_text())
    assert len(plan["digest"]) == 8
    assert {c["gpus_per_node"] for c in plan["cells"]} == {1, 8}
    assert all(c["memory_gib"] > 10 and c["gpu_hours"] > 0 and "TFLOP/s" in c["basis"] for c in plan["cells"])


def test_a_budget_too_small_stops_before_anything_is_submitted(sweep):
    answer = sweep(*B16, *PRICED, "gpus=1,8", "budget_gpu_hours=0.5")
    assert answer.returncode == 2
    assert "budget_gpu_hours=0.5: 2 cells need about" in answer.stderr
    assert "nothing was submitted" in answer.stderr
    assert sweep(*B16, *PRICED, "gpus=1,8", "budget_gpu_hours=500").returncode == 0


def test_gpus_that_wait_in_a_shared_allocation_are_in_the_plan_and_in_the_budget(sweep, tmp_path):
    """One GPU of eight is paid eight times."""
    answer = sweep(*B16, *PRICED, "gpus=1,8", "allocation=shared")
    assert "of them for idle GPUs of shared allocations and whole nodes" in answer.stdout
    assert "on the first of 1 x 8 GPUs, " in " ".join(answer.stdout.split())
    assert "1 array: n1-g8 x 2 in one allocation" in answer.stdout
    cells = json.loads((tmp_path / "outputs/s/plan.json").read_text())["cells"]
    needed = sum(cell["seconds"] for cell in cells) * 8 / 3600
    assert sum(cell["gpu_hours"] for cell in cells) == pytest.approx(needed)
    assert {cell["allocated_gpus"] for cell in cells} == {8}
    refused = sweep(*B16, *PRICED, "gpus=1,8", "allocation=shared", f"budget_gpu_hours={0.9 * needed:.2f}")
    assert refused.returncode == 2
    assert f"2 cells need about {needed:.2f} GPU-hours" in refused.stderr


def test_a_study_that_compares_engines_certifies_them_unless_told_otherwise(sweep, tmp_path):
    """Also where the other engine came with an earlier sweep, and only then."""

    def certifies(*words):
        answer = sweep(*B16, "gpus=2", "batch=16", *words)
        cells = map(json.loads, (path.read_text() for path in tmp_path.glob("outputs/*/cells/*/cell.json")))
        certified = sorted(cell["options"]["certify"] for cell in cells)
        return answer.returncode, "each job certifies" in answer.stdout, certified

    assert certifies("zero=0") == (0, False, [False])
    assert certifies("engine=ddp") == (0, False, [False]), "the first was only looked at"
    asked_for(tmp_path / "outputs" / "s")
    assert certifies("zero=0") == (0, True, [False])
    assert certifies("zero=0,1", "study=u") == (0, True, [False, True, True])
    assert certifies("zero=0,1", "certify=false", "study=t") == (0, False, [False, False, False, True, True])


def test_gpus_in_flight_become_the_arrays_throttle(sweep, tmp_path):
    assert sweep(*B16, "gpus=1,8", "batch=16,32,64", "max_gpus_in_flight=18").returncode == 0
    texts = {p.parent.name[:5]: p.read_text() for p in tmp_path.glob("outputs/s/jobs/*/job.sbatch")}
    assert "--array=0-2%2" in texts["n1-g1"]
    assert "--array=0-2%2" in texts["n1-g8"]


@pytest.mark.parametrize("limit", ["max_array_size", "max_submit"])
def test_a_tiny_array_and_the_jobs_that_a_user_may_have_split_the_arrays(limit, sweep, tmp_path):
    answer = sweep(*B16, "gpus=1", "batch=16,32,64", f"++partition.{limit}=2")
    assert "2 arrays: n1-g1 x 2, n1-g1 x 1" in answer.stdout
    scripts = [p.read_text() for p in tmp_path.glob("outputs/s/jobs/*/job.sbatch")]
    assert sorted(line for text in scripts for line in text.splitlines() if "--array" in line) == [
        "#SBATCH --array=0-0%1",
        "#SBATCH --array=0-1%2",
    ]


def test_dry_run_stdout_prints_the_very_scripts(sweep, tmp_path):
    answer = sweep(*B16[:-2], "study=s", "dry_run=stdout", "gpus=1,2")
    for script in tmp_path.glob("outputs/s/jobs/*/job.sbatch"):
        assert script.read_text().rstrip() in answer.stdout


def test_dry_run_json_prints_the_plan_of_this_grid_as_one_object_and_submits_nothing(sweep, tmp_path):
    grid = [*B16[:-2], "study=s", *PRICED, "gpus=1,8", "batch=16,512"]
    earlier = sweep(*grid[:-2], "gpus=2", "batch=16", "dry_run=true")
    assert earlier.returncode == 0, earlier.stderr
    answer = sweep(*grid, "dry_run=json")
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    known = {c["cell_id"]: c for c in json.loads((tmp_path / "outputs/s/plan.json").read_text())["cells"]}
    assert [point["axes"]["batch"] for point in told["points"] if point["cell"] is None] == [512, 512]
    assert all("GiB" in " ".join(point["reasons"]) for point in told["points"] if point["cell"] is None)
    assert [(cell["gpus"], cell["global_batch"], cell["to_run"]) for cell in told["cells"]] == [
        (1, 16, True),
        (8, 128, True),
    ]
    for cell in told["cells"]:
        for ours, theirs in (("limit_minutes", "minutes"), ("memory_gib",) * 2, ("seconds",) * 2, ("step_ms",) * 2):
            assert cell[ours] == known[cell["cell"]][theirs]
    assert told["gpu_hours"] == sum(cell["gpu_hours"] for cell in told["cells"])
    assert [batch["cells"] for batch in told["batches"]] == [[cell["cell"]] for cell in told["cells"]]
    assert all("#SBATCH" in (tmp_path / batch["script"]).read_text() for batch in told["batches"])
    assert any("this grid (strong) carries no fit" in remark for remark in told["remarks"])
    assert not (tmp_path / "outputs/s/jobs.jsonl").exists()


def test_a_grid_where_no_cell_fits_is_a_sentence_for_programs_too(sweep):
    answer = sweep(*B16[:-2], "study=s", "gpus=1", "batch=512", "partition.gpu_memory_gib=15", "dry_run=json")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "no cell can run" in answer.stderr


def test_a_grid_where_no_cell_fits_tells_every_reason(sweep, tmp_path):
    answer = sweep(*B16, "gpus=1,2", "batch=512", "precision=fp32,bf16", "partition.gpu_memory_gib=15")
    assert answer.returncode == 2
    assert "no cell can run" in answer.stderr
    assert "micro batch 512" in answer.stderr
    assert "refuses it" in answer.stderr


def test_render_diff_shows_what_a_profile_change_does_to_the_scripts(sweep):
    for name, memory in (("before", 15), ("after", 16)):
        sweep(*B16[:-2], "dry_run=true", f"study={name}", "gpus=1", f"partition.mem_per_gpu_gib={memory}")
    answer = sweep("render-diff", "before", "after")
    assert answer.returncode == 1
    assert "-#SBATCH --mem-per-gpu=15G\n+#SBATCH --mem-per-gpu=16G" in answer.stdout
    changed = [x for x in answer.stdout.splitlines() if x[:1] in ("+", "-") and x[:3] not in ("+++", "---")]
    assert len(changed) == 2
    same = sweep("render-diff", "before", "before")
    assert (same.returncode, same.stdout.strip()) == (0, "the scripts are the same")


def test_render_diff_of_two_revisions_leaves_no_worktree_behind(sweep, tmp_path):
    """Every difference between a revision's dry runs comes from the revision: with itself there is none."""
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("the tests do not run in a git checkout")
    # In a clone: whoever works in this checkout adds and removes others meanwhile.
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    answer = sweep("render-diff", "HEAD", "HEAD", "-m", "gpus=1,2", "partition=vector_t4v2", cwd=clone)
    assert (answer.returncode, answer.stdout.strip()) == (0, "the scripts are the same"), answer.stderr
    listed = subprocess.run(["git", "worktree", "list"], cwd=clone, check=True, capture_output=True, text=True).stdout
    assert len(listed.splitlines()) == 1


def test_render_diff_of_what_is_neither_study_nor_revision_is_told(sweep):
    answer = sweep("render-diff", "nothing", "nowhere")
    assert answer.returncode == 2
    assert "neither a study" in answer.stderr


def test_a_sites_folder_adds_partitions_for_everybody(sweep, tmp_path):
    (tmp_path / "site" / "partition").mkdir(parents=True)
    shutil.copy(ROOT / "tests/conf/partition/lab_vector.yaml", tmp_path / "site/partition/lab_vector.yaml")
    site = {"VIT_SWEEP_CONF": str(tmp_path / "site")}
    assert sweep("partition=lab_vector", "dry_run=true", env=site).returncode == 0
    assert sweep("dry_run=true", env=site | {"VIT_SWEEP_PARTITION": "lab_vector"}).returncode == 0
    assert sweep("partition=lab_vector", "dry_run=true").returncode == 2
    missing = sweep("dry_run=true", env={"VIT_SWEEP_CONF": "/nowhere"})
    assert missing.returncode == 2
    assert "VIT_SWEEP_CONF=/nowhere" in missing.stderr


def test_deepspeeds_configuration_lies_beside_the_cells_that_deepspeed_trains(sweep, tmp_path):
    assert sweep("-m", "engine=zero1,ddp", "dry_run=true", "study=s").returncode == 0
    made = {
        json.loads((folder / "cell.json").read_text())["cell"]["engine"]["name"]: (folder / "ds_config.json").exists()
        for folder in (tmp_path / "outputs/s/cells").iterdir()
    }
    assert made == {"zero1": True, "ddp": False}
