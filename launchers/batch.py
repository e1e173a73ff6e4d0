"""What a scheduler is asked for: shapes, tasks and batches of equal shape. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, replace

from launchers.checked import HostList, Line, Name, checked
from launchers.errors import UserError
from launchers.profile import Count, PartitionProfile

RUN_AGAIN = 75
"""Exit code of a closing module (EX_TEMPFAIL of sysexits.h): start this task again."""

SETUP_FAILED = 78
"""Exit code of a job that a line of its profile's setup ended (EX_CONFIG of sysexits.h)."""


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
    """One run of one folder: what its ranks have to know. The folder holds everything else."""

    name: Name
    """Also the folder's name below the study's `cells/`."""
    attempt: Count
    since: Count = 1
    """First attempt that counts against the bounds of retries: the one that the user last asked for."""
    shape: Shape | None = None
    """In a shared batch: the first nodes and GPUs of the allocation that it runs on, and its own time limit."""


@checked
class Batch:
    """Tasks of one shape under one profile: one Slurm array (a job where it has none), or a stretch of a queue."""

    study: Line
    """For people: names the jobs in `squeue`."""
    study_dir: str
    """Absolute path of the study's folder."""
    profile: PartitionProfile
    shape: Shape
    tasks: tuple[Task, ...]
    shared: bool = False
    """Whether all tasks share one allocation of `shape`: they run one after another, in their order, each on the first
    nodes of one and the same list. On Slurm that is one job, no array."""
    parallel: Count | None = None
    """Tasks that may run at once (Slurm's %N); None: as many as there are."""
    module: Name
    """Module that every rank runs: `python -m MODULE BATCH_FOLDER`."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that the ranks need; those of the profile win."""
    preload: tuple[str, ...] = ()
    """Modules that a launcher which forks its ranks may import once for all of them."""
    closing: Name | None = None
    """Module that runs once, `python -m MODULE BATCH_FOLDER CODE`, after a task ended with a code other than 0; when
    it ends with `RUN_AGAIN` the same task is started again, with its restart count one higher."""
    code: Line | None = None
    """Folder with the packages that the ranks import, before whatever is installed; None: as installed."""
    exclude: tuple[HostList, ...] = ()
    """Nodes that these tasks must not get, beside those that the profile excludes."""

    def shape_of(self, index: int) -> Shape:
        """What the task of this index runs on: the batch's shape, or its part of a shared allocation."""
        return self.tasks[index].shape or self.shape

    @property
    def array(self) -> bool:
        """Whether Slurm gets this as a job array: not what shares one job, and not where a site has no arrays."""
        return not self.shared and self.profile.max_array_size > 1

    @property
    def held_gpus(self) -> int:
        """GPUs that a job of this batch holds: more than it uses where nodes are handed out whole."""
        return self.profile.held_gpus(self.shape.nodes, self.shape.gpus)

    @property
    def rank_environment(self) -> dict[str, str]:
        """Variables of every rank: threads, then the caller's, then the profile's, where the later one wins."""
        variables = {"OMP_NUM_THREADS": str(self.profile.cpus_per_gpu)} | self.environment | self.profile.environment
        if self.code is None:
            return variables
        # The snapshot comes before the folders that the profile names, if it does; `python -m` would put the
        # folder that a job starts in before both.
        return importing_from(self.code, variables)

    @property
    def name(self) -> str:
        """Folder name below `jobs/`: readable shape and a digest of the tasks and attempts."""
        content = json.dumps([self.profile.name, self.shape.label, [(t.name, t.attempt) for t in self.tasks]])
        return f"{self.shape.label}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    @property
    def folder(self) -> str:
        """Absolute path of this batch's folder."""
        return f"{self.study_dir}/jobs/{self.name}"


def split(batch: Batch, jobs_before: int = 0) -> list[Batch]:
    """Split a batch at the partition's largest array, and at the jobs that one user may have there.

    A shared batch is one job, whatever the number of its tasks. `jobs_before`: of this user, that are there or go there
    first: what fits beside them is a batch of its own, so that it need not wait with the rest.
    """
    if batch.shared:
        return [batch]
    largest, most = batch.profile.max_array_size, batch.profile.max_submit
    parts, start = list[Batch](), 0
    while start < len(batch.tasks):
        size = min(largest, most - (jobs_before + start) % most) if most is not None else largest
        parts.append(replace(batch, tasks=batch.tasks[start : start + size]))
        start += size
    return parts


def throttle(batches: list[Batch], max_gpus: int, held: int = 0) -> list[Batch]:
    """Give each batch its share of `max_gpus`, so that all arrays together never use more at once.

    Every array may run at least one task; what is left goes round, in the order of the batches. Raises `UserError`
    when even one task of each is too much. `held`: GPUs of earlier jobs; where one task of each does not fit beside
    them, they have to end first.
    """
    least = sum(batch.held_gpus for batch in batches)
    if least > max_gpus:
        shapes = " + ".join(str(batch.held_gpus) for batch in batches)
        raise UserError(
            f"max_gpus_in_flight={max_gpus}: the arrays run side by side and one task of each takes {shapes} = {least} "
            f"GPUs; use {least} or more, or fewer GPU counts in one command"
        )
    parallel = [1] * len(batches)
    free = max_gpus - least - (held if least + held <= max_gpus else 0)
    growing = True
    while growing:
        growing = False
        for i, batch in enumerate(batches):
            if not batch.shared and parallel[i] < len(batch.tasks) and batch.held_gpus <= free:
                parallel[i], free, growing = parallel[i] + 1, free - batch.held_gpus, True
    return [replace(batch, parallel=n) for batch, n in zip(batches, parallel, strict=True)]


def importing_from(folder: str | None, variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of a Python that imports from `folder` before its PYTHONPATH, and never from where it starts."""
    folders = ":".join(filter(None, [folder, variables.get("PYTHONPATH")]))
    return {**variables, **({"PYTHONPATH": folders} if folders else {}), "PYTHONSAFEPATH": "1"}
