"""`pack=N` on a real Slurm: cells of one shape run one after another in few jobs, each cell once.

The ranks are `trivial` (tests/slurm/ranks): everything but torch is real.
"""

import csv
import json
from itertools import pairwise

import pytest

from tests.slurm.conftest import trivial, wait_for
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm

SIX = ("seed=1,2,3,4,5,6", "accum=1,2,3,4,5,6", "zip=[[seed,accum]]", "pack=3")
"""Six cells of one shape, none a repeat of another, in two jobs."""


class Packed(Lab):
    """A study of cells that are known by their seed."""

    def jobs(self):
        """Seeds of the cells of every job that was submitted, in their running order."""
        seeds = {folder.name: _json(folder / "cell.json")["cell"]["seed"] for folder in self.folder.glob("cells/*")}
        return [[seeds[cell] for cell, _ in e["tasks"]] for e in self.journal() if e["event"] == "submitted"]

    def tasks(self):
        """Cells of every job that was submitted."""
        return [[cell for cell, _ in e["tasks"]] for e in self.journal() if e["event"] == "submitted"]

    def begun(self, cell):
        """Attempts of a cell of which a rank has begun, by its folder's name."""
        return sorted(path.parent.name for path in self.folder.glob(f"cells/{cell}/attempts/*/rank0.json"))

    def runs(self):
        """tables/runs.csv by seed."""
        with (self.folder / "tables" / "runs.csv").open() as file:
            return {int(row["seed"]): row for row in csv.DictReader(file)}


@pytest.fixture
def packed(sweep, shared_cluster, tmp_path):
    """The study `s` of this test."""
    lab = Packed(sweep, shared_cluster, tmp_path / "outputs" / "s")
    yield lab
    shared_cluster.ask("scancel", "--name=vit_sweep-s")


@pytest.fixture
def order(sweep, tmp_path):
    """Seeds of the two jobs in their running order: what a cell shall do must be said before it runs."""
    lab = Packed(sweep, None, tmp_path / "outputs" / "dry")
    completed = sweep(*lab.words(*SIX, "dry_run=json"))
    assert completed.returncode == 0, completed.stderr
    parsed = json.loads(completed.stdout)
    seeds = {cell["cell"]: cell["seed"] for cell in parsed["cells"]}
    return [[seeds[cell] for cell in batch["cells"]] for batch in parsed["batches"]]


def test_six_cells_go_as_two_jobs_and_one_that_fails_stops_no_other(packed, order):
    first, other = order
    failing = first[1]
    completed = packed.run(*SIX, variables=trivial(**{f"s{failing}": "die"}))
    assert completed.returncode == 1, completed.stdout + completed.stderr + packed.logs()
    assert packed.jobs() == [first, other], "as a dry run said"
    runs = packed.runs()
    assert {seed: row["status"] for seed, row in runs.items()} == {
        seed: "failed" if seed == failing else "done" for seed in range(1, 7)
    }
    assert packed.attempts(failing) == ["1", "1.1"], "started again in its place"
    for seeds in (first, other):
        done = [seed for seed in seeds if seed != failing]
        records = [packed.record(seed) for seed in done]
        assert len({record["job_id"].split("_")[0] for record in records}) == 1
        assert {(record["shares_job"], record["allocated_gpus"]) for record in records} == {(True, 1)}
        assert {(runs[seed]["allocation"], runs[seed]["allocated_gpus"]) for seed in done} == {("per_cell", "1")}
        assert len({runs[seed]["hosts"] for seed in done}) == 1
        began = [packed.read(seed, "1", "rank0.json")["started_at"] for seed in done]
        ended = [packed.read(seed, "1", "rank0.json")["end"]["at"] for seed in done]
        assert all(end <= begin for (end, _), (_, begin) in pairwise(zip(ended, began, strict=True)))
    again = packed.verb("resume", "--retry", "failed", variables=trivial())
    assert again.returncode == 0, again.stdout + again.stderr + packed.logs()
    assert packed.jobs() == [first, other, [failing]], "nothing else was sent again"
    assert packed.attempts(failing) == ["1", "1.1", "2"]


def test_a_client_that_is_killed_changes_nothing_and_whoever_resumes_sends_nothing_twice(packed, order, tmp_path):
    first, other = order
    variables = trivial(**{f"s{first[0]}": "hold"})
    with packed.client(*packed.words(*SIX), variables=variables, cwd=tmp_path) as client:
        wait_for(lambda: list(packed.folder.glob("cells/*")) and packed.read(first[0], "1", "progress.json"))
        wait_for(lambda: len(packed.jobs()) == 2)
        client.kill()
    packed.release()
    resumed = packed.verb("resume", variables=variables)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr + packed.logs()
    assert packed.jobs() == [first, other]
    assert {tuple(packed.attempts(seed)) for seed in range(1, 7)} == {("1",)}
    assert {row["status"] for row in packed.runs().values()} == {"done"}


