"""The queue of a shared Slurm job, against programs that answer as Slurm's do: steps, restarts, time, the job's end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.backend import Ended, Submission, TaskState, TaskStatus
from launchers.batch import RUN_AGAIN, Shape, Task, split, throttle
from launchers.checked import to_json
from launchers.errors import UserError
from launchers.profile import Container, ContainerRuntime, GpuDialect, Spawner
from launchers.queue.files import asked_to_cancel, read_states, write_states
from launchers.slurm.backend import SlurmLauncher
from launchers.slurm.sbatch import render
from launchers.slurm.step import step_command
from tests.conftest import ROOT, wait_for
from tests.unit.builders import batch, profile, put_programs
from tests.unit.launchers.queue.queue_at import set_clock

QUEUE = """
import sys
from launchers.slurm import shared_queue
shared_queue._GRACE_S = shared_queue._Step.grace_s = 0.5
sys.exit(shared_queue.main(sys.argv[1:]))
"""
IMPATIENT = QUEUE.replace("sys.exit", "shared_queue._TRIAL_S = 0; sys.exit")
FORGETFUL = QUEUE.replace("sys.exit", "shared_queue._FORGET_S = 0; sys.exit")
SHAPES = {"two": (2, 1), "four": (4, 1), "one": (1, 1)}
"""Nodes and GPUs a node of the tasks, in the order in which they run."""
UNTIL_TOLD = """
trap "echo $i USR2 >> {0}/told" USR2
trap "echo $i TERM >> {0}/told; exit 143" TERM
touch {0}/waits
while :; do sleep 0.05; done
"""


def shared(folder="/studies/s", minutes=10, **changes):
    """A curve of three cells over at most four nodes."""
    tasks = [
        Task(name=name, attempt=1, shape=Shape(nodes=nodes, gpus_per_node=gpus, minutes=minutes))
        for name, (nodes, gpus) in SHAPES.items()
    ]
    defaults = {"shape": Shape(nodes=4, gpus_per_node=1, minutes=35), "tasks": tuple(tasks), "shared": True}
    return batch(study_dir=str(folder), **(defaults | changes))


class Job:
    """A job of a shared batch on a machine without Slurm."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.squeue = "echo RUNNING"
        self.trial = "true"

    def write(self, **changes):
        self.batch = shared(
            self.folder, **{"module": "m", "closing": "tests.unit.launchers.queue.queue_probe"} | changes
        )
        self.at = Path(self.batch.folder)
        self.at.mkdir(parents=True)
        (self.at / "batch.json").write_text(to_json(self.batch))
        (self.at / "orders.json").write_text(json.dumps(dict.fromkeys("012", "done")))
        return self

    def programs(self, srun):
        """`srun`: what a step does, with `$i` its task and `$r` its start; squeue and scancel know the last step."""
        step = f'echo "9.batch|batch"; cat {self.folder}/step {self.folder}/ghost 2> {os.devnull}'
        trial = f'[[ $* != *--job-name=trial* ]] || {{ echo "$*" >> {self.folder}/trials; {self.trial}; exit; }}'
        bodies = {
            "srun": f'{trial}\ni=$VIT_SWEEP_TASK_INDEX r=$VIT_SWEEP_RESTART\necho "$i.$r $*" >> {self.folder}/steps\n'
            f"echo $$ | tee {self.folder}/pid >> {self.folder}/pids; echo 9.5\\|$i.$r > {self.folder}/step\n"
            f"trap 'rm {self.folder}/step' EXIT\n{srun}",
            "squeue": f"[[ $* = *--steps* ]] || {{ {self.squeue}; exit; }}\n{step}",
            "scancel": f'echo "$*" >> {self.folder}/scancels; kill -"${{1#--signal=}}" "$(cat {self.folder}/pid)"',
            "scontrol": '[ "$3" = "vector[01-04]" ] && printf "vector%s\\n" 01 02 03 04',
        }
        put_programs(self.folder / "bin", **bodies)

    def start(self, srun="true", *, minutes_left=35.0, queue=("-c", QUEUE)):
        self.programs(srun)
        variables = {
            "SLURM_JOB_ID": "9",
            "SLURM_JOB_NODELIST": "vector[01-04]",
            "PYTHONPATH": str(ROOT),
            "VIT_SWEEP_JOB_ENDS": str(int(time.time() + minutes_left * 60)),
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
        }
        process = subprocess.Popen([sys.executable, *queue, str(self.at)], env=os.environ | variables, cwd=self.folder)
        self.processes.append(process)
        return process

    def run(self, srun="true", **how):
        return self.start(srun, **how).wait(timeout=300)

    def steps(self):
        """Task and start of each step, in their order."""
        return [line.split()[0] for line in self.lines("steps")]

    def lines(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def sent(self):
        """Its batch as clients know it."""
        return Submission(batch_name=self.at.name, folder=str(self.at), handle="9", tasks=3)

    def ended(self):
        return [task.ended for _, task in sorted(read_states(self.at).items())]


@pytest.fixture
def job(tmp_path):
    this_job = Job(tmp_path)
    yield this_job
    for process in this_job.processes:
        process.kill()
        process.wait()
    for pid in this_job.lines("pids"):
        with suppress(OSError):
            if str(tmp_path).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)


