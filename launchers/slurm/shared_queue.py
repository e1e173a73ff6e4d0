"""The queue of a shared allocation: `python -m launchers.slurm.shared_queue BATCH_FOLDER`, in a Slurm job's batch step.

It starts the batch's tasks one after another as steps of srun on the first nodes of the allocation, warns and ends
them at limits of their own, closes them and starts them again, as the queues without Slurm do. When Slurm starts the
job again it goes on where the last start stopped. It ends with `RUN_AGAIN` when tasks are left and the time is not.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from launchers.backend import Ended, TaskState
from launchers.batch import RUN_AGAIN
from launchers.process.environment import JOB_ENDS
from launchers.queue.exits import shell_code
from launchers.queue.files import note_start, read_states, starts, write_states
from launchers.queue.loop import read_batches, tasks_of, work_off
from launchers.queue.signals import send
from launchers.queue.task import QueueTask, Run
from launchers.queue.wakeup import Bell
from launchers.slurm.programs import run
from launchers.slurm.states import status_of
from launchers.slurm.step import step_command, trial_command

_GRACE_S = 25.0
"""Between telling a step to end and killing it: more than its ranks take, less than Slurm's KillWait by default."""
_LOST_S = 30.0
"""How long srun may take to end after its ranks were killed."""
_PATIENCE_S = 30.0
"""How long squeue or scancel may take; without a controller they give up after about 10 s."""
_TRIAL_S = 600.0
"""How long steps that Slurm does not start are waited for; then the next one is started all the same."""
_FORGET_S = 30.0
"""How long Slurm may take to hear of the end of a step; then the next one shares what Slurm counts for that."""
_TERMINATED = 143


def main(folders: list[str]) -> int:
    """Work off the batch in `folders` (one folder); returns 0 once every task has ended, however it ended."""
    allocation = _Allocation(job=os.environ["SLURM_JOB_ID"], ends=float(os.environ[JOB_ENDS]))
    signal.signal(signal.SIGUSR2, lambda _number, _frame: allocation.warn())
    signal.signal(signal.SIGTERM, lambda _number, _frame: allocation.take_away())
    tasks = tasks_of(read_batches(folders))
    allocation.tasks = tasks
    for task in tasks:
        _restore(task)
        task.allocation_ends = allocation.ends
    with Bell() as bell:
        work_off(
            tasks,
            allocation.start_ranks,
            job_id=lambda task: f"{allocation.job}_{task.index}",
            bell=bell,
            leave=lambda: allocation.closed,
            tidy=allocation.hand_on,
        )
    if allocation.is_terminated:
        return _TERMINATED
    open_tasks = [task for task in tasks if task.ended is None]
    if open_tasks and tasks[0].batch.profile.requeue:
        return RUN_AGAIN
    if open_tasks:
        for task in open_tasks:
            task.ended, task.detail = Ended.TIME_LIMIT, f"its job had no time left for it; {task.detail}"
        write_states(tasks[0].folder, {task.index: task.status for task in tasks})
    return 0


def _restore(task: QueueTask) -> None:
    """Restore a task from an earlier start of this job: what ended stays ended, the rest starts anew."""
    status = read_states(task.folder).get(task.index)
    task.restart = starts(task.folder, task.index)
    if status is not None and status.state is TaskState.ENDED:
        task.ended, task.detail, task.hosts = status.ended or Ended.UNREPORTED, status.detail, status.hosts


