"""The monkey on a real Slurm: it ends, requeues and suspends jobs, and takes nodes and daemons away."""

import os
import re
import signal
import subprocess

import psutil

from tests.chaos.monkey import CELLS, Monkey
from tests.slurm.conftest import trivial


class SlurmMonkey(Monkey):
    """Its world is a cluster of its own, on which nobody else's study runs."""

    words: tuple[str, ...] = ("partition=lab_trivial", "++partition.max_array_size=8", "max_gpus_in_flight=6")

    def __init__(self, seed, folder, beside, *, small_disk, cluster):
        super().__init__(seed, folder, beside, small_disk=small_disk)
        self.cluster, self.silent = cluster, set()

    def environment(self):
        """Cells of a second on one GPU each."""
        return self.cluster.environment | trivial(g1="1")

    def kinds(self):
        own = [self.cancel_task, self.requeue_task, self.suspend_task, self.kill_rank]
        return [*super().kinds(), *own, self.take_node_down, self.kill_controller, self.kill_slurmd]

    def tend(self):
        """Give nodes back, release what Slurm holds, and end the ghosts of a killed controller.

        Its saved state is up to 5 s old: jobs that have ended since run for it until a node registers again, and new
        ones that get their number are held and their node drained (`Duplicate jobid`).
        """
        for node in self.ask("sinfo", "--Node", "--states=down,drain,fail", "--format=%N"):
            self._tell("scontrol", "update", f"nodename={node}", "state=resume")
        for task in self.ask("squeue", "--array", "--states=pending", "--format=%i %r"):
            if "held" in task.lower():
                self._tell("scontrol", "release", task.split()[0])
        steps = {match[1] for process in psutil.process_iter(["cmdline"]) if (match := _step(process))}
        rows = (row.split() for row in self.ask("squeue", "--states=running,suspended", "--format=%A %i %S"))
        silent = {(task, start) for number, task, start in rows if number not in steps}
        for task, _ in silent & self.silent:
            self._tell("scancel", task)
        self.silent = silent

    def left(self):
        """Jobs that wait, run or are held count too."""
        return super().left() + self.ask("squeue", "--array", "--format=%i %T %r")

    # -- acts ------------------------------------------------------------------------------------

    def cancel_task(self, _client):
        """As somebody who has mistaken the number would."""
        self._tell("scancel", self.one_of(self.running("%i")))

    def requeue_task(self, _client):
        """As an administrator would."""
        self._tell("scontrol", "requeue", self.one_of(self.running("%i")))

    def suspend_task(self, _client):
        """For a while, as for a more urgent job."""
        task = self.one_of(self.running("%i"))
        self._tell("scontrol", "suspend", task)
        self.wait(self.random.uniform(0.1, 2.0))
        self._tell("scontrol", "resume", task)

    def kill_rank(self, _client):
        """A rank of a running job."""
        self.signal(self.processes("vit_sweep.job.task"), signal.SIGKILL)

    def take_node_down(self, _client):
        """Set a node down under its jobs, and give it back."""
        node = self.one_of(self.running("%N")) or "vector01"
        self._tell("scontrol", "update", f"nodename={node}", "state=down", "reason=chaos")
        self.wait(self.random.uniform(0.1, 2.0))
        self._tell("scontrol", "update", f"nodename={node}", "state=resume")

    def kill_controller(self, _client):
        """Without a chance to save its state; it is away for a while."""
        self.cluster.call("controller-kill")
        self.wait(self.random.uniform(0.1, 3.0))
        self.cluster.call("controller-start")

    def kill_slurmd(self, _client):
        """The daemon of a node, whose jobs live on."""
        node = self.one_of(self.running("%N")) or "vector01"
        self.cluster.call("node-kill", node)
        self.wait(self.random.uniform(0.1, 3.0))
        self.cluster.call("node-start", node)

    def running(self, column):
        """This column of squeue for every task that runs, in the order of the tasks."""
        return self.ask("squeue", "--array", "--states=running", "--sort=i", f"--format={column}")

    def ask(self, program, *words):
        """What squeue or sinfo say, line by line."""
        return self.cluster.ask(program, "--noheader", *words).splitlines()

    def _tell(self, *words):
        """One of Slurm's programs; a task that has ended meanwhile is no fault."""
        if None not in words:
            subprocess.run(words, env=os.environ | self.cluster.environment, capture_output=True, timeout=300)


class PackedMonkey(SlurmMonkey):
    """Its cells run in jobs of four; repeats of one another would not share any."""

    words = ("partition=lab_trivial", "pack=4")
    axis = f"optimizer.weight_decay=range({CELLS})"


def _step(process):
    """The match of a job's number in the name of the process that Slurm has for its script."""
    return re.match(r"slurmstepd: \[(\d+)\.batch\]", " ".join(process.info["cmdline"] or []))
