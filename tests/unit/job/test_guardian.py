"""The rank's second thread, without a trainer: in processes of their own, since signals and exits are a process's."""

import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from launchers.checked import parse_json
from tests.conftest import ROOT, wait_for
from vit_sweep.job.guardian import Guardian, stop_request_of
from vit_sweep.job.host_memory import limit_mib, resident_mib
from vit_sweep.job.rank_log import RankLog, now
from vit_sweep.outcome.ending import Cause, HostMemory, RankEnd, RankFile

FILE = RankFile(rank=1, world_size=2, host="node7", pid=1, job_id="17_0", started_at="2026-01-01T00:00:00+00:00")

CHILD = """
import signal, sys, time
from pathlib import Path
from vit_sweep.job import guardian as g
from vit_sweep.outcome.ending import RankFile
from vit_sweep.job.rank_log import RankLog

g._TICK_S = 0.02
g.block_signals()
log = RankLog(Path(sys.argv[1]), RankFile(rank=1, world_size=2, host="node7", pid=1, job_id="17_0", started_at=""))
log.begin()
guardian = g.Guardian(log)
asked = []
def ready():
    guardian.start()
    print("ready", flush=True)
"""


@pytest.fixture
def child(tmp_path):
    """Start a process with a guardian, which has said that it is ready; none is left behind."""
    started = []

    def start(text):
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", CHILD + text, str(tmp_path)],
                cwd=ROOT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        assert started[0].stdout.readline() == "ready\n", started[0].stderr.read()
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process, code, stdin_text=None):
    out, err = process.communicate(stdin_text, timeout=300)
    assert process.returncode == code, out + err
    return out, err


def rank_file(folder):
    path = folder / "rank1.json"
    return parse_json(RankFile, path.read_bytes(), source=str(path))


@pytest.mark.parametrize(
    ("number", "left_s", "cause"),
    [
        (signal.SIGUSR2, None, Cause.PREEMPTED),
        (signal.SIGUSR2, 201, Cause.PREEMPTED),
        (signal.SIGUSR2, 199, Cause.TIME_LIMIT),
        (signal.SIGUSR2, -30, Cause.TIME_LIMIT),
        (signal.SIGTERM, None, Cause.TERMINATED),
        (signal.SIGTERM, 61, Cause.TERMINATED),
        (signal.SIGTERM, 59, Cause.TIME_LIMIT),
        (signal.SIGTERM, -30, Cause.TIME_LIMIT),
    ],
)
def test_a_signal_means_the_time_limit_only_near_it(number, left_s, cause):
    request = stop_request_of(number, at=1000.0, ends=None if left_s is None else 1000.0 + left_s)
    assert (request.cause, request.signal) == (cause, number.name)
    assert number.name in request.message


def test_term_without_a_trainer_is_said_and_ends_the_process(child, tmp_path):
    process = child("ready(); time.sleep(60)")
    process.terminate()
    ended(process, 1)
    end = rank_file(tmp_path).end
    assert (end.cause, end.signal) == (Cause.TERMINATED, "SIGTERM")


def test_a_signal_that_the_launchers_script_ignores_is_heard_all_the_same(child, tmp_path):
    process = child("signal.signal(signal.SIGTERM, signal.SIG_IGN); g.block_signals(); ready(); time.sleep(60)")
    process.terminate()
    ended(process, 1)
    assert rank_file(tmp_path).end.cause is Cause.TERMINATED


def test_signals_are_taken_while_the_main_thread_never_runs_python(child, tmp_path):
    text = "import hashlib; ready(); hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)"
    process = child(text)
    process.terminate()
    ended(process, 1)
    assert rank_file(tmp_path).end.cause is Cause.TERMINATED


