"""A study of the version before stays readable by every verb: tests/old_study says how it was made."""

import csv
import json
import shutil

import pytest

from tests.conftest import OLD_STUDY, TEST_CONF
from vit_sweep.report.figure import SWITCH

WORDS = [
    "-m",
    f"--config-dir={TEST_CONF}",
    "model=vit_test",
    "data=quick",
    "epochs=3",
    "study=old",
    "weak_fraction=0.5",
    "gpus=1,2",
    "batch=16,32,48",
    "scaling=strong,weak",
    "precision=fp32,fp16",
]
SLURM, STRONG, WEAK = "n1-g1-mb16-ga1-10274593", "n1-g1-mb16-ga1-206c45b2", "n1-g1-mb16-ga1-b3543f13"
BOTH = "n1-g2-mb16-ga1-bee5bd6d"
TIMED_OUT, CANCELLED, DIED = "n1-g1-mb32-ga1-2af31b95", "n1-g1-mb32-ga1-faa71c79", "n1-g2-mb32-ga1-d66a571d"
OOM, SKIPPED, MISSING = "n1-g1-mb48-ga1-40e77add", "n1-g1-mb48-ga1-65ced5ff", "n1-g2-mb48-ga1-1897d35c"
STATES = {
    SLURM: "done",
    STRONG: "done",
    WEAK: "done",
    BOTH: "done",
    TIMED_OUT: "failed",
    CANCELLED: "cancelled",
    DIED: "failed",
    OOM: "out_of_memory",
    SKIPPED: "skipped",
    MISSING: "missing",
}


@pytest.fixture
def study(tmp_path):
    """A copy that may be written to, where a study of that name lies by default."""
    return shutil.copytree(OLD_STUDY, tmp_path / "outputs" / "old")


NO_LONGER = {"exposed_noise_ms"}
"""The difference of two medians was no noise: exposed communication has an interval over its rounds now."""


def rows(path):
    """The rows of a table; `oom` was the old word."""
    with path.open(newline="") as file:
        return [
            row | {"status": row["status"].replace("oom", "out_of_memory")} if "status" in row else row
            for row in csv.DictReader(file)
        ]


def outcomes(study):
    """The state of every cell in the table of runs, which names infeasible points too."""
    return {row["cell_id"]: row["status"] for row in rows(study / "tables" / "runs.csv") if row["cell_id"]}


def states(output):
    """The state of every cell in what `status` prints."""
    lines = (line.split() for line in output.splitlines())
    return {words[0]: words[1] for words in lines if words and words[0].startswith("n1-")}


def assert_same_tables(study):
    """Every value that the old version wrote is there again but those that were no truth; there may be more columns."""
    for name in ("strong", "weak", "runs"):
        before, now = rows(OLD_STUDY / "tables" / f"{name}.csv"), rows(study / "tables" / f"{name}.csv")
        if name == "runs":  # where `n` counted epochs; it counts runs now, wherever it stands
            before = [row | {"epochs_counted": row["n"]} for row in before]
            before = [{key: value for key, value in row.items() if key != "n"} for row in before]
        columns = before[0].keys() - NO_LONGER
        assert [{key: row.get(key) for key in columns} for row in now] == [
            {key: row[key] for key in columns} for row in before
        ]


def test_the_fixture_says_of_itself_what_this_test_expects():
    assert outcomes(OLD_STUDY) == STATES
    assert {path.parent.name for path in OLD_STUDY.glob("cells/*/cell.json")} == set(STATES)
    times = {
        row["cell_id"]: float(row["epoch_s"]) for row in rows(OLD_STUDY / "tables" / "strong.csv") if row["epoch_s"]
    }
    assert times == {STRONG: 0.160659, BOTH: 0.164493, SLURM: pytest.approx(0.4072965)}


def test_status_says_of_every_cell_what_the_old_version_said(sweep, study):
    completed = sweep("status", "old")
    assert completed.returncode == 1, completed.stderr
    assert states(completed.stdout) == STATES
    output = " ".join(completed.stdout.split())
    assert "1 cancelled, 4 done, 2 failed, 1 missing, 1 out_of_memory, 1 skipped" in output
    assert "time_limit: the scheduler warned that the time limit is near (SIGUSR2)" in output
    assert "rank_died: rank 1 died of signal SIGKILL (rank 1 on node0)" in output
    assert "ended before by cancelled" in output
    assert "passed over" not in output


def test_the_words_of_old_ranks_are_judged_where_the_verdict_is_missing(sweep, study):
    attempt = study / "cells" / DIED / "attempts" / "1.1"
    assert not (attempt / "exit.json").exists()
    assert sweep("status", "old").returncode == 1
    exit = json.loads((attempt / "exit.json").read_text())
    assert (exit["cause"], exit["rank"], exit["host"], exit["judged_by"]) == ("rank_died", 1, "node0", "client")


def test_watching_it_ends_at_once_and_collects_the_old_tables(sweep, study):
    shutil.rmtree(study / "tables")
    completed = sweep("status", "old", "--watch")
    assert completed.returncode == 1, completed.stderr
    assert_same_tables(study)


def test_collect_makes_the_old_tables_again(sweep, study):
    shutil.rmtree(study / "tables")
    completed = sweep("collect", "old")
    assert completed.returncode == 0, completed.stderr
    assert "passed over" not in completed.stdout
    assert_same_tables(study)


def test_report_shows_every_cell_and_the_reasons(sweep, study):
    completed = sweep("report", "old", env={SWITCH: "svg"})
    assert completed.returncode == 0, completed.stderr
    page = (study / "report.html").read_text()
    assert [cell for cell in STATES if cell not in page] == []
    assert "de44cfd" in page
    assert "precision=fp16: local (CPU process) refuses it" in page