DONE = [Ended.COMPLETED] * 3

# --- in order, on the first nodes ----------------------------------------------------------------------


def test_tasks_run_in_their_order_each_on_the_first_nodes_of_the_list(job):
    assert job.write().run('echo "$VIT_SWEEP_JOB_ID $VIT_SWEEP_ALLOCATED_GPUS" >> ids') == 0
    assert job.steps() == ["0.0", "1.0", "2.0"]
    lists = [next(w for w in line.split() if w.startswith("--nodelist=")) for line in job.lines("steps")]
    assert lists == [
        f"--nodelist={n}" for n in ("vector01,vector02", "vector01,vector02,vector03,vector04", "vector01")
    ]
    assert job.ended() == DONE
    assert [task.hosts for _, task in sorted(read_states(job.at).items())][2] == "vector01"
    assert job.lines("ids") == ["9_0 4", "9_1 4", "9_2 4"]


def test_a_task_that_fails_does_not_stop_the_others(job):
    assert job.write().run('[ "$i" != 1 ] || exit 3') == 0
    assert job.ended() == [Ended.COMPLETED, Ended.FAILED, Ended.COMPLETED]
    assert read_states(job.at)[1].detail == "srun ended with code 3"


def test_a_closing_module_that_asks_for_it_has_its_task_started_again_at_once(job):
    job.write()
    (job.at / "orders.json").write_text(json.dumps(dict.fromkeys("012", "done") | {"closing": RUN_AGAIN}))
    assert job.run('[ "$i.$r" != 1.0 ] || exit 3') == 0
    assert job.steps() == ["0.0", "1.0", "1.1", "2.0"]
    assert job.ended() == DONE


def test_a_task_is_warned_and_ended_at_its_own_limit_and_the_next_one_runs(job):
    job.write(minutes=1)
    process = job.start(
        f'[ "$i" = 0 ] || exit 0; {UNTIL_TOLD.format(job.folder)}',
        queue=("-m", "tests.unit.launchers.queue.queue_at", "launchers.slurm.shared_queue"),
    )
    wait_for((job.folder / "waits").exists)
    set_clock(job.at, 31)
    wait_for(lambda: job.lines("told") == ["0 USR2"])
    set_clock(job.at, 61)
    assert process.wait(timeout=300) == 0
    assert job.lines("told") == ["0 USR2", "0 TERM"]
    assert job.ended() == [Ended.TIME_LIMIT, Ended.COMPLETED, Ended.COMPLETED]
    assert job.lines("scancels") == ["--signal=USR2 9.5", "--signal=TERM 9.5"]


def test_a_client_cancels_one_that_runs_and_one_that_waits(job):
    process = job.write().start(f'[ "$i" = 0 ] || exit 0; {UNTIL_TOLD.format(job.folder)}')
    wait_for((job.folder / "waits").exists)
    SlurmLauncher().cancel([(job.sent, [0, 2])])
    assert process.wait(timeout=300) == 0
    assert job.lines("told") == ["0 TERM"]
    assert job.ended() == [Ended.CANCELLED, Ended.COMPLETED, Ended.CANCELLED]


def test_ranks_that_do_not_hear_are_killed_and_the_next_task_runs(job):
    deaf = f'[ "$i" = 0 ] || exit 0; trap "" TERM; touch {job.folder}/waits; while :; do sleep 0.05; done'
    process = job.write().start(deaf)
    wait_for((job.folder / "waits").exists)
    SlurmLauncher().cancel([(job.sent, [0])])
    assert process.wait(timeout=300) == 0
    assert job.lines("scancels") == ["--signal=TERM 9.5", "--signal=KILL 9.5"]
    assert job.ended() == [Ended.CANCELLED, Ended.COMPLETED, Ended.COMPLETED]


