"""The Slurm backend against a real slurmctld: jobs that are found, asked for, cancelled, and started again.

The ranks are shell scripts, which a profile's `python` names: no job here trains anything.
"""

import itertools
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.backend import Ended, SubmitError, SubmitProblem, TaskState, Unconfirmed
from launchers.batch import RUN_AGAIN, Shape, Task
from launchers.profile import Spawner
from launchers.slurm.backend import SlurmLauncher
from launchers.submission_lock import under_way
from tests.unit.builders import batch, profile

pytestmark = pytest.mark.slurm

LAUNCHER = SlurmLauncher()
WAIT = "until [ -e go ]; do sleep 0.1; done"

PYTHON = """\
#!/bin/bash
# Stands for python: `-m ranks FOLDER` or `-m closing FOLDER CODE`.
cd {study}
note() {{ echo "$*" >> "notes-$SLURM_ARRAY_TASK_ID"; }}
start=${{SLURM_RESTART_COUNT:-0}}
case $2 in
  ranks) note "ranks $start"; echo "seconds left: $((VIT_SWEEP_JOB_ENDS - $(date +%s)))"; {ranks} ;;
  closing) note "closing $start $4"; {closing} ;;
esac
"""


class SubmittedAttempt:
    """A batch that was submitted, and what its jobs noted."""

    def __init__(self, folder, *, ranks="true", closing="true", tasks=1, parallel=None, submit=True, **site):
        self.study = folder / "s"
        self.study.mkdir(parents=True)
        python = folder / "python"
        python.write_text(PYTHON.format(study=self.study, ranks=ranks, closing=closing))
        python.chmod(0o755)
        self.batch = batch(
            study_dir=str(self.study),
            profile=profile(partition="vector", python=str(python), **site),
            shape=Shape(nodes=1, gpus_per_node=1, minutes=60),
            tasks=tuple(Task(name=f"c{i}", attempt=1) for i in range(tasks)),
            parallel=parallel,
            module="ranks",
            closing="closing",
        )
        Path(self.batch.folder).mkdir(parents=True)
        self.rendered = LAUNCHER.render(self.batch)
        for name, text in self.rendered.files.items():
            (Path(self.batch.folder) / name).write_text(text)
        self.submission = next(iter(LAUNCHER.submit([self.rendered]))) if submit else None

    def status(self, index=0):
        return LAUNCHER.states([self.submission])[self.batch.name, index]

    def notes(self, index=0):
        path = self.study / f"notes-{index}"
        return path.read_text().splitlines() if path.exists() else []

    def doubt(self):
        return Unconfirmed(batch_name=self.batch.name, folder=self.batch.folder, study="s", tasks=len(self.batch.tasks))

    def go(self):
        (self.study / "go").touch()


@pytest.fixture
def _slurm(cluster, monkeypatch):
    """Our own calls of Slurm's programs go to the session's cluster."""
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])


@pytest.fixture
def send(_slurm, tmp_path):
    """Submit a batch; what is left of it is cancelled at the end."""
    yield from sender(tmp_path)


def sender(tmp_path):
    sent = []

    folders = (tmp_path / str(number) for number in itertools.count())

    def run(**words):
        sent.append(SubmittedAttempt(next(folders), **words))
        return sent[-1]

    yield run
    LAUNCHER.cancel([(item.submission, None) for item in sent if item.submission])


def until(ask, wanted, seconds=300):
    """Ask again and again until the answer is `wanted`."""
    deadline = time.monotonic() + seconds
    while (answer := ask()) != wanted:
        assert time.monotonic() < deadline, f"waited in vain for {wanted}: {answer}"
        time.sleep(0.1)


def ended(sent, index=0):
    """Wait for the end of a task; returns its last status."""
    until(lambda: sent.status(index).state, TaskState.ENDED)
    return sent.status(index)


# --- states -------------------------------------------------------------------------------------------