def test_the_end_is_said_before_the_trainer_has_stopped_and_a_second_signal_changes_nothing(child, tmp_path):
    text = """
def ask(word):
    asked.append(word)
    print(word.signal, Path(sys.argv[1], "rank1.json").read_text().count("SIGUSR2") > 0, flush=True)
guardian.stop_by(ask)
guardian.beat("training", 3, 17)
ready()
sys.stdin.readline()
while signal.sigpending():
    time.sleep(0.01)
print(len(asked))
"""
    process = child(text)
    process.send_signal(signal.SIGUSR2)
    assert process.stdout.readline() == "SIGUSR2 True\n"
    first = (tmp_path / "rank1.json").read_text()
    process.send_signal(signal.SIGUSR2)
    assert ended(process, 0, "\n")[0] == "1\n"
    assert (tmp_path / "rank1.json").read_text() == first
    end = rank_file(tmp_path).end
    assert (end.cause, end.epoch, end.step) == (Cause.PREEMPTED, 3, 17)


def test_a_warning_that_comes_together_with_term_says_that_it_is_a_preemption(child, tmp_path):
    text = """
guardian.stop_by(asked.append)
signal.raise_signal(signal.SIGUSR2)
guardian._signalled(signal.SIGTERM)  # taken first
print("ready", flush=True)
"""
    ended(child(text), 0)
    end = rank_file(tmp_path).end
    assert (end.cause, end.signal) == (Cause.PREEMPTED, "SIGUSR2")


def test_whoever_was_told_before_the_trainer_was_there_is_asked_when_it_is(child, tmp_path):
    text = """
ready()
while guardian.stop_request is None:
    time.sleep(0.01)
guardian.stop_by(asked.append)
print(asked[0].signal, flush=True)
"""
    process = child(text)
    process.send_signal(signal.SIGUSR2)
    out, _ = ended(process, 0)
    assert out == "SIGUSR2\n"


def test_a_stop_that_takes_too_long_ends_the_process(child, tmp_path):
    process = child("g.TERM_GRACE_S = 0.1; guardian.stop_by(asked.append); ready(); time.sleep(60)")
    process.terminate()
    ended(process, 1)
    assert rank_file(tmp_path).end.message.endswith("it could not stop in good order in time")


def test_a_standstill_ends_the_process_with_place_and_stacks(child, tmp_path):
    text = """
guardian.watch(hang_minutes=0.5 / 60)
ready()
guardian.beat("training", 3, 17)
def here_it_stands():
    time.sleep(60)
here_it_stands()
"""
    _, err = ended(child(text), 1)
    end = rank_file(tmp_path).end
    assert (end.cause, end.epoch, end.step) == (Cause.HANG, 3, 17)
    assert end.message == "no progress for 0.00833333 min in training, epoch 3, step 17 (rank 1 on node7)"
    assert "here_it_stands" in err


def test_progress_is_no_standstill_and_neither_is_a_start(tmp_path, monkeypatch):
    def leave():
        raise SystemExit

    monkeypatch.setattr("vit_sweep.job.guardian._leave", leave)
    # The real one would end the tests' own process, half a minute later, whatever test it then runs.
    armed = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda seconds, **how: armed.append(how))
    guardian = Guardian(log := RankLog(tmp_path, FILE))
    log.begin()
    guardian.watch(hang_minutes=1)
    guardian._count_silence(61)  # a start, which has no steps to show
    for step in range(3):
        guardian.beat("training", 1, step)
        for _ in range(2):
            guardian._count_silence(59)
    assert (rank_file(tmp_path).end, armed) == (None, [])
    with pytest.raises(SystemExit):
        guardian._count_silence(2)
    assert rank_file(tmp_path).end.cause is Cause.HANG
    assert armed == [{"exit": True}], "where the file system hangs, the last write would wait for ever"


def test_a_process_that_was_stopped_itself_did_not_hang(child, tmp_path):
    """Its clock runs a million times as fast, so that any stop is longer than it may stand still."""
    text = """
from types import SimpleNamespace
g.time = SimpleNamespace(monotonic=lambda: 1e6 * time.monotonic(), time=time.time, process_time=time.process_time)
guardian.watch(hang_minutes=5)
ready()
step = 0
file = Path(sys.argv[1], "rank1.json")
while '"end": null' in file.read_text():  # the word comes first, the file after it
    step += 1
    guardian.beat("training", 1, step)
    time.sleep(0.2)
"""
    process = child(text)
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    process.send_signal(signal.SIGUSR2)  # waits until it goes on
    process.send_signal(signal.SIGCONT)
    ended(process, 0)
    assert rank_file(tmp_path).end.cause is Cause.PREEMPTED