# --- the job's own time --------------------------------------------------------------------------------


def test_nothing_is_started_that_the_jobs_time_does_not_hold_and_the_job_asks_for_more(job):
    """A task's limit is ten minutes. The first start of a job is tried whatever is left of it."""
    assert job.write().run(minutes_left=3) == RUN_AGAIN
    assert job.steps() == ["0.0"]
    assert job.ended() == [Ended.COMPLETED, None, None]
    assert read_states(job.at)[1].detail == "3 min were left of its job's time, less than its own limit of 10"
    assert job.run() == 0
    assert job.steps() == ["0.0", "1.0", "2.0"]


def test_where_the_site_starts_no_job_again_the_rest_ends_with_the_time(job):
    assert job.write(profile=profile(requeue=False)).run(minutes_left=3) == 0
    assert job.ended() == [Ended.COMPLETED, Ended.TIME_LIMIT, Ended.TIME_LIMIT]
    assert "its job had no time left for it" in read_states(job.at)[2].detail


def test_the_ranks_are_told_the_earlier_of_the_two_ends(job):
    left = "echo $(( (VIT_SWEEP_JOB_ENDS - $(date +%s) + 30) / 60 )) >> left"
    assert job.write().run(left, minutes_left=3) == RUN_AGAIN
    assert job.run(left, minutes_left=60) == 0
    assert job.lines("left") == ["3", "10", "10"]


def test_a_warning_of_the_job_reaches_the_ranks_and_nothing_is_started_after_it(job):
    stops = f'trap "echo $i USR2 >> {job.folder}/told; exit 0" USR2; touch {job.folder}/waits'
    process = job.write().start(f"{stops}; while :; do sleep 0.05; done")
    wait_for((job.folder / "waits").exists)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(timeout=300) == RUN_AGAIN
    assert job.lines("told") == ["0 USR2"]
    assert job.ended() == [Ended.COMPLETED, None, None]


# --- the job is taken away, and comes back -------------------------------------------------------------


def test_what_runs_when_the_job_is_taken_away_has_not_ended_and_starts_under_a_new_number(job):
    process = job.write().start(f'[ "$i" = 1 ] || exit 0; {UNTIL_TOLD.format(job.folder)}')
    wait_for((job.folder / "waits").exists)
    process.terminate()
    assert process.wait(timeout=300) == 143
    assert job.ended() == [Ended.COMPLETED, None, None]
    assert read_states(job.at)[1].state is TaskState.QUEUED
    assert job.run() == 0
    assert job.steps() == ["0.0", "1.0", "1.1", "2.0"]
    assert job.ended() == DONE


def test_a_queue_that_was_killed_goes_on_too_and_uses_no_number_twice(job):
    process = job.write().start(f'[ "$i" = 1 ] || exit 0; {UNTIL_TOLD.format(job.folder)}')
    wait_for((job.folder / "waits").exists)
    process.kill()
    process.wait()
    assert job.run('[ "$i" != 1 ] || exit 3') == 0
    assert job.steps() == ["0.0", "1.0", "1.1", "2.0"]
    assert job.ended() == [Ended.COMPLETED, Ended.FAILED, Ended.COMPLETED]


@pytest.mark.parametrize(
    "squeue",
    ["echo COMPLETING", "echo PENDING", "echo NODE_FAIL", "true", "echo 'Invalid job id specified' >&2; exit 1"],
)
def test_a_step_that_ends_well_in_a_job_that_is_lost_has_not_ended(job, squeue):
    """srun ends with 0 on a node that is set DOWN, before anybody tells the batch step."""
    job.write().squeue = squeue
    assert job.run() == 143
    assert job.ended() == [None] * 3
    assert job.steps() == ["0.0"]


def test_a_controller_that_does_not_answer_has_not_taken_the_job_away(job):
    job.write().squeue = "echo 'Unable to contact slurm controller' >&2; exit 1"
    assert job.run() == 0
    assert job.ended() == DONE