def test_a_cell_is_cancelled_alone_and_what_is_resumed_is_packed_as_before(packed, order):
    first, other = order
    variables = trivial(**{f"s{first[0]}": "hold", f"s{other[0]}": "hold"})
    packed.start(*SIX, variables=variables)
    packed.wait_until_running(first[0])
    packed.wait_until_running(other[0])
    one = packed.verb("cancel", "--cells", packed.cell(first[0]).name, variables=variables)
    assert one.returncode == 0, one.stderr
    wait_for(lambda: all(packed.record(seed) for seed in first[1:]), what=packed.logs)
    completed = packed.verb("cancel", variables=variables)
    assert completed.returncode == 0, completed.stderr
    assert packed.record(first[0]) is None
    wait_for(lambda: packed.cluster.ask("squeue", "--noheader", "--name=vit_sweep-s") == "", what=packed.logs)
    packed.release()
    resumed = packed.verb("resume", variables=trivial())
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr + packed.logs()
    again = packed.jobs()[2:]
    assert sorted(seed for job in again for seed in job) == sorted([first[0], *other]), "what is done stays"
    assert sorted(map(len, again)) == [2, 2], "four cells in jobs of three at most"
    assert {row["status"] for row in packed.runs().values()} == {"done"}


@pytest.fixture
def full(shared_cluster):
    """All nodes taken, so that what is sent waits; call it to give them back."""
    block = ["--nodes=4", "--exclusive", "--partition=vector", "--output=/dev/null", "--wrap=sleep 3600"]
    job = shared_cluster.ask("sbatch", "--parsable", *block).strip()
    wait_for(lambda: shared_cluster.ask("squeue", "-h", "-o%T", f"-j{job}").strip() == "RUNNING", what=str)
    yield lambda: shared_cluster.ask("scancel", job)
    shared_cluster.ask("scancel", job)


def waiting_jobs(packed):
    return packed.cluster.ask("squeue", "--noheader", "--name=vit_sweep-s").splitlines()


def test_a_cell_that_is_dropped_out_of_a_job_that_waits_takes_nothing_else_with_it(packed, order, full):
    """It must be cancelled first; the command brings it back, and no cell runs twice."""
    (gone, *kept), other = order
    packed.start(*SIX, variables=trivial())
    refused = packed.verb("drop", f"seed=={gone}", variables=trivial())
    assert refused.returncode == 2 and "is queued or running" in refused.stderr
    for _ in range(2):
        assert packed.verb("cancel", "--cells", packed.cell(gone).name, variables=trivial()).returncode == 0
    assert len(waiting_jobs(packed)) == 2, "its job is still needed"
    assert packed.verb("drop", f"seed=={gone}", variables=trivial()).returncode == 0
    full()
    watched = packed.verb("status", "--watch", variables=trivial())
    assert watched.returncode == 0, watched.stdout + watched.stderr + packed.logs()
    assert packed.begun(packed.cell(gone).name) == []
    again = packed.run(*SIX, variables=trivial())
    assert again.returncode == 0, again.stdout + again.stderr + packed.logs()
    assert packed.jobs() == [order[0], other, [gone]]
    assert packed.begun(packed.cell(gone).name) == ["2"]
    assert {tuple(packed.begun(packed.cell(seed).name)) for seed in (*kept, *other)} == {("1",)}
    assert {row["status"] for row in packed.runs().values()} == {"done"}


def test_a_job_of_which_every_cell_was_cancelled_one_by_one_leaves_the_queue(packed, order, full):
    first, other = order
    packed.start(*SIX, variables=trivial())
    for seed in first:
        assert len(waiting_jobs(packed)) == 2
        assert packed.verb("cancel", "--cells", packed.cell(seed).name, variables=trivial()).returncode == 0
    assert len(waiting_jobs(packed)) == 1
    full()
    resumed = packed.verb("resume", variables=trivial())
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr + packed.logs()
    assert sorted(seed for job in packed.jobs()[2:] for seed in job) == sorted(first), "the others are not sent again"
    assert {tuple(packed.begun(packed.cell(seed).name)) for seed in first} == {("2",)}
    assert {tuple(packed.begun(packed.cell(seed).name)) for seed in other} == {("1",)}
    assert {row["status"] for row in packed.runs().values()} == {"done"}