@pytest.mark.parametrize("until_stopped", ["pass", "while not select.select([sys.stdin], [], [], 0)[0]: pass"])
def test_time_in_which_the_process_was_stopped_is_known_and_a_busy_one_was_not_stopped(child, until_stopped):
    """Whether it waited or computed until then."""
    text = f"""
import select
g._STANDSTILL_S = 0.1
ready()
7 ** 3_000_000  # holds the interpreter's lock for longer than that
print(guardian.stopped_s(), flush=True)
{until_stopped}
sys.stdin.readline()
print(guardian.stopped_s(), flush=True)
"""
    process = child(text)
    assert float(process.stdout.readline()) == 0
    time.sleep(0.07)  # some ticks, and half of one, in which it waits or computes
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    begun = time.monotonic()
    time.sleep(0.2)
    stopped_s = time.monotonic() - begun
    process.send_signal(signal.SIGCONT)
    time.sleep(0.2)  # so that it is the guardian who looks first
    process.stdin.write("\n")
    process.stdin.flush()
    tick_s = 0.02  # the child's; it stopped somewhere between two of them
    assert float(process.stdout.readline()) >= stopped_s - tick_s
    ended(process, 0)


@pytest.mark.parametrize(("cpu_s", "stopped"), [(0.1, True), (30.0, False)])
def test_a_process_that_was_frozen_without_a_signal_was_stopped(tmp_path, monkeypatch, cpu_s, stopped):
    """By the freezer of its cgroup, say, or with its whole machine."""
    clock = SimpleNamespace(monotonic=lambda: 0.0, process_time=lambda: 0.0)
    monkeypatch.setattr("vit_sweep.job.guardian.time", clock)
    watching = Guardian(RankLog(tmp_path, FILE))
    clock.monotonic, clock.process_time = lambda: 60.0, lambda: cpu_s
    assert (watching.stopped_s() > 55) == stopped


@pytest.mark.parametrize(("share", "noted"), [(0.5, False), (2.0, True)])
def test_memory_near_the_limit_is_noted_while_it_can_be(tmp_path, share, noted):
    log = RankLog(tmp_path, FILE)
    log.begin()
    limit = resident_mib() / share
    guardian = Guardian(log, memory_limit_mib=limit)
    guardian._look_at_memory()
    near_limit = rank_file(tmp_path).near_limit
    assert (near_limit is not None) == noted
    if near_limit is not None:
        assert near_limit.limit_mib == pytest.approx(limit, abs=0.1)
        before = (tmp_path / "rank1.json").stat().st_mtime_ns
        guardian._look_at_memory()
        assert (tmp_path / "rank1.json").stat().st_mtime_ns == before, "written again without need"


# --- the file -------------------------------------------------------------------------------------------


def end_of(cause, message=""):
    return RankEnd(at=now(), cause=cause, message=message)


