"""A look at Slurm's whole queue: jobs of all users, nodes, reservations. An edge: it asks, and waits for nobody long.

What changes seldom is asked for seldom, and a user's clients on one machine share all answers (`squeue_cache`).
"""

import os
import pwd
import shlex
import shutil
import time
from collections.abc import Sequence

from launchers.queue_snapshot import OwnerLimit, QueueSnapshot
from launchers.slurm.discover import CONFIG, NODES, PARTITIONS
from launchers.slurm.handle import cluster_options
from launchers.slurm.look.listing import (
    ASSOCIATIONS,
    QOS_LIMITS,
    QUEUE,
    RESERVATIONS,
    WHOLE_LISTS,
    read_jobs,
    read_limits,
    read_nodes,
    read_reservations,
)
from launchers.slurm.programs import printed
from launchers.slurm.scontrol import config, hides_jobs
from launchers.slurm.squeue_cache import newest
from launchers.slurm.states import IN_SECONDS

PATIENCE_S = 10.0
"""For all questions together: nobody waits longer for a forecast."""
QUEUE_AGE_S, NODES_AGE_S, LIMITS_AGE_S, CONFIG_AGE_S = 30.0, 600.0, 600.0, 3600.0
"""How old another client's answer may be."""
_VARIABLES = IN_SECONDS | WHOLE_LISTS


def look(clusters: str | None = None) -> QueueSnapshot | str:
    """What one cluster (None: the one that is asked by default) has in its queue; else why that is not known.

    It never raises.
    """
    if clusters is not None and ("," in clusters or clusters == "all"):
        return f"several clusters may take it ({clusters}): which one is known once it is submitted"
    absent = [program for program in ("squeue", "scontrol") if shutil.which(program) is None]
    if absent:
        return f"no {' and no '.join(absent)} on this machine"
    ask = _Questions(clusters)
    settings, jobs, nodes, reserved = (
        ask(CONFIG, CONFIG_AGE_S),
        ask(QUEUE, QUEUE_AGE_S),
        ask(NODES, NODES_AGE_S),
        ask(RESERVATIONS, NODES_AGE_S),
    )
    if why := ask.error or _without_plan(settings):
        return why
    listed, strange = read_jobs(jobs)
    if strange and not listed:
        return f"squeue printed {strange[:60]!r}, which is not what it was asked for: is it wrapped here?"
    rooms = read_nodes(nodes)
    if not rooms:
        return f"scontrol showed no node (PrivateData={_private(settings) or 'none'}), so nobody can foresee anything"
    return QueueSnapshot(
        at_s=ask.at_s,
        nodes=rooms,
        jobs=listed,
        closed=read_reservations(reserved),
        hidden=_hidden(settings),
        limits=_limits(settings, ask),
    )


def _limits(settings: str, ask: "_Questions") -> tuple[OwnerLimit, ...] | None:
    """What accounts and QOS let this user have; None where nobody says so."""
    read = config(settings)
    if not {"limits", "safe", "all"} & set(read.get("AccountingStorageEnforce", "").split(",")):
        return ()
    if shutil.which("sacctmgr") is None:
        return None
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None
    associations = ask([word.format(user=user) for word in ASSOCIATIONS], LIMITS_AGE_S)
    qos, partitions = ask(QOS_LIMITS, LIMITS_AGE_S), ask(PARTITIONS, CONFIG_AGE_S)
    return None if ask.error else read_limits(associations, qos, partitions, cluster=read.get("ClusterName", ""))


def blind(clusters: str | None = None) -> str:
    """Why nobody can foresee starts on this site; empty where one can."""
    questions = _Questions(clusters)
    settings = questions(CONFIG, 0.0)
    return questions.error or _without_plan(settings) or _hidden(settings) or ""


class _Questions:
    """One after another, until one is not answered or the patience is used up."""

    def __init__(self, clusters: str | None) -> None:
        self._clusters, self._until = clusters, time.monotonic() + PATIENCE_S
        self.error = ""
        self.at_s = time.time()
        """When the queue was asked."""

    def __call__(self, command: Sequence[str], max_age_s: float) -> str:
        """What a program prints; empty where nobody answered, or was asked, since one before it did not answer."""
        if self.error:
            return ""
        # The database that sacctmgr asks is that of all clusters.
        options = [] if command[0] == "sacctmgr" else cluster_options(self._clusters)
        words = [command[0], *options, *command[1:]]
        question = shlex.join([*words, *(f"{name}={value}" for name, value in _VARIABLES.items())])
        now = time.monotonic()

        def query() -> tuple[str, str | None]:
            return printed(words, also=_VARIABLES, patience_s=max(0.1, self._until - time.monotonic()))

        answer = newest(question, query, not_before=now - max_age_s)
        if answer.error is not None and answer.asked_at < now - QUEUE_AGE_S:
            answer = newest(question, query, not_before=now - QUEUE_AGE_S)  # it may be back by now
        self.error = answer.error or ""
        if command == QUEUE:
            self.at_s = time.time() - (time.monotonic() - answer.asked_at)
        return answer.text


def _without_plan(settings: str) -> str:
    """Why Slurm itself plans no starts, and no simulation of backfill is like it."""
    scheduler = config(settings).get("SchedulerType", "sched/backfill")
    return "" if scheduler == "sched/backfill" else f"SchedulerType={scheduler} plans no starts ahead"


def _private(settings: str) -> str:
    private = config(settings).get("PrivateData", "none")
    return "" if private == "none" else private


def _hidden(settings: str) -> str | None:
    """Why other users' jobs are not shown; root sees all."""
    private = _private(settings)
    if os.geteuid() == 0 or not hides_jobs(private):
        return None
    return f"this site shows nobody the jobs of others (PrivateData={private})"