def test_audit_judges_it_and_takes_one_seed_for_no_knowledge_of_accuracy(sweep, study, tmp_path):
    completed = sweep("audit", "old", "--output", "audit.json")
    assert completed.returncode == 1, completed.stderr
    written = json.loads((tmp_path / "audit.json").read_text())
    claims = {claim["claim"]: claim["standing"] for claim in written["claims"]}
    assert claims == {
        "throughput": "weakened",
        "fixed problem": "falls",
        "accuracy": "weakened",
        "time to accuracy": "weakened",
        "communication": "weakened",
        "small differences": "falls",
    }


def test_compare_pairs_every_finished_cell_with_itself(sweep, study, tmp_path):
    other = shutil.copytree(OLD_STUDY, tmp_path / "elsewhere" / "old")
    completed = sweep("compare", "old", str(other), "--output", "pairs.csv")
    assert completed.returncode == 0, completed.stderr
    pairs = rows(tmp_path / "pairs.csv")
    times = [float(row["epoch_s"]) for row in rows(OLD_STUDY / "tables" / "runs.csv") if row["status"] == "done"]
    assert sorted(float(pair["a_epoch_s"]) for pair in pairs) == pytest.approx(sorted(times))
    assert {float(pair["ratio"]) for pair in pairs} == {1.0}


def test_simulate_takes_its_runs_for_the_speed_of_an_image(sweep, study):
    network = "++partition.network={inside: {gb_per_s: 10}, between: {gb_per_s: 2}}"
    words = [
        "simulate",
        "partition=local",
        network,
        "model=vit_test",
        "data=quick",
        "batch=16",
        "gpus=1,2",
        "--no-figure",
    ]
    conf = {"VIT_SWEEP_CONF": str(TEST_CONF)}
    assert "how fast an image is trained is not known" in sweep(*words, env=conf).stderr
    completed = sweep(*words, "--study", "old", env=conf)
    assert completed.returncode == 0, completed.stderr
    assert "SIMULATED" in completed.stdout


def test_render_diff_reads_its_scripts(sweep, study, tmp_path):
    other = shutil.copytree(OLD_STUDY, tmp_path / "elsewhere" / "old")
    same = sweep("render-diff", "old", str(other))
    assert same.returncode == 0, same.stdout + same.stderr
    (script,) = other.glob("jobs/*/job.sbatch")
    script.write_text(script.read_text().replace("--time=30", "--time=60"))
    differs = sweep("render-diff", "old", str(other))
    assert differs.returncode == 1, differs.stderr
    assert "-#SBATCH --time=30" in differs.stdout


def test_cancel_finds_nothing_left_to_end(sweep, study):
    completed = sweep("cancel", "old")
    assert completed.returncode == 0, completed.stderr
    assert "0 cells of study old cancelled" in completed.stdout
    assert states(sweep("status", "old").stdout) == STATES


def planned(sweep, study, override):
    """The cells that a dry run of the same command would run, with the numbers of their attempts."""
    completed = sweep(*WORDS, override, "dry_run=true")
    assert completed.returncode == 0, completed.stderr
    assert "24 points, 9 cells" in completed.stdout
    scripts = [line.strip() for line in completed.stdout.splitlines() if line.endswith("job.sh")]
    batches = [json.loads((study / "jobs" / path.split("/")[-2] / "batch.json").read_text()) for path in scripts]
    return {task["name"]: task["attempt"] for batch in batches for task in batch["tasks"]}


@pytest.mark.parametrize(
    ("override", "more"),
    [
        ("retry=null", {}),
        ("retry=timeout", {TIMED_OUT: 2}),
        ("retry=failed", {TIMED_OUT: 2, DIED: 2}),
        ("retry=oom", {OOM: 2, SKIPPED: 2}),
        ("retry=all", {TIMED_OUT: 2, DIED: 2, OOM: 2, SKIPPED: 2}),
    ],
)
def test_the_same_command_runs_only_what_is_missing_or_asked_for(sweep, study, override, more):
    """Its cells have the same ids today, and their next attempts the next free numbers."""
    assert planned(sweep, study, override) == {CANCELLED: 2, MISSING: 1} | more
    assert {path.name for path in (study / "cells").iterdir()} == set(STATES)


def test_what_ran_with_the_old_code_runs_again_where_that_is_asked_for(sweep, study):
    for path in study.glob("cells/*/record.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"code": "0" * 12}))  # other code, also before anything is changed
    assert planned(sweep, study, "rerun=stale") == {CANCELLED: 2, MISSING: 1, STRONG: 2, WEAK: 2, BOTH: 3}


@pytest.mark.train
def test_resume_runs_what_is_missing_and_goes_on_from_the_old_checkpoint(sweep, study):
    before = {path: path.read_bytes() for path in study.glob("cells/*/record.json")}
    words = ("resume", "old", "--retry", "timeout", "--minutes", "30")
    refused = sweep(*words)
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"python -m vit_sweep {' '.join(words)} --trust\n")
    completed = sweep(*words, "--trust")
    assert completed.returncode == 1, completed.stdout + completed.stderr
    assert "10 cells, 3 to run" in completed.stdout
    assert {path: path.read_bytes() for path in before} == before
    ran = dict.fromkeys((TIMED_OUT, CANCELLED, MISSING), "done")
    assert outcomes(study) == STATES | ran
    record = json.loads((study / "cells" / TIMED_OUT / "record.json").read_text())
    assert (record["attempts"], record["restarts"]) == (["1", "2"], 1)