def test_no_field_is_lost_when_two_threads_write(tmp_path):
    log = RankLog(tmp_path, FILE)
    log.begin()
    threads = [
        threading.Thread(target=lambda: [log.near_limit(HostMemory(resident_mib=i, limit_mib=9.0)) for i in range(50)]),
        threading.Thread(target=lambda: [log.end(end_of(Cause.HANG, str(i))) for i in range(50)]),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file = rank_file(tmp_path)
    assert (file.near_limit.resident_mib, file.end.message) == (49.0, "49")


def test_nothing_comes_after_the_last_word(tmp_path):
    log = RankLog(tmp_path, FILE)
    log.begin()
    log.end(end_of(Cause.TERMINATED))
    log.end(end_of(Cause.DONE), last=True)
    log.end(end_of(Cause.HANG))
    log.near_limit(HostMemory(resident_mib=1.0, limit_mib=1.0))
    assert rank_file(tmp_path).end.cause is Cause.DONE
    assert rank_file(tmp_path).near_limit is None
    assert [path.name for path in tmp_path.iterdir()] == ["rank1.json"]


def test_on_a_full_disk_the_reserve_is_given_up_for_the_end(tmp_path, monkeypatch):
    from vit_sweep.job import rank_log

    log = RankLog(tmp_path, FILE)
    log.begin()
    reserve = tmp_path / ".reserve-rank1"
    assert reserve.stat().st_size == 64 * 1024

    def write(path, text):
        if reserve.exists():
            raise OSError(28, "No space left on device")
        path.write_text(text)

    monkeypatch.setattr(rank_log, "write", write)
    log.near_limit(HostMemory(resident_mib=1.0, limit_mib=1.0))
    assert reserve.exists(), "a note is not worth the reserve"
    log.end(end_of(Cause.STORAGE), last=True)
    assert rank_file(tmp_path).end.cause is Cause.STORAGE


def test_an_end_that_cannot_be_written_is_said_on_stderr(tmp_path, monkeypatch, capsys):
    from vit_sweep.job import rank_log

    log = RankLog(tmp_path, FILE)
    log.begin()

    def never(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rank_log, "write", never)
    log.end(end_of(Cause.STORAGE, "the disk is full"), last=True)
    message = capsys.readouterr().err
    assert "rank1.json cannot be written" in message
    assert "the disk is full" in message


# --- the limit ------------------------------------------------------------------------------------------


def group(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_the_smallest_limit_counts_and_is_shared_by_the_ranks_of_the_node(tmp_path):
    group(tmp_path / "slurm/job_1", "memory.max", f"{4000 * 2**20}\n")
    group(tmp_path / "slurm/job_1/step_0", "memory.max", "max\n")
    membership = "0::/slurm/job_1/step_0\n"
    assert limit_mib({}, local_world_size=4, membership=membership, cgroups=tmp_path) == 1000
    variables = {"SLURM_MEM_PER_NODE": "2000"}
    assert limit_mib(variables, local_world_size=4, membership=membership, cgroups=tmp_path) == 500
    variables = {"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "16"}
    assert limit_mib(variables, local_world_size=4, membership=membership, cgroups=tmp_path) == 400


def test_the_older_cgroups_are_read_too(tmp_path):
    group(tmp_path / "memory/a", "memory.limit_in_bytes", f"{300 * 2**20}\n")
    group(tmp_path / "memory", "memory.limit_in_bytes", "9223372036854771712\n")
    membership = "5:cpu,cpuacct:/a\n4:memory:/a\n"
    assert limit_mib({}, local_world_size=1, membership=membership, cgroups=tmp_path) == 300


@pytest.mark.parametrize(
    "environ", [{}, {"SLURM_MEM_PER_NODE": "0"}, {"SLURM_MEM_PER_CPU": "7"}, {"SLURM_MEM_PER_NODE": "1G"}], ids=str
)
def test_without_a_limit_there_is_none(tmp_path, environ):
    assert limit_mib(environ, local_world_size=2, membership="0::/nowhere\n", cgroups=tmp_path) is None


def test_a_start_that_waits_without_end_is_ended_and_named_and_no_hang(child, tmp_path):
    """The main thread is where no Python runs, as in a library that connects."""
    text = """
import hashlib
g.WAIT_S = 0.1
ready()
guardian.starting("waiting for the connections between all 2 ranks (gloo)")
hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)"""
    ended(child(text), 1)
    file = rank_file(tmp_path)
    assert file.doing == "waiting for the connections between all 2 ranks (gloo)"
    assert file.end.cause is Cause.COMMUNICATION
    assert file.end.message == f"rank 1 on node7 was {file.doing} for 0.1 s"


def test_a_rank_that_starts_gives_signs_of_life_and_one_that_trains_does_not(tmp_path):
    log = RankLog(tmp_path, FILE)
    log.begin()
    guardian = Guardian(log)
    path = tmp_path / "rank1.json"

    def is_touched():
        os.utime(path, ns=(1, 1))
        guardian._give_sign(1000)
        return path.stat().st_mtime_ns != 1

    assert is_touched()
    guardian.starting("copying")
    assert is_touched()
    guardian.beat("training", 1, 0)
    assert not is_touched()