def test_after_a_step_that_failed_nothing_starts_until_slurm_starts_steps_again(job):
    """As it does not while its controller is away, or counts the memory of a step whose end it did not hear of."""
    job.write().trial = f"[ -e {job.folder}/back ] || {{ echo 'srun: error: Memory is not available' >&2; exit 1; }}"
    process = job.start('[ "$i" != 0 ] || exit 3')
    detail = "waits until Slurm starts steps again: srun: error: Memory is not available"
    wait_for(lambda: 1 in read_states(job.at) and read_states(job.at)[1].detail == detail)
    assert job.steps() == ["0.0"]
    (job.folder / "back").touch()
    assert process.wait(timeout=300) == 0
    assert job.ended() == [Ended.FAILED, Ended.COMPLETED, Ended.COMPLETED]
    assert job.steps() == ["0.0", "1.0", "2.0"]
    # With what the next task would get, and no more once a step was started.
    assert {"--nodes=4", "--ntasks=4", "--output=none", "true"} <= set(job.lines("trials")[-1].split())


def test_a_trial_is_a_step_of_this_job_and_none_of_its_own(job):
    """Without the job's variables srun would ask for an allocation, and wait for another one than steps wait for."""
    job.write().trial = f"echo $SLURM_JOB_ID > {job.folder}/trial_of"
    assert job.run('[ "$i" != 0 ] || exit 3') == 0
    assert job.lines("trial_of") == ["9"]


def test_a_step_that_slurm_believes_to_run_for_ever_gives_its_cores_to_the_next(job):
    """As a controller does that was killed and goes on from what it had saved before: srun would wait for ever."""
    job.write().trial = "[[ $* = *--overlap* ]] || { echo 'srun: error: Requested nodes are busy' >&2; exit 1; }"
    # Not even a step that failed tells of it.
    (job.folder / "ghost").write_text("9.4|0.0\n")
    assert job.run(queue=("-c", FORGETFUL)) == 0
    assert job.ended() == DONE
    overlapping = [line.split()[0] for line in job.lines("steps") if "--overlap" in line]
    assert (job.steps(), overlapping) == (["0.0", "1.0", "2.0"], ["1.0", "2.0"])


def test_a_step_that_slurm_forgets_by_itself_is_waited_for(job):
    job.write().trial = f"rm -f {job.folder}/ghost"
    (job.folder / "ghost").write_text("9.4|0.0\n")
    assert job.run() == 0
    assert not any("--overlap" in line for line in job.lines("steps"))


def test_steps_that_are_never_tried_with_success_are_started_at_last(job):
    job.write().trial = "exit 1"
    assert job.run('[ "$i" != 0 ] || exit 3', queue=("-c", IMPATIENT)) == 0
    assert job.steps() == ["0.0", "1.0", "2.0"]


# --- clients -------------------------------------------------------------------------------------------


@pytest.fixture
def states_when(job, monkeypatch):
    """What clients are told while squeue says `lines`; nobody keeps accounts."""
    job.write()

    def states(lines):
        job.programs("true")
        none = "echo 'accounting storage is disabled' >&2; exit 1"
        put_programs(job.folder / "bin", squeue=f"printf '{lines}'", sacct=none)
        monkeypatch.setenv("PATH", f"{job.folder}/bin:/usr/bin:/bin")
        monkeypatch.setenv("SLURM_CONF", str(job.folder))
        return [(task.state, task.ended) for _, task in sorted(SlurmLauncher().states([job.sent]).items())]

    return states


QUEUED, RUNNING = (TaskState.QUEUED, None), (TaskState.RUNNING, None)


def test_one_job_stands_for_all_of_its_tasks(states_when, job):
    assert states_when("9|N/A|PENDING||Priority\\n") == [QUEUED] * 3
    assert states_when("9|N/A|RUNNING|vector[01-04]|None\\n") == [QUEUED] * 3
    done = TaskStatus(state=TaskState.ENDED, ended=Ended.COMPLETED)
    write_states(job.at, {0: done, 1: TaskStatus(state=TaskState.RUNNING), 2: TaskStatus(state=TaskState.QUEUED)})
    assert states_when("9|N/A|RUNNING|vector[01-04]|None\\n") == [(TaskState.ENDED, Ended.COMPLETED), RUNNING, QUEUED]
    assert states_when("9|N/A|PENDING||BeginTime\\n") == [(TaskState.ENDED, Ended.COMPLETED), QUEUED, QUEUED]
    ended = (TaskState.ENDED, Ended.TIME_LIMIT)
    assert states_when("9|N/A|TIMEOUT|vector[01-04]|TimeLimit\\n") == [(TaskState.ENDED, Ended.COMPLETED), ended, ended]
    unsaid = (TaskState.ENDED, Ended.UNREPORTED)
    assert states_when("") == [(TaskState.ENDED, Ended.COMPLETED), unsaid, unsaid]