def test_a_question_asked_beside_packed_jobs_waits_for_them_and_runs_no_cell_twice(packed, full):
    """The grid's cells of one curve count for the question; of the packed jobs one was cancelled while it waited."""
    packed.start("gpus=1,2,4", "accum=1,2", "pack=2", "minutes=5", variables=trivial())
    assert [len(cells) for cells in packed.tasks()] == [2, 2, 2]
    assert packed.verb("cancel", "--cells", "n1-g4-*", variables=trivial()).returncode == 0
    full()
    ask = ("gpus=1,2,4", "accum=1", "pack=2", "minutes=5", "design=adaptive", "budget_gpu_hours=50")
    asked = packed.run(*ask, "until=time(2) +- 3.5 %", variables=trivial())
    assert asked.returncode == 0, asked.stdout + asked.stderr + packed.logs()
    decisions = [json.loads(line) for line in (packed.folder / "decisions.jsonl").read_text().splitlines()]
    assert decisions[-1]["decision"]["stop"] == "answered"
    cells = [path.name for path in packed.folder.glob("cells/*")]
    begun = {cell: packed.begun(cell) for cell in cells}
    assert all(len(starts) <= 1 for starts in begun.values()), begun
    done = {cell for cell in cells if (packed.folder / "cells" / cell / "record.json").exists()}
    assert done == {cell for cell, starts in begun.items() if starts}
    assert {cell for cell in cells if not cell.startswith("n1-g4-")} <= done, "nothing is lost"


@pytest.mark.parametrize(("gpus", "cells", "packs"), [(1, 12, False), (8, 40, True)])
def test_auto_looks_at_the_real_queue_and_tells_both_predictions(packed, gpus, cells, packs):
    """An idle cluster of 32 GPUs: 12 cells run side by side, 40 of 8 GPUs take turns on four nodes."""
    words = packed.words(
        f"gpus={gpus}",
        f"optimizer.weight_decay=range(1,{cells + 1})",
        "minutes=5",
        "pack=auto",
        "dry_run=json",
        "++partition.peak_tflops={fp32: 1}",
    )
    wait_for(lambda: packed.cluster.ask("squeue", "--noheader") == "")
    completed = packed.sweep(*words, env=packed.cluster.environment | trivial())
    assert completed.returncode == 0, completed.stderr
    parsed = json.loads(completed.stdout)
    assert parsed["pack"] is not None, parsed["remarks"]
    by_pack = {one["pack"]: one for one in parsed["pack"]["strategies"]}
    assert by_pack[1]["jobs"] == cells
    assert (parsed["pack"]["pack"] > 1) == packs == any(batch["shared"] for batch in parsed["batches"])
    assert parsed["remarks"][-1].startswith("pack=auto: expected, queue and run: one job a cell ends in ")
    assert sorted(cell for batch in parsed["batches"] for cell in batch["cells"]) == sorted(
        cell["cell"] for cell in parsed["cells"]
    )


def _json(path):
    return json.loads(path.read_text())


def test_what_is_decided_runs_as_ever_where_cells_are_packed(packed):
    """Cells of one round are repeats of one another, or of another shape, so that none shares a job."""
    words = ("gpus=1,2,4", "design=adaptive", "budget_gpu_hours=50", "minutes=5", "until=time(2) +- 3.5 %", "pack=3")
    completed = packed.run(*words, variables=trivial())
    assert completed.returncode == 0, completed.stdout + completed.stderr + packed.logs()
    decisions = [json.loads(line) for line in (packed.folder / "decisions.jsonl").read_text().splitlines()]
    assert decisions[-1]["decision"]["stop"] == "answered"
    batches = [_json(path) for path in packed.folder.glob("jobs/*/batch.json")]
    assert batches and not any(batch["shared"] for batch in batches)


def test_repeats_that_a_rule_adds_are_packed_by_configuration_within_the_budget(packed):
    words = (*SIX[:-1], "pack=6", "repeat_until=0.001", "max_repeats=3", "budget_gpu_hours=50", "minutes=5")
    completed = packed.run(*words, variables=trivial())
    assert completed.returncode == 0, completed.stdout + completed.stderr + packed.logs()
    made = [
        (
            batch["shared"],
            [_json(packed.folder / "cells" / task["name"] / "cell.json")["cell"] for task in batch["tasks"]],
        )
        for batch in (_json(path) for path in packed.folder.glob("jobs/*/batch.json"))
    ]
    assert all(shared for shared, _ in made)
    assert all(len({cell["accum"] for cell in cells}) == len(cells) for _, cells in made), "no repeats of one another"
