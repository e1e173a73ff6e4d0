"""One curve in a shared allocation on a cluster: a study whose cells are known by their GPUs."""

import csv
import json

from tests.slurm.studies import Lab

CURVE = ("gpus=1,2,4", "partition.gpus_per_node=2", "allocation=shared")
"""One GPU, two on the same node, two on each of two nodes."""


class Curve(Lab):
    """A study of one curve: its cells are known by their number of GPUs."""

    def cell(self, gpus):
        folders = [p.parent for p in self.folder.glob("cells/*/cell.json") if _json(p)["cell"]["gpus"] == gpus]
        assert len(folders) == 1, folders
        return folders[0]

    @property
    def batch(self):
        """The folder of its only job so far."""
        (folder,) = self.folder.glob("jobs/*")
        return folder

    def order(self):
        """GPUs of the cells in the order in which the job runs them."""
        tasks = _json(self.batch / "batch.json")["tasks"]
        return [task["shape"]["nodes"] * task["shape"]["gpus_per_node"] for task in tasks]

    def job(self):
        """Slurm's number of the job."""
        (entry,) = [entry for entry in self.journal() if entry["event"] == "submitted"]
        return entry["handle"]

    def hosts(self, gpus, attempt="1"):
        """Where its ranks ran, by rank."""
        return [self.read(gpus, attempt, f"rank{rank}.json")["host"] for rank in range(gpus)]

    def states(self, variables):
        """What `status` says, by GPUs."""
        lines = [line.split() for line in self.verb("status", variables=variables).stdout.splitlines() if line.strip()]
        states = {words[0]: words[1] for words in lines if len(words) > 1}
        return {gpus: states[self.cell(gpus).name] for gpus in (1, 2, 4)}

    def by_gpus(self):
        """Status and what it ended by before, from tables/runs.csv."""
        with (self.folder / "tables" / "runs.csv").open() as file:
            return {int(row["gpus"]): (row["status"], row["ended_before"]) for row in csv.DictReader(file)}


def _json(path):
    return json.loads(path.read_text())


def planned_order(sweep, tmp_path):
    """The order of the curve is in its content, so a dry run tells it: what a cell shall do must be said before."""
    lab = Curve(sweep, None, tmp_path / "outputs" / "dry")
    completed = sweep(*lab.words(*CURVE, "dry_run=true"))
    assert completed.returncode == 0, completed.stderr
    return lab.order()
