"""A hostfile partition for real: mpirun over ssh to two hosts with names of their own, both on this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from socket import create_server

import psutil
import pytest
import yaml

from launchers.batch import Batch, Shape, Task
from launchers.checked import parse
from launchers.hostfile.backend import HostfileLauncher
from launchers.profile import PartitionProfile
from tests import conftest
from tests.conftest import ROOT, why_no_real_hosts
from tests.e2e.conftest import QUICK, records
from tests.unit.launchers.queue.queue_at import set_clock
from tests.unit.launchers.queue.queue_probe import notes
from tests.warm import clean_environment

pytestmark = pytest.mark.train

HOSTS = ROOT / "tests" / "e2e" / "hosts.sh"
RANKS = ROOT / "tests" / "slurm" / "ranks"


def trivial(acts="", before=""):
    """Words after which ranks do not train but do as `acts` says (tests/slurm/ranks): all else is the real thing."""
    path = f"{before}{RANKS}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return [
        "++partition.python=trivial",
        f"++partition.environment.PATH='{path}'",
        f"++partition.environment.TRIVIAL_ACTS='{acts}'",
    ]


def impatient(folder):
    """A folder for PATH whose mpirun does not wait for ranks that it has told to end: it would, to the last second."""
    program = folder / "impatient" / "mpirun"
    program.parent.mkdir()
    # Of all its words, the seconds alone are "10".
    program.write_text(
        '#!/bin/bash\nfor word; do [ "$word" != 10 ] || word=1; words+=("$word"); done\n'
        f'exec {shutil.which("mpirun")} "${{words[@]}}"\n'
    )
    program.chmod(0o755)
    return program.parent


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """The words that choose the two hosts; their sshd are stopped whatever happens."""
    reason = why_no_real_hosts(("mpirun", "sshd", "ssh"), "Open MPI and sshd", os.environ["PATH"] + ":/usr/sbin")
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("ssh")
    try:
        subprocess.run([HOSTS, "start", folder, str(free_port())], check=True, timeout=300)
        yield ["partition=lab_hosts", f"partition.remote_shell='ssh -F {folder}/ssh_config'", "gpus=2", "nodes=2"]
    finally:
        subprocess.run([HOSTS, "stop", folder], timeout=300)


def free_port():
    """The first of two that nobody has, below those where ranks meet."""
    for port in range(12000 + os.getpid() % 1000 * 2, 15000, 2):
        with suppress(OSError), create_server(("127.0.0.1", port)), create_server(("127.0.0.1", port + 1)):
            return port
    return pytest.fail("no free ports from 12000 to 15000")


def ranks_of(study):
    """Living rank processes of a study, by rank."""
    ranks = {}
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "vit_sweep.job.task" in words and any(str(study) in argument for argument in words):
            ranks[int(process.environ()["OMPI_COMM_WORLD_RANK"])] = process
    return ranks


# For as long as imports may take on a busy machine.
wait_for = partial(conftest.wait_for, interval_s=0.2)


def states_of(study):
    """What the queue wrote of the only batch."""
    (states,) = (json.loads(path.read_text()) for path in study.glob("jobs/*/states.json"))
    return states


def logs_of(study):
    """What its queue and mpirun said, for a wait in vain."""
    return "\n".join(path.read_text() for path in study.glob("jobs/*/*.log"))


def settled(study):
    """The same once its queue has ended all tasks: the record, which a client waits for, comes before that."""
    wait_for(lambda: all(task["state"] == "ended" for task in states_of(study).values()))
    return states_of(study)


def hosts_of_ranks(cell_dir):
    """Where each rank says that it ran, in their order."""
    return [json.loads(path.read_text())["host"] for path in sorted(cell_dir.glob("attempts/1/rank*.json"))]


def training(study):
    return any('"training"' in path.read_text() for path in study.glob("cells/*/attempts/*/progress.json"))


def test_the_record_says_which_rank_ran_on_which_host(sweep, hosts, study):
    completed = sweep(*QUICK, *hosts)
    assert completed.returncode == 0, completed.stdout + completed.stderr + logs_of(study)
    (record,) = records(study).values()
    assert [(r["rank"], r["host"], r["local_rank"]) for r in record["ranks"]] == [(0, "hosta", 0), (1, "hostb", 0)]
    assert record["resolved"]["hosts"] == ["hosta", "hostb"]
    assert record["job_id"].startswith("hostfile-")
    assert settled(study) == {"0": {"state": "ended", "detail": "", "ended": "completed", "hosts": "hosta hostb"}}


def test_a_curve_in_one_allocation_has_its_baseline_on_the_first_host_and_counts_the_one_that_waits(
    sweep, hosts, study
):
    completed = sweep("-m", *QUICK, *hosts[:2], *trivial(), "gpus=1,2", "placement=spread", "allocation=shared")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    ran = {record["requested"]["gpus"]: record for record in records(study).values()}
    assert {record["allocated_gpus"] for record in ran.values()} == {2}
    hosts_of = {gpus: hosts_of_ranks(study / "cells" / record["cell_id"]) for gpus, record in ran.items()}
    assert hosts_of == {1: ["hosta"], 2: ["hosta", "hostb"]}
    assert {task["ended"] for task in settled(study).values()} == {"completed"}


def test_a_rank_that_dies_is_started_again_once_and_then_ends_the_task_and_is_named(sweep, hosts, study):
    assert sweep(*QUICK, *hosts, *trivial("g2=hold"), "wait=false").returncode == 0
    for attempt in ("1", "1.1"):
        folder = next(study.glob("cells/*")) / "attempts" / attempt
        files = [folder / "progress.json", rank := folder / "rank1.json"]
        wait_for(lambda files=files: all(file.exists() for file in files), what=lambda: logs_of(study))
        os.kill(json.loads(rank.read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: states_of(study)["0"]["state"] == "ended")
    assert states_of(study)["0"]["detail"] == "rank 1 died of signal SIGKILL"
    assert not ranks_of(study)
    assert "rank 1" in " ".join(sweep("status", "outputs/s").stdout.split())


def test_cancel_ends_the_ranks_on_every_host(sweep, hosts, study, tmp_path):
    words = trivial("g2=hold", before=f"{impatient(tmp_path)}:")
    assert sweep(*QUICK, *hosts, *words, "wait=false").returncode == 0
    wait_for(lambda: training(study))
    assert sorted(ranks_of(study)) == [0, 1]
    assert sweep("cancel", "outputs/s").returncode == 0
    wait_for(lambda: not ranks_of(study))
    cancelled = {"state": "ended", "detail": "cancelled", "ended": "cancelled", "hosts": "hosta hostb"}
    assert states_of(study)["0"] == cancelled


def test_ranks_on_every_host_are_warned_and_then_told_to_end_and_all_of_them_finish_writing(hosts, tmp_path):
    folder = probe_batch(hosts, tmp_path, "wait")
    environment = clean_environment() | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    queue = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.launchers.queue.queue_at", "launchers.hostfile.queue", folder],
        cwd=ROOT,
        env=environment,
    )
    try:
        for count, seconds in ((2, 31), (4, 61)):
            wait_for(lambda count=count: len(notes(folder)) == count)
            set_clock(folder, seconds)
        assert queue.wait(timeout=300) == 0
    finally:
        queue.kill()
        queue.wait()
    heard = [note["what"] for note in notes(folder)]
    assert heard[:4] == ["begun"] * 2 + ["SIGUSR2"] * 2
    assert sorted(heard[4:8]) == ["SIGTERM"] * 2 + ["ended"] * 2, "each hears it once, and none is cut short"
    assert heard[8:] == ["closing"]
    assert {note["VIT_SWEEP_JOB_ENDS"] for note in notes(folder) if note["what"] == "begun"} != {None}
    (closing,) = [note for note in notes(folder) if note["what"] == "closing"]
    assert (closing["code"], closing["RANK"]) == (1, None)
    status = json.loads((folder / "states.json").read_text())["0"]
    assert (status["ended"], status["detail"]) == ("time_limit", "its time limit of 1 min was over")


def test_ranks_on_every_host_end_when_the_queue_is_killed(hosts, tmp_path):
    folder = probe_batch(hosts, tmp_path, "wait")
    environment = clean_environment() | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    queue = subprocess.Popen([sys.executable, "-m", "launchers.hostfile.queue", folder], cwd=ROOT, env=environment)
    try:
        wait_for(lambda: len(notes(folder)) == 2)
    finally:
        queue.kill()
        queue.wait()
    wait_for(lambda: not [note["pid"] for note in notes(folder)[:2] if psutil.pid_exists(note["pid"])])
    assert [note["what"] for note in notes(folder)].count("SIGTERM") == 2


def probe_batch(hosts, folder, order):
    """Write a batch of one task with a rank on each host, each of which does as `order` says."""
    site = yaml.safe_load((ROOT / "tests/conf/partition/lab_hosts.yaml").read_text())
    site["remote_shell"] = hosts[1].split("=", 1)[1].strip("'")
    site["environment"]["PYTHONPATH"] = str(ROOT)
    this_batch = Batch(
        study="s",
        study_dir=str(folder),
        profile=parse(PartitionProfile, site, source="lab_hosts"),
        shape=Shape(nodes=2, gpus_per_node=1, minutes=1),
        tasks=(Task(name="c", attempt=1),),
        module="tests.unit.launchers.queue.queue_probe",
        closing="tests.unit.launchers.queue.queue_probe",
    )
    (batch := Path(this_batch.folder)).mkdir(parents=True)
    (batch / "orders.json").write_text(json.dumps({"0": order}))
    for name, text in HostfileLauncher().render(this_batch).files.items():
        (batch / name).write_text(text)
    return batch


def test_a_host_that_does_not_answer_is_said_in_its_own_words(sweep, hosts, study):
    nowhere = "partition.remote_shell='ssh -o BatchMode=yes -o ConnectTimeout=2 -o Port=19999'"
    completed = sweep(*QUICK, *hosts, nowhere)
    assert completed.returncode == 1
    assert "mpirun ended with code" in states_of(study)["0"]["detail"]
    assert "ssh: " in states_of(study)["0"]["detail"]
