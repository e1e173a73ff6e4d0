"""Whether a profile can be used: its smallest and largest job, rendered, read by bash and Slurm. An edge."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from launchers.batch import Batch, Shape, Task
from launchers.checked import checked
from launchers.choose import launcher_of
from launchers.errors import UserError
from launchers.hosts import choose_hosts
from launchers.profile import PartitionProfile, Scheduler
from launchers.slurm.programs import run
from launchers.slurm.scontrol import expected_start
from launchers.text import nodes_by_gpus
from vit_sweep.config.groups import Entry
from vit_sweep.config.profile.files import load


@checked
class Verdict:
    """What `check` found: no problem means that the profile can be used."""

    name: str
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def shapes(profile: PartitionProfile) -> tuple[Shape, Shape]:
    """The smallest and the largest job of a partition; the largest with the longest time. Raises `UserError`."""
    gpu_counts = profile.allowed_gpus or range(1, profile.nodes * profile.gpus_per_node + 1)
    fitting = [(gpus, nodes) for gpus in sorted(gpu_counts) for nodes in _layouts(profile, gpus)[:1]]
    if not fitting:
        raise UserError(
            f"allowed_gpus={list(profile.allowed_gpus)}: none lies evenly over "
            f"{nodes_by_gpus(profile.nodes, profile.gpus_per_node)}; allow for example {profile.gpus_per_node}"
        )
    ends = ((*fitting[0], profile.default_minutes), (*fitting[-1], profile.max_minutes))
    small, large = (Shape(nodes=n, gpus_per_node=gpus // n, minutes=minutes) for gpus, n, minutes in ends)
    return small, large


def _layouts(profile: PartitionProfile, gpus: int) -> list[int]:
    """Node counts over which `gpus` lie evenly, fewest first, and for which there are hosts."""
    even = [n for n in range(1, min(gpus, profile.nodes) + 1) if gpus % n == 0 and gpus // n <= profile.gpus_per_node]
    if profile.scheduler is not Scheduler.HOSTFILE:
        return even
    return [n for n in even if not isinstance(choose_hosts(profile, n, gpus // n), str)]


def check(entry: Entry, others: Iterable[Entry], *, live: Iterable[str] | None) -> Verdict:
    """Read a profile, render its smallest and largest job, and let bash and Slurm look at them.

    `live` names the partitions of this machine's Slurm that may be asked; None: any (the profile was named).
    """
    problems: list[str] = []
    remarks: list[str] = []
    if entry.hidden_by is not None:
        problems.append(f"{entry.path} is never used: {entry.hidden_by} has the same name and comes first; rename it")
    try:
        profile, _ = load(entry, others)
        if profile.name != entry.name:
            problems.append(f"name={profile.name}, but the file is {entry.name}.yaml; they must agree")
        for shape in dict.fromkeys(shapes(profile)):
            _check_script(profile, shape, live, problems, remarks)
    except UserError as error:
        problems.append(str(error))
    return Verdict(name=entry.name, problems=tuple(problems), remarks=tuple(remarks))


def smoke_script(profile: PartitionProfile, shape: Shape) -> str:
    """The script of one job of `shape`, rendered as a sweep renders it. Raises `UserError`."""
    batch = Batch(
        study="profiles-check",
        study_dir=f"{tempfile.gettempdir()}/profiles-check",
        profile=profile,
        shape=shape,
        tasks=(Task(name="smoke", attempt=1),),
        module="vit_sweep.job.task",
    )
    rendered = launcher_of(profile.scheduler).render(batch)
    return rendered.files[rendered.script]


def _check_script(
    profile: PartitionProfile, shape: Shape, live: Iterable[str] | None, problems: list[str], remarks: list[str]
) -> None:
    """Let bash parse the script of one shape, and Slurm say when it would start."""
    label = f"{nodes_by_gpus(shape.nodes, shape.gpus_per_node)}, {shape.minutes} min"
    with tempfile.TemporaryDirectory(prefix="vit_sweep-check-") as folder:
        script = Path(folder) / "job"
        script.write_text(smoke_script(profile, shape))
        syntax = run(["bash", "-n", str(script)])
        if syntax.returncode != 0:
            problems.append(f"{label}: bash refuses the script: {_words(syntax).replace(str(script), 'script')}")
            return
        if profile.scheduler is not Scheduler.SLURM or shutil.which("sbatch") is None:
            remarks.append(f"{label}: the script is well formed")
            return
        if live is not None and profile.cluster is not None:
            remarks.append(f"{label}: well formed; `profiles check {profile.name}` asks its cluster {profile.cluster}")
            return
        if live is not None and profile.partition is not None and profile.partition not in set(live):
            remarks.append(f"{label}: well formed; this Slurm has no partition {profile.partition}")
            return
        answer = run(["sbatch", "--test-only", str(script)])
        start = expected_start(answer.stderr + answer.stdout)
        if answer.returncode != 0 and run(["scontrol", "ping"]).returncode != 0:
            # A controller that does not answer says nothing about the profile.
            remarks.append(f"{label}: well formed; no Slurm controller answers here, so sbatch did not test it")
        elif answer.returncode != 0:
            problems.append(f"{label}: sbatch --test-only refuses it: {_words(answer)}")
        else:
            remarks.append(f"{label}: Slurm accepts it" + (f", expected start {start}" if start else ""))


def _words(answer: "subprocess.CompletedProcess[str]") -> str:
    return " ".join((answer.stderr or answer.stdout).split()) or f"exit {answer.returncode}"
