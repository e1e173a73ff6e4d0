"""What a job of Slurm is called: `17`, or `17;cluster` where its cluster was named or chosen by sbatch. Pure.

A number means nothing without its cluster: each cluster counts its jobs by itself. A plain number, as journals of
earlier versions and sites with one cluster have it, is of the cluster that Slurm's programs ask by default.
"""

import re
from collections.abc import Iterable, Mapping

from launchers.checked import CLUSTER
from launchers.text import grouped

_ANSWERS = (
    re.compile(rf"([0-9]{{1,20}})(?:;({CLUSTER}))?"),
    re.compile(rf"Submitted batch job ([0-9]{{1,20}})(?: on cluster ({CLUSTER}))?"),
)
CLUSTERS_VARIABLES = ("SBATCH_CLUSTERS", "SLURM_CLUSTERS")
"""Where users say to which clusters all their jobs go: sbatch's own variables."""


def handle_of(number: str, cluster: str | None) -> str:
    """The name of a job.

    >>> handle_of("17", None), handle_of("17", "west")
    ('17', '17;west')
    """
    return f"{number};{cluster}" if cluster else number


def parts_of(handle: str) -> tuple[str, str | None]:
    """Number and cluster; None: the one that is asked by default.

    >>> parts_of("17"), parts_of("17;west")
    (('17', None), ('17', 'west'))
    """
    number, _, cluster = handle.partition(";")
    return number, cluster or None


def by_cluster(handles: Iterable[str]) -> dict[str | None, list[str]]:
    """Numbers by cluster, each once, in their order."""
    return grouped((cluster, number) for number, cluster in map(parts_of, dict.fromkeys(handles)))


def cluster_options(clusters: str | None) -> list[str]:
    """The option of squeue, sacct, scancel, scontrol and sbatch that names clusters."""
    return [f"--clusters={clusters}"] if clusters else []


def of_answer(printed: str) -> str | None:
    """The job that sbatch names, with or without --parsable; None where no line, or lines of two jobs, name one.

    >>> of_answer("Welcome!\\n17;west\\n"), of_answer("Submitted batch job 17 on cluster west"), of_answer("17\\n18")
    ('17;west', '17;west', None)
    """
    matches = [match for line in printed.splitlines() for form in _ANSWERS if (match := form.fullmatch(line.strip()))]
    handles = {handle_of(match[1], match[2]) for match in matches}
    return handles.pop() if len(handles) == 1 else None


def users_clusters(environ: Mapping[str, str]) -> str | None:
    """The clusters that a user's variables name."""
    return next((environ[name] for name in CLUSTERS_VARIABLES if environ.get(name)), None)