def test_the_job_itself_is_cancelled_when_nothing_would_be_left_of_it(states_when, job):
    states_when("9|N/A|PENDING||Priority\\n")
    scancel = job.folder / "bin" / "scancel"
    scancel.write_text(f'#!/bin/bash\necho "$*" >> {job.folder}/scancels\n')
    SlurmLauncher().cancel([(job.sent, [1])])
    assert job.lines("scancels") == []
    assert asked_to_cancel(job.at) == {1}
    assert states_when("9|N/A|PENDING||Priority\\n") == [QUEUED, (TaskState.ENDED, Ended.CANCELLED), QUEUED]
    scancel.write_text(f'#!/bin/bash\necho "$*" >> {job.folder}/scancels\n')
    waits = f"9|PENDING|{os.geteuid()}|{job.at}/job.sbatch|/|s"
    (job.folder / "bin" / "squeue").write_text(f"#!/bin/bash\necho '{waits}'\n")
    SlurmLauncher().cancel([(job.sent, [0, 2])])
    assert job.lines("scancels") == ["9"]


# --- scripts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "flag"),
    [
        (GpuDialect.GRES, "--gres=gpu:2"),
        (GpuDialect.GRES_TYPED, "--gres=gpu:t4:2"),
        (GpuDialect.GPUS_PER_NODE, "--gpus-per-node=t4:2"),
        (GpuDialect.GPUS_PER_TASK, "--gpus-per-task=t4:1"),
    ],
)
def test_a_step_asks_for_its_gpus_in_the_dialect_of_its_site(dialect, flag):
    site = profile(gpu_dialect=dialect, gpu_type="t4", cpus_per_gpu=3, srun_args=("--mpi=none",))
    part = Task(name="c", attempt=1, shape=Shape(nodes=2, gpus_per_node=2, minutes=10))
    words = step_command(shared(profile=site, tasks=(part,)), 0, ["a", "b", "c"], name="0.0", job="9")
    assert words[0] == "srun"
    assert {flag, "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--nodelist=a,b", "--cpus-per-task=3"} <= set(words)
    assert {"--exact", "--kill-on-bad-exit=1", "--mpi=none"} <= set(words)
    exclusive = shared(profile=replace(site, exclusive=True), tasks=(part,))
    assert "--exact" not in step_command(exclusive, 0, ["a", "b"], name="0.0", job="9")


def test_ranks_of_a_step_run_in_the_container_and_the_queue_does_not():
    site = profile(container=Container(runtime=ContainerRuntime.APPTAINER, image="vit.sif"), python="/site/python")
    shared_batch = shared(profile=site)
    assert "apptainer" in step_command(shared_batch, 0, ["a", "b"], name="0.0", job="9")
    assert f"/site/python -m launchers.slurm.shared_queue {shared_batch.folder} &" in render(
        shared_batch, python="/client/python"
    )
    assert "apptainer" not in render(shared_batch, python="/client/python")


@pytest.mark.parametrize("spawner", [Spawner.TORCHRUN, Spawner.MPIRUN])
def test_only_srun_starts_ranks_on_a_part_of_an_allocation(spawner):
    with pytest.raises(UserError, match=f"spawner={spawner.value} cannot start ranks on a part"):
        render(shared(profile=profile(spawner=spawner)), python="python")


def test_a_site_that_forbids_it_is_not_asked_to_start_the_job_again():
    assert "scontrol requeue" in render(shared(), python="python")
    assert "scontrol requeue" not in render(shared(profile=profile(requeue=False)), python="python")


def test_a_shared_batch_is_one_job_however_small_arrays_must_be():
    shared_batch = shared(profile=profile(max_array_size=1, max_submit=1))
    assert split(shared_batch) == [shared_batch]
    alone = batch(shape=Shape(nodes=1, gpus_per_node=1, minutes=5))
    assert [b.parallel for b in throttle([shared_batch, alone], 100)] == [1, 2]