def test_slurm_knows_a_job_as_soon_as_sbatch_has_answered(send):
    for _ in range(5):
        assert send(ranks=WAIT).status().state in (TaskState.QUEUED, TaskState.RUNNING)


def test_a_task_is_queued_with_its_reason_then_running_then_ended_with_its_host(send, ask):
    sent = send(ranks=WAIT, sbatch={"hold": True})
    assert (sent.status().state, sent.status().detail) == (
        TaskState.QUEUED,
        "JobHeldUser (held by its user: scontrol release)",
    )
    ask("scontrol", "release", sent.submission.handle)
    until(lambda: sent.status().state, TaskState.RUNNING)
    assert sent.status().hosts.startswith("vector0")
    sent.go()
    status = ended(sent)
    assert (status.ended, status.detail) == (Ended.COMPLETED, f"Slurm says COMPLETED on {status.hosts}")
    assert status.hosts.startswith("vector0")


def test_tasks_that_may_not_run_together_say_so(send):
    sent = send(ranks=WAIT, tasks=2, parallel=1)
    until(lambda: {sent.status(i).state for i in (0, 1)}, {TaskState.RUNNING, TaskState.QUEUED})
    until(lambda: sum(sent.status(i).detail.startswith("JobArrayTaskLimit (") for i in (0, 1)), 1)


def test_a_job_that_slurm_does_not_know_has_ended_and_nobody_says_how(send):
    sent = send()
    status = LAUNCHER.states([replace(sent.submission, handle="999999")])[sent.batch.name, 0]
    assert (status.state, status.ended) == (TaskState.ENDED, Ended.UNREPORTED)


# --- find ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [True, False], ids=["waiting", "ended"])
def test_a_submitted_batch_is_found_and_one_of_another_folder_is_not(send, hold):
    sent, other = send(sbatch={"hold": hold}), send(tasks=2, sbatch={"hold": True})
    if not hold:
        ended(sent)
    assert LAUNCHER.find([sent.doubt(), other.doubt()]) == {
        sent.batch.name: sent.submission,
        other.batch.name: other.submission,
    }
    # The same study name, the same tasks, and a submission that was begun: in another folder.
    copy = sent.study.parent.parent / "copy" / "s" / "jobs" / sent.batch.name
    copy.mkdir(parents=True)
    with under_way(copy):
        pass
    assert LAUNCHER.find([replace(sent.doubt(), folder=str(copy))]) == {sent.batch.name: None}


def test_a_batch_is_found_although_its_site_rewrites_comments(send, ask):
    sent = send(sbatch={"hold": True})
    ask("scontrol", "update", f"jobid={sent.submission.handle}", "comment=cost centre | 7")
    assert LAUNCHER.find([sent.doubt()]) == {sent.batch.name: sent.submission}


def test_a_client_that_is_killed_while_sbatch_runs_leaves_a_job_that_is_found(send, tmp_path):
    """sbatch is held up until its client is dead; the next client waits for it, and finds what it submitted."""
    sent = send(submit=False, sbatch={"hold": True})
    programs = tmp_path / "bin"
    programs.mkdir()
    hold_up = f"touch {tmp_path}/started; until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    (programs / "sbatch").write_text(f'#!/bin/bash\n{hold_up}\nexec {shutil.which("sbatch")} "$@"\n')
    (programs / "sbatch").chmod(0o755)
    client = (
        "import sys; from pathlib import Path; from launchers.checked import parse_json;"
        "from launchers.batch import Batch; from launchers.slurm.backend import SlurmLauncher as L;"
        "b = parse_json(Batch, Path(sys.argv[1], 'batch.json').read_bytes(), source='b');"
        "list(L().submit([L().render(b)]))"
    )
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    with subprocess.Popen([sys.executable, "-c", client, sent.batch.folder], env=environment) as process:
        until((tmp_path / "started").exists, True)
        process.kill()
    with ThreadPoolExecutor() as others:
        answer = others.submit(LAUNCHER.find, [sent.doubt()])
        with pytest.raises(TimeoutError):
            answer.result(timeout=0.5)
        (tmp_path / "go").touch()
        sent.submission = answer.result(timeout=300)[sent.batch.name]
    assert sent.submission.tasks == 1
    assert sent.status().state is TaskState.QUEUED


