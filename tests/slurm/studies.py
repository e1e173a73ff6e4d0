"""One study of trivial cells on a cluster: start it, look at its files, disturb it."""

import csv
import json
import shutil
import subprocess
import sys
from contextlib import contextmanager

import psutil

from tests.conftest import TEST_CONF
from tests.slurm.conftest import wait_for
from tests.warm import clean_environment

WORKLOAD = [f"--config-dir={TEST_CONF}", "model=vit_test", "data=quick", "epochs=2", "batch=8"]
LAB = [*WORKLOAD, "partition=lab_trivial"]


class Lab:
    """The study in `folder` (`.../outputs/NAME`); cells are known by their seed."""

    def __init__(self, sweep, cluster, folder):
        self.sweep, self.cluster, self.folder = sweep, cluster, folder

    def run(self, *words, variables, timeout=900):
        """A sweep to its end."""
        return self.sweep(*self.words(*words), env=self.cluster.environment | variables, timeout=timeout)

    def start(self, *words, variables):
        """A sweep that goes on by itself."""
        completed = self.run(*words, "wait=false", variables=variables)
        assert completed.returncode == 0, completed.stdout + completed.stderr

    def verb(self, verb, *words, variables):
        """`status`, `resume`, ... of the study."""
        return self.sweep(verb, str(self.folder), *words, env=self.cluster.environment | variables)

    @contextmanager
    def client(self, *words, variables, cwd=None, stdout=subprocess.DEVNULL):
        """A client that runs beside the test."""
        environment = clean_environment() | self.cluster.environment | variables
        command = [sys.executable, "-m", "vit_sweep", *words]
        with subprocess.Popen(command, cwd=cwd, env=environment, stdout=stdout, stderr=subprocess.STDOUT) as client:
            try:
                yield client
            finally:
                client.kill()

    def watching(self, *, variables):
        """A client that watches."""
        return self.client("status", str(self.folder), "--watch", variables=variables)

    def words(self, *words):
        """A sweep's command line."""
        return ["-m", *LAB, f"study={self.folder.name}", *words]

    def release(self):
        """Let the cells go that hold."""
        (self.folder / "release").touch()

    def take_down(self, node, seed):
        """Set a node down and wait until the cell's ranks on it are gone."""
        self.cluster.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        self.wait_until_gone(seed, node)

    def wait_until_gone(self, seed, node):
        """Wait until the ranks of a cell's first start are gone: one that is released earlier would finish."""
        files = [_json(path) for path in self.cell(seed).glob("attempts/1/rank*.json")]
        ranks = [rank["pid"] for rank in files if rank["host"] == node]
        assert ranks
        wait_for(lambda: not any(psutil.pid_exists(pid) for pid in ranks), what=self.logs)

    def cell(self, seed):
        """Folder of the cell with this seed."""
        folders = [p.parent for p in self.folder.glob("cells/*/cell.json") if _json(p)["cell"]["seed"] == seed]
        assert len(folders) == 1, folders
        return folders[0]

    def attempts(self, seed):
        """Names of a cell's attempts."""
        return sorted(p.name for p in self.cell(seed).glob("attempts/*"))

    def read(self, seed, attempt, name):
        """A file of an attempt, None where it is not there yet."""
        path = self.cell(seed) / "attempts" / attempt / name
        return _json(path) if path.exists() else None

    def record(self, seed):
        """The cell's record, None before it has one."""
        path = self.cell(seed) / "record.json"
        return _json(path) if path.exists() else None

    def wait_until_running(self, seed, attempt="1"):
        """Wait until the cell says that it trains; returns what it says."""
        return wait_for(lambda: self.read(seed, attempt, "progress.json"), what=self.logs)

    def task(self, seed):
        """Slurm's id of the cell's last job."""
        name, task = self.cell(seed).name, None
        for entry in self.journal():
            cells = [cell for cell, _ in entry["tasks"]]
            if entry["event"] == "submitted" and name in cells:
                task = f"{entry['handle']}_{cells.index(name)}"
        return task

    def journal(self):
        """Every line of jobs.jsonl."""
        return [json.loads(line) for line in (self.folder / "jobs.jsonl").read_text().splitlines()]

    def scripts(self):
        """Every script, in the order of submission."""
        batches = [entry["batch"] for entry in self.journal() if entry["event"] == "submitted"]
        return [(self.folder / "jobs" / batch / "job.sbatch").read_text() for batch in batches]

    def table(self):
        """Status, cause and what it ended by before, by seed: what a person reads in tables/runs.csv."""
        with (self.folder / "tables" / "runs.csv").open() as file:
            return {int(r["seed"]): (r["status"], r["cause"], r["ended_before"]) for r in csv.DictReader(file)}

    def logs(self):
        """What the jobs said, for a test that failed."""
        return "\n".join(f"{p}: {p.read_text()}" for p in self.folder.glob("jobs/*/logs/*") if p.stat().st_size)


def _json(path):
    return json.loads(path.read_text())


def program(folder, name, *, before, after=""):
    """A folder for PATH with a stand-in for a program of Slurm, which acts before and after the real one, `$real`."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\nreal={shutil.which(name)}\n{before}\n"$real" "$@"\nended=$?\n{after}\nexit $ended\n')
    path.chmod(0o755)
    return folder
