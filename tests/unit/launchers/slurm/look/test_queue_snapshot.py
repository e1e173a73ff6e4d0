"""A look at the queue never fails, never waits long, is shared, and says in a sentence why it saw nothing."""

import time
from pathlib import Path

import pytest

from launchers.queue_snapshot import QueueSnapshot
from launchers.slurm import squeue_cache
from launchers.slurm.look import queue_snapshot
from launchers.slurm.look.queue_snapshot import blind, look
from tests.unit.builders import put_programs

QUEUES = Path(__file__).parent / "queues"
SCONTROL = (
    f'case "$*" in *config*) cat {{config}};; *node*) cat {QUEUES}/nodes.txt;; *) cat {QUEUES}/reservations.txt;; esac'
)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for squeue and scontrol that note what they are asked; returns what changes them."""
    monkeypatch.setattr(squeue_cache, "places", lambda _: iter([tmp_path / "mine"]))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    note = f'echo "${{0##*/}} $* $SLURM_TIME_FORMAT $SLURM_BITSTR_LEN" >> {tmp_path}/calls'

    def put(squeue=f"cat {QUEUES}/jobs.txt", private="none", scheduler="sched/backfill", enforce="none", **others):
        config = tmp_path / "config.txt"
        settings = {"ClusterName": "lab", "PrivateData": private, "SchedulerType": scheduler}
        settings["AccountingStorageEnforce"] = enforce
        config.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        bodies = {"squeue": squeue, "scontrol": SCONTROL.format(config=config)} | others
        put_programs(tmp_path / "bin", **{name: f"{note}\n{body}" for name, body in bodies.items()})

    put()
    put.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    return put


def test_one_look_has_the_jobs_the_nodes_and_the_reservations(slurm):
    snapshot = look()
    assert isinstance(snapshot, QueueSnapshot)
    assert (len(snapshot.jobs), len(snapshot.nodes), len(snapshot.closed), snapshot.hidden) == (10, 5, 1, None)
    assert abs(time.time() - snapshot.at_s) < 60


SAID = 'case "$*" in *qos*) printf "Name|MaxJobsPU\\nnormal|2\\n";; *) echo "Cluster|Account";; esac'


def test_limits_are_asked_of_sacctmgr_where_slurm_enforces_them(slurm):
    assert look().limits == ()
    assert not any(call.startswith("sacctmgr") for call in slurm.calls())
    slurm(enforce="associations,limits,qos", sacctmgr=SAID)
    (limit,) = look("lab").limits
    assert (limit.qos, limit.default, limit.allows) == ("normal", True, "MaxJobsPU=2")
    assert not any("--clusters" in call for call in slurm.calls() if call.startswith("sacctmgr"))


def test_limits_are_not_known_where_sacctmgr_does_not_answer_and_the_queue_is_all_the_same(slurm):
    slurm(enforce="safe", sacctmgr="echo away >&2; exit 1")
    snapshot = look()
    assert (snapshot.limits, len(snapshot.jobs)) == (None, 10)


def test_a_limit_that_an_admin_has_changed_is_believed_for_ten_minutes(slurm, monkeypatch):
    slurm(enforce="limits", sacctmgr=SAID)
    look()
    slurm(enforce="limits", sacctmgr=SAID.replace("|2", "|9"))
    assert look().limits[0].allows == "MaxJobsPU=2"
    later = time.monotonic() + 600.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert look().limits[0].allows == "MaxJobsPU=9"


def test_it_asks_squeue_once_and_in_seconds_with_whole_lists(slurm):
    look()
    (squeue,) = [call for call in slurm.calls() if call.startswith("squeue")]
    assert squeue.endswith(" %s 0")
    assert "--all" in squeue


def test_a_second_client_asks_nothing(slurm):
    first, second = look(), look()
    assert len(slurm.calls()) == 4
    assert first.jobs == second.jobs
    assert second.at_s == pytest.approx(first.at_s, abs=0.1)


def test_what_was_asked_of_one_cluster_is_no_answer_for_another(slurm):
    look()
    look("west")
    assert sum("--clusters=west" in call for call in slurm.calls()) == 4


def test_of_several_clusters_nobody_knows_which_one_takes_it(slurm, tmp_path):
    assert "several clusters may take it (west,east)" in look("west,east")
    assert not (tmp_path / "calls").exists()


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look() == "no squeue and no scontrol on this machine"


def test_squeues_own_words_say_why_it_did_not_answer_and_nothing_more_is_asked(slurm):
    slurm(squeue="echo 'squeue: error: Unable to contact slurm controller' >&2; exit 1")
    assert look() == "squeue: error: Unable to contact slurm controller"
    assert len(slurm.calls()) == 2


def test_a_controller_that_is_back_is_asked_again_though_its_configuration_would_be_believed_for_an_hour(
    slurm, monkeypatch
):
    slurm(scontrol="echo 'scontrol: error: no controller' >&2; exit 1")
    assert look() == "scontrol: error: no controller"
    slurm()
    assert look() == "scontrol: error: no controller"
    monkeypatch.setattr(queue_snapshot, "QUEUE_AGE_S", 0.0)
    assert isinstance(look(), QueueSnapshot)


def test_a_program_that_hangs_is_waited_for_no_longer_than_the_patience(slurm, monkeypatch):
    monkeypatch.setattr(queue_snapshot, "PATIENCE_S", 0.3)
    slurm(squeue="sleep 600")
    assert "squeue did not answer within 0 s" in look()


def test_a_wrapped_squeue_is_named(slurm):
    slurm(squeue="echo Welcome")
    assert "'Welcome'" in look()
    assert "wrapped" in look()


def test_an_empty_queue_is_no_mistake(slurm):
    slurm(squeue="true")
    assert look().jobs == ()


def test_a_site_that_shows_no_nodes_says_so(slurm):
    slurm(private="nodes", scontrol="case $* in *config*) echo 'PrivateData = nodes';; esac")
    assert look() == "scontrol showed no node (PrivateData=nodes), so nobody can foresee anything"


def test_a_site_that_hides_the_jobs_of_others_is_said_with_what_is_seen(slurm, monkeypatch):
    monkeypatch.setattr(queue_snapshot.os, "geteuid", lambda: 1000)
    slurm(private="jobs,usage")
    assert look().hidden == "this site shows nobody the jobs of others (PrivateData=jobs,usage)"


def test_root_sees_all(slurm, monkeypatch):
    monkeypatch.setattr(queue_snapshot.os, "geteuid", lambda: 0)
    slurm(private="jobs,usage")
    assert look().hidden is None


def test_what_makes_a_site_blind_is_asked_of_its_configuration_alone(slurm, monkeypatch):
    assert blind() == ""
    slurm(scheduler="sched/builtin")
    assert blind() == "SchedulerType=sched/builtin plans no starts ahead"
    monkeypatch.setattr(queue_snapshot.os, "geteuid", lambda: 1000)
    slurm(private="all")
    assert "PrivateData=all" in blind()
    assert all("config" in call for call in slurm.calls())


def test_a_site_that_does_not_answer_says_so(slurm):
    slurm(scontrol="echo 'scontrol: error: no controller' >&2; exit 1")
    assert blind() == "scontrol: error: no controller"


def test_nothing_is_simulated_of_a_scheduler_that_does_not_plan_ahead(slurm):
    slurm(scheduler="sched/builtin")
    assert look() == "SchedulerType=sched/builtin plans no starts ahead"
