"""What is asked of a scheduler: shapes, tasks and batches of equal shape. Pure."""

import hashlib
import json
from dataclasses import field, replace

from launchers.checked import checked
from launchers.profile import Count, PartitionProfile


@checked
class Shape:
    """The resources of one job. Jobs of equal shape are submitted together as one array."""

    nodes: Count
    gpus_per_node: Count
    """GPUs, and therefore ranks, on every node."""
    minutes: Count
    """Time limit."""

    @property
    def gpus(self) -> int:
        """World size."""
        return self.nodes * self.gpus_per_node

    @property
    def label(self) -> str:
        """`n2-g4`: two nodes, four GPUs in all."""
        return f"n{self.nodes}-g{self.gpus}"


@checked
class Task:
    """One run of one folder: what the ranks are told. The folder holds everything else."""

    name: str
    """Also the folder's name below the study's `cells/`."""
    attempt: Count


@checked
class Batch:
    """Tasks of one shape on one partition: one Slurm array, or one stretch of the local queue."""

    study: str
    """For people: names the jobs in `squeue`."""
    study_dir: str
    """Absolute path of the study's folder."""
    profile: PartitionProfile
    shape: Shape
    tasks: tuple[Task, ...]
    module: str
    """Module that every rank runs: `python -m MODULE BATCH_FOLDER`."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the ranks need; the profile's own win."""
    preload: tuple[str, ...] = ()
    """Modules that a launcher which forks its ranks may import once for all of them."""

    @property
    def rank_environment(self) -> dict[str, str]:
        """Variables of every rank: threads, then what the caller asks, then the profile's own word."""
        return {"OMP_NUM_THREADS": str(self.profile.cpus_per_gpu)} | self.environment | self.profile.environment

    @property
    def name(self) -> str:
        """Folder name below `jobs/`: readable shape and a digest of the tasks and attempts."""
        content = json.dumps([self.profile.name, self.shape.label, [(t.name, t.attempt) for t in self.tasks]])
        return f"{self.shape.label}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    @property
    def folder(self) -> str:
        """Absolute path of this batch's folder."""
        return f"{self.study_dir}/jobs/{self.name}"


def split(batch: Batch) -> list[Batch]:
    """Split a batch at the partition's largest array."""
    size = batch.profile.max_array_size
    return [replace(batch, tasks=batch.tasks[start : start + size]) for start in range(0, len(batch.tasks), size)]