# --- cancel -------------------------------------------------------------------------------------------


def test_one_task_is_cancelled_and_the_others_run_on(send):
    sent = send(ranks=WAIT, tasks=3)
    until(lambda: [sent.status(i).state for i in range(3)], [TaskState.RUNNING] * 3)
    LAUNCHER.cancel([(sent.submission, [1])])
    status = ended(sent, 1)
    assert status.ended is Ended.CANCELLED
    assert [sent.status(i).state for i in (0, 2)] == [TaskState.RUNNING] * 2
    sent.go()
    assert [ended(sent, i).ended for i in (0, 2)] == [Ended.COMPLETED] * 2
    LAUNCHER.cancel([(sent.submission, None), (replace(sent.submission, handle="999999"), [0])])


def test_tasks_that_wait_are_cancelled_too_and_the_others_wait_on(send):
    sent = send(sbatch={"hold": True}, tasks=3)
    LAUNCHER.cancel([(sent.submission, [0, 2])])
    until(lambda: [sent.status(i).state for i in range(3)], [TaskState.ENDED, TaskState.QUEUED, TaskState.ENDED])


@pytest.mark.parametrize("spawner", [Spawner.SRUN, Spawner.MPIRUN])
def test_a_cancelled_task_is_closed_and_not_brought_back_although_its_closing_asks_for_that(send, spawner):
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    sent = send(ranks=f"trap 'exit 9' TERM; {WAIT}", closing=f"exit {RUN_AGAIN}", spawner=spawner, environment=root)
    until(sent.notes, ["ranks 0"])
    LAUNCHER.cancel([(sent.submission, None)])
    assert ended(sent).ended is Ended.CANCELLED
    assert [note.split()[:2] for note in sent.notes()] == [["ranks", "0"], ["closing", "0"]]


# --- the end of a job ---------------------------------------------------------------------------------


def test_a_good_end_has_no_closing(send):
    sent = send(tasks=2)
    assert [ended(sent, i).ended for i in (0, 1)] == [Ended.COMPLETED] * 2
    assert [sent.notes(i) for i in (0, 1)] == [["ranks 0"]] * 2


def test_a_bad_end_is_closed_once_with_the_ranks_code_which_stays_the_jobs(send):
    sent = send(ranks="exit 3")
    assert ended(sent).ended is Ended.FAILED
    assert sent.notes() == ["ranks 0", "closing 0 3"]


def test_a_rank_that_is_killed_is_told_as_a_signal(send):
    sent = send(ranks="kill -9 $$")
    assert ended(sent).ended is Ended.FAILED
    assert sent.notes() == ["ranks 0", "closing 0 137"]


def test_a_closing_that_asks_for_it_has_the_same_task_started_again_until_it_no_longer_asks(send):
    sent = send(ranks="exit 3", closing=f'[ "$start" = 1 ] || exit {RUN_AGAIN}', tasks=2)
    first = sent.submission.handle
    for index in (0, 1):
        until(lambda index=index: sent.notes(index), ["ranks 0", "closing 0 3", "ranks 1", "closing 1 3"])
        assert ended(sent, index).ended is Ended.FAILED
    (output,) = Path(sent.batch.folder, "logs").glob(f"{first}_0_0_log.out")
    # Both starts, one file: the second does not wipe out what the first said.
    left = [int(line.split()[-1]) for line in output.read_text().splitlines() if line.startswith("seconds left")]
    assert len(left) == 2
    assert all(55 * 60 < seconds <= 60 * 60 for seconds in left)