class _Allocation:
    """The nodes of this job, until its time is over or Slurm takes them away."""

    def __init__(self, *, job: str, ends: float) -> None:
        self.job, self.ends = job, ends
        self.closed = False
        """Whether nothing is started any more."""
        self.is_terminated = False
        """Whether Slurm has told this job to end."""
        self.tasks: list[QueueTask] = []
        self._nodes = _nodes(os.environ["SLURM_JOB_NODELIST"])
        self._begun = False
        self._doubt_since: float | None = None
        """Since when nobody knows whether Slurm starts steps here; None: it does."""
        self._overlap = False
        """Whether Slurm counts a step that has ended as running, and will for as long as the job runs."""
        self._warned = False
        self._handed_on: set[signal.Signals] = set()

    # Handlers of signals only take note: what there is to do is done between two rounds of the loop.

    def warn(self) -> None:
        """SIGUSR2: the time limit or a preemption is near."""
        self.closed = self._warned = True

    def take_away(self) -> None:
        """SIGTERM, or the job is lost without a signal: it is being ended. Slurm has signalled the ranks too."""
        self.closed = self.is_terminated = True
        for task in self.tasks:
            task.taken_away = True

    def hand_on(self) -> None:
        """Hand a signal on to the ranks that run, once."""
        due = [(self._warned, signal.SIGUSR2), (self.is_terminated, signal.SIGTERM)]
        for number in [number for is_due, number in due if is_due and number not in self._handed_on]:
            self._handed_on.add(number)
            for task in self.tasks:
                if task.start is not None:
                    task.start.run.send(number)

    def check_job_after_step(self, code: int) -> None:
        """Notice that the job is lost although no signal came: srun ends with 0 on a node that is set DOWN."""
        squeue = run(["squeue", "--noheader", f"--jobs={self.job}", "--format=%T"], patience_s=_PATIENCE_S)
        # A controller that does not answer has not taken the job away.
        is_answered = squeue.returncode == 0 or "Invalid job id" in squeue.stderr
        state = squeue.stdout.strip()
        has_left_its_nodes = status_of(state).state in (TaskState.QUEUED, TaskState.ENDED)
        if is_answered and (has_left_its_nodes or state in ("", "COMPLETING")):
            self.take_away()
        doubtful = code or not is_answered or steps_of(self.job)
        self._doubt_since = time.monotonic() if doubtful else None

    def _waits_for_slurm(self, task: QueueTask) -> bool:
        """Whether a step would not begin, as none of the tasks that are left then would.

        So it is without a controller; and once it is back, while it still counts the cores and the memory of a step
        whose end it did not hear of. A controller that was killed, and goes on from what it had saved some seconds
        before, never hears of it: srun would wait for ever.
        """
        if self._doubt_since is None:
            return False
        doubted_s = time.monotonic() - self._doubt_since
        if doubted_s > _TRIAL_S:
            return False
        # Steps run one at a time here, so that whoever shares with another one shares with none.
        self._overlap = self._overlap or (doubted_s > _FORGET_S and bool(steps_of(self.job)))
        # Not as a job of its own, which it would be without the variables of this one.
        command = trial_command(task.batch, task.index, self._nodes, overlap=self._overlap)
        trial = run(command, patience_s=_PATIENCE_S, also=dict(os.environ))
        if trial.returncode == 0:
            self._doubt_since = None
            return False
        errors = trial.stderr.strip().splitlines() or [f"srun ended with code {trial.returncode}"]
        task.detail = f"waits until Slurm starts steps again: {errors[-1]}"
        return True

    def start_ranks(self, task: QueueTask, variables: dict[str, str]) -> "_Step | None":
        """Start a task as a step, if there is time for it. The first one always starts, whatever its limit."""
        left_s = self.ends - time.time()
        if not self.closed and self._begun and left_s < task.limit_s:
            self.closed = True
            task.detail = (
                f"{left_s / 60:.0f} min were left of its job's time, less than its own limit of {task.shape.minutes}"
            )
        if self.closed or self._waits_for_slurm(task):
            return None
        self._begun = True
        # Before it starts: what is killed in between must not be started under the same number.
        note_start(task.folder, task.index, task.restart)
        name = f"{task.index}.{task.restart}"
        command = step_command(task.batch, task.index, self._nodes, name=name, job=self.job, overlap=self._overlap)
        environment = os.environ | task.environment | variables
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
        hosts = " ".join(self._nodes[: task.shape.nodes])
        return _Step(process, job=self.job, name=name, hosts=hosts, when_over=self.check_job_after_step)


class _Step(Run):
    """One step and its ranks; see `launchers.queue.task.Run`."""

    grace_s = _GRACE_S

    def __init__(
        self, process: subprocess.Popen[bytes], *, job: str, name: str, hosts: str, when_over: Callable[[int], None]
    ) -> None:
        self.hosts = hosts
        self._process, self._job, self._name = process, job, name
        self._when_over: Callable[[int], None] | None = when_over
        self._killed_at: float | None = None

    def code(self) -> int | None:
        code = self._process.poll()
        if code is not None and self._when_over is not None:
            when_over, self._when_over = self._when_over, None
            when_over(code)
        if code is None and self._killed_at is not None and time.monotonic() > self._killed_at + _LOST_S:
            send(self._process, signal.SIGKILL)
        return None if code is None else shell_code(code)

    def failure(self) -> str:
        code = self.code()
        return f"srun ended with code {code}" if code else ""

    def send(self, number: signal.Signals) -> None:
        """Have Slurm send it to the ranks: srun itself, told to end, would kill them without a warning."""
        if self._process.poll() is not None:
            return
        if number is signal.SIGKILL:
            self._killed_at = time.monotonic()
        step = self._step()
        cancel = ["scancel", f"--signal={number.name.removeprefix('SIG')}"]
        is_sent = step is not None and run([*cancel, step], patience_s=_PATIENCE_S).returncode == 0
        if not is_sent and number is not signal.SIGUSR2:
            # No step yet, or no controller that knows it: srun gives up, and ends what it may have started.
            send(self._process, signal.SIGTERM)

    def release(self) -> None:
        """The job keeps its nodes."""

    def _step(self) -> str | None:
        """Slurm's number of this step; None before there is one."""
        return steps_of(self._job).get(self._name)


def steps_of(job: str) -> dict[str, str]:
    """Slurm's numbers of the steps of srun that it says run in a job, by their names; none where it does not squeue."""
    squeue = run(["squeue", "--noheader", "--steps", f"--jobs={job}", "--format=%i|%j"], patience_s=_PATIENCE_S)
    rows = [line.strip().split("|", 1) for line in squeue.stdout.splitlines()]
    # Others (`17.batch`, `17.extern`) are of the job itself.
    return {row[1]: row[0] for row in rows if len(row) == 2 and row[0].rpartition(".")[2].isdecimal()}


def _nodes(nodelist: str) -> list[str]:
    """Every node of a list like `vector[01-02]`, in its order. Raises `OSError` where scontrol does not scontrol."""
    scontrol = run(["scontrol", "show", "hostnames", nodelist], patience_s=_PATIENCE_S)
    if scontrol.returncode != 0 or not scontrol.stdout.split():
        raise OSError(f"scontrol show hostnames {nodelist}: {scontrol.stderr.strip() or 'no answer'}")
    return scontrol.stdout.split()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