def test_a_site_that_forbids_it_gets_no_second_start(send):
    sent = send(ranks="exit 3", closing=f"exit {RUN_AGAIN}", requeue=False)
    assert ended(sent).ended is Ended.FAILED
    assert sent.notes() == ["ranks 0", "closing 0 3"]


# --- a cluster with a database, and a controller that goes away ---------------------------------------


@pytest.fixture
def send_accounted(cluster_with_database, tmp_path, monkeypatch):
    """Submit a batch to a cluster that has a database and soon forgets ended jobs."""
    monkeypatch.setenv("SLURM_CONF", cluster_with_database.environment["SLURM_CONF"])
    yield from sender(tmp_path)


def forgotten(sent):
    """Wait until squeue no longer knows a batch."""
    command = ["squeue", "--noheader", "--states=all", f"--jobs={sent.submission.handle},1", "--format=%F"]
    until(lambda: sent.submission.handle in subprocess.run(command, capture_output=True, text=True).stdout, False)


def test_how_a_job_ended_that_squeue_has_forgotten_is_told_by_sacct(send_accounted):
    failed = send_accounted(ranks="exit 3", closing=f'[ "$start" = 1 ] || exit {RUN_AGAIN}')
    good = send_accounted(tasks=2)
    waiting = send_accounted(sbatch={"hold": True}, tasks=3)
    LAUNCHER.cancel([(waiting.submission, [1])])
    LAUNCHER.cancel([(waiting.submission, None)])
    until(failed.notes, ["ranks 0", "closing 0 3", "ranks 1", "closing 1 3"])
    for sent in (failed, good, waiting):
        forgotten(sent)
    # The last run of a task that ran twice.
    until(lambda: failed.status().ended, Ended.FAILED)
    assert failed.status().hosts.startswith("vector0")
    until(lambda: [good.status(i).ended for i in (0, 1)], [Ended.COMPLETED] * 2)
    # Tasks that never started share one row, those that were cancelled one by one have none.
    until(lambda: [waiting.status(i).ended for i in range(3)], [Ended.CANCELLED] * 3)
    assert LAUNCHER.find([good.doubt(), failed.doubt()]) == {
        good.batch.name: good.submission,
        failed.batch.name: failed.submission,
    }


def test_a_user_with_as_many_jobs_as_they_may_have_meets_a_limit(send_accounted):
    send_accounted(sbatch={"hold": True}, tasks=2, qos="two")
    with pytest.raises(SubmitError, match="QOSMaxSubmitJobPerUserLimit") as error:
        send_accounted(sbatch={"hold": True}, qos="two")
    assert error.value.problem is SubmitProblem.LIMIT
    with pytest.raises(SubmitError, match="Invalid qos") as error:
        send_accounted(qos="nobody")
    assert error.value.problem is SubmitProblem.REFUSED


def test_while_the_controller_is_away_nothing_is_known_and_nothing_is_lost(
    cluster_with_database, send_accounted, tmp_path, monkeypatch
):
    sent = send_accounted(ranks=WAIT)
    until(sent.notes, ["ranks 0"])
    # The same cluster for less patient programs: by default each takes 19 s to give up.
    conf = tmp_path / "slurm.conf"
    conf.write_text(f"{Path(os.environ['SLURM_CONF']).read_text()}MessageTimeout=2\n")
    monkeypatch.setenv("SLURM_CONF", str(conf))
    cluster_with_database.call("controller-stop")
    try:
        status = sent.status()
        assert (status.state, status.ended) == (TaskState.UNKNOWN, None)
        assert "controller" in status.detail
        assert LAUNCHER.find([sent.doubt()]) == {}
        with pytest.raises(SubmitError) as error:
            list(LAUNCHER.submit([sent.rendered]))
        assert error.value.problem is SubmitProblem.BUSY
    finally:
        cluster_with_database.call("controller-start")
    until(lambda: sent.status().state, TaskState.RUNNING)
    sent.go()
    assert ended(sent).ended is Ended.COMPLETED
