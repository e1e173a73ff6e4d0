"""The Slurm backend against programs that answer as Slurm's do: what it asks, and what it makes of no answer."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from launchers.backend import Ended, Submission, SubmitError, SubmitProblem, TaskState, Unconfirmed
from launchers.errors import UserError
from launchers.slurm import backend as slurm
from launchers.slurm import queries
from launchers.slurm.backend import SlurmLauncher
from launchers.slurm.handle import handle_of, of_answer
from launchers.submission_lock import under_way, wait_until_settled
from tests.conftest import wait_for
from tests.unit.builders import batch, profile, put_programs


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put shell scripts on PATH in place of Slurm's programs; each notes its words in `<program>.calls`."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))

    def install(**bodies):
        for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
            # Those of this machine must not answer in their place.
            body = bodies.get(name, "exit 1")
            put_programs(folder, **{name: f'echo "$*" >> {tmp_path}/{name}.calls\n{body}'})

    def calls(name):
        path = tmp_path / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    install.calls = calls
    return install


def sent(handle="17", tasks=2, name="wide"):
    return Submission(batch_name=name, folder=f"/studies/s/jobs/{name}", handle=handle, tasks=tasks)


NO_ACCOUNTING = "echo 'Slurm accounting storage is disabled' >&2; exit 1"


# --- states -------------------------------------------------------------------------------------------


def test_one_squeue_answers_for_all_and_sacct_is_not_asked_for_what_squeue_knows(programs):
    programs(squeue="printf '17|0|RUNNING|n1|None\\n17|1|PENDING||Priority\\n18|0|FAILED|n2|NonZeroExitCode\\n'")
    states = SlurmLauncher().states([sent(), sent("18", 1, "narrow")])
    assert {key: (s.state, s.hosts) for key, s in states.items()} == {
        ("wide", 0): (TaskState.RUNNING, "n1"),
        ("wide", 1): (TaskState.QUEUED, ""),
        ("narrow", 0): (TaskState.ENDED, "n2"),
    }
    (call,) = programs.calls("squeue")
    assert "--jobs=17,18" in call.split()
    assert programs.calls("sacct") == []


def test_digits_of_other_kinds_are_no_numbers(programs):
    """Python's `isdigit` holds for a power, which `int` refuses."""
    programs(
        squeue="printf '17|\u00b2|RUNNING|n1|None\n\u00b2|0|RUNNING|n1|None\n17|0|RUNNING|n1|None\n'",
        sacct=NO_ACCOUNTING,
    )
    assert SlurmLauncher().states([sent(tasks=1)])["wide", 0].state is TaskState.RUNNING
    assert [of_answer(text) for text in ("\u0661\u0667", "\u00b2", "1" * 21, "17")] == [None, None, None, "17"]


def alone(tmp_path):
    """A submission where a site has no arrays."""
    folder = tmp_path / "jobs" / "alone"
    folder.mkdir(parents=True)
    (folder / "batch.json").write_text('{"shared": false, "profile": {"max_array_size": 1}}')
    return Submission(batch_name="alone", folder=str(folder), handle="17", tasks=1)


@pytest.mark.parametrize(
    ("squeue", "sacct"),
    [("echo '17|N/A|FAILED|n1|NonZeroExitCode'", NO_ACCOUNTING), ("true", "echo '17|FAILED|n1'")],
)
def test_a_job_that_is_no_array_has_its_own_state_for_its_only_task(programs, tmp_path, squeue, sacct):
    programs(squeue=squeue, sacct=sacct)
    (status,) = (states := SlurmLauncher().states([alone(tmp_path)])).values()
    assert list(states) == [("alone", 0)]
    assert (status.ended, status.hosts) == (Ended.FAILED, "n1")


def test_a_job_that_is_no_array_is_cancelled_by_its_number_alone(programs, tmp_path):
    submission = alone(tmp_path)
    programs(scancel="true", squeue=listed(17, script=f"{submission.folder}/job.sbatch"))
    SlurmLauncher().cancel([(submission, [0])])
    assert programs.calls("scancel") == ["17"]


def test_one_sacct_answers_for_what_squeue_has_forgotten(programs):
    programs(squeue="echo '17|0|RUNNING|n1|None'", sacct="printf '17_0|PENDING|\\n17_1|TIMEOUT|n2\\n'")
    states = SlurmLauncher().states([sent(), sent("19", 1, "gone")])
    assert states["wide", 0].state is TaskState.RUNNING
    assert (states["wide", 1].ended, states["wide", 1].hosts) == (Ended.TIME_LIMIT, "n2")
    assert states["gone", 0].detail == "no longer known to squeue, and sacct has no row of it"
    (call,) = programs.calls("sacct")
    assert "--jobs=17,19" in call.split()


def test_a_single_array_that_squeue_does_not_know_is_no_failure(programs):
    programs(squeue="echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", sacct=NO_ACCOUNTING)
    states = SlurmLauncher().states([sent()])
    assert {s.ended for s in states.values()} == {Ended.UNREPORTED}
    assert {s.detail for s in states.values()} == {"no longer known to squeue"}


def test_how_earlier_starts_of_a_task_ended_is_what_sacct_remembers(programs):
    rows = ("17_0|REQUEUED|n1", "17_1|NODE_FAIL|n2", "17_0|PREEMPTED|n2", "17_1|RUNNING|n3", "17_0|RUNNING|n4")
    programs(sacct="\n".join(f"echo '{row}'" for row in rows))
    assert SlurmLauncher().earlier_starts(sent(), 0) == (Ended.REQUEUED, Ended.PREEMPTED)
    assert SlurmLauncher().earlier_starts(sent(), 1) == (Ended.NODE_FAILURE,)
    assert all("--duplicates" in call for call in programs.calls("sacct"))


def test_a_cluster_without_accounting_remembers_no_earlier_start(programs):
    programs(sacct=NO_ACCOUNTING)
    assert SlurmLauncher().earlier_starts(sent(), 0) == ()


def test_a_cluster_without_accounting_is_not_asked_twice(programs):
    programs(squeue="true", sacct=NO_ACCOUNTING)
    for _ in range(3):
        SlurmLauncher().states([sent()])
    assert len(programs.calls("sacct")) == 1


def test_a_database_that_is_away_is_asked_again_and_said(programs):
    words = "sacct: error: Problem talking to the database: Connection refused"
    programs(squeue="true", sacct=f"echo '{words}' >&2; exit 1")
    for _ in range(2):
        status = SlurmLauncher().states([sent()])["wide", 0]
    assert (status.state, status.ended) == (TaskState.ENDED, Ended.UNREPORTED)
    assert status.detail.endswith(f"sacct did not answer: {words}")
    assert len(programs.calls("sacct")) == 2


def test_without_an_answer_nothing_has_ended(programs):
    words = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    programs(squeue=f"echo '{words}' >&2; exit 1")
    states = SlurmLauncher().states([sent(), sent("18", 1, "narrow")])
    assert {(s.state, s.ended, s.detail) for s in states.values()} == {(TaskState.UNKNOWN, None, words)}
    assert len(states) == 3
    assert programs.calls("sacct") == []


def test_a_controller_that_never_answers_is_not_waited_for_for_ever(programs, monkeypatch):
    monkeypatch.setattr("launchers.slurm.programs.PATIENCE_S", 0.5)
    programs(squeue="exec sleep 600")
    status = SlurmLauncher().states([sent()])["wide", 0]
    assert (status.state, status.detail) == (TaskState.UNKNOWN, "squeue did not answer within 0 s")


def test_many_arrays_are_asked_for_in_stretches_and_none_after_a_failure(programs, tmp_path):
    programs(squeue=f"[ $(wc -l < {tmp_path}/squeue.calls) -lt 2 ]", sacct=NO_ACCOUNTING)
    states = SlurmLauncher().states([sent(str(n), 1, f"b{n}") for n in range(1, 1201)])
    assert [len(call.split("--jobs=")[1].split(",")) for call in programs.calls("squeue")] == [500, 500]
    assert states["b500", 0].state is TaskState.ENDED
    assert {states[f"b{n}", 0].state for n in range(501, 1201)} == {TaskState.UNKNOWN}


def test_a_machine_without_slurm_knows_nothing(programs, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert SlurmLauncher().states([sent()])["wide", 0].detail == "no squeue on this machine"
    assert SlurmLauncher().states([]) == {}


FEDERATION = """case " $* " in
 *" --clusters=west "*) printf 'CLUSTER: west\\n17|0|RUNNING|w1|None\\n' ;;
 *" --clusters=away "*) echo "squeue: error: 'away' can't be reached now, or it is an invalid entry" >&2; exit 1 ;;
 *) printf '17|0|FAILED|n1|NonZeroExitCode\\n17|1|COMPLETED|n1|None\\n' ;;
esac"""


def test_a_job_is_asked_for_on_its_own_cluster_and_one_that_is_away_says_nothing_of_the_others(programs):
    programs(squeue=FEDERATION, sacct="printf '17_1|TIMEOUT|w2\\n'")
    submissions = [sent("17;away", 1, "away"), sent("17"), sent("17;west", 2, "west")]
    states = SlurmLauncher().states(submissions)
    assert {key: (s.state, s.ended) for key, s in states.items()} == {
        ("away", 0): (TaskState.UNKNOWN, None),
        ("wide", 0): (TaskState.ENDED, Ended.FAILED),
        ("wide", 1): (TaskState.ENDED, Ended.COMPLETED),
        ("west", 0): (TaskState.RUNNING, None),
        ("west", 1): (TaskState.ENDED, Ended.TIME_LIMIT),
    }
    SlurmLauncher().earlier_starts(sent("17;west"), 1)
    assert len(programs.calls("sacct")) == 2
    assert all({"--clusters=west", "--jobs=17"} <= set(call.split()) for call in programs.calls("sacct"))


def test_a_job_that_runs_on_another_cluster_of_the_federation_has_its_state_there(programs):
    fed = "printf '17|0|REVOKED||None\\n17|0|RUNNING|w1|None\\n'"
    programs(squeue=f"case \"$*\" in *--federation*) {fed} ;; *) printf '17|0|REVOKED||None\\n' ;; esac")
    assert SlurmLauncher().states([sent(tasks=1)])["wide", 0].state is TaskState.RUNNING


GIVEN_UP = """case " $* " in
 *" --clusters=b "*) {b} ;;
 *SiblingsActive*) printf 'CLUSTER: a\\n17%8s{siblings}   \\n17%8s{siblings}   \\n' ;;
 *) printf '17|0|REVOKED||None\\n17|1|REVOKED||None\\n' ;;
esac"""


@pytest.mark.parametrize(
    ("siblings", "b", "state", "detail"),
    [
        ("b", "printf '17|0|RUNNING|w1|None\\n'", TaskState.RUNNING, "w1 (cluster a gave it up for its twin on b)"),
        (
            "a,b",
            "exit 1",
            TaskState.UNKNOWN,
            "cluster a gave it up for its twin on b, of which nothing is known here: ",
        ),
        ("NA", "printf '17|0|RUNNING|w1|None\\n'", TaskState.UNKNOWN, "Slurm says REVOKED"),
    ],
)
def test_a_job_that_its_named_cluster_gave_up_is_asked_for_where_its_twin_is(programs, siblings, b, state, detail):
    """What b alone knows is believed of the tasks that b lists; the other is not called ended."""
    programs(squeue=GIVEN_UP.format(b=b, siblings=siblings))
    states = SlurmLauncher().states([sent("17;a")])
    assert states["wide", 0].state is state
    assert states["wide", 0].detail.startswith(detail)
    assert states["wide", 1].state is TaskState.UNKNOWN
    assert len(programs.calls("squeue")) <= 3


@pytest.mark.parametrize(
    ("job", "state"),
    [
        ("/home/other/thesis.sh|/home/other|thesis", TaskState.ENDED),
        ("(null)|/moved/s|cost centre 7", TaskState.RUNNING),
        ("/sbin/wrapped|/studies/s|cost centre 7", TaskState.RUNNING),
        ("/moved/s/jobs/wide/job.sbatch|/moved/s|cost centre 7", TaskState.RUNNING),
        ("/tmp/copy.by.wrapper|/tmp|s/wide", TaskState.RUNNING),
        ("/home/other/jobs/wider/job.sbatch|/studies/s/t|s/wide2", TaskState.ENDED),
    ],
)
def test_a_number_that_slurm_has_given_to_another_job_says_nothing_of_ours(programs, job, state):
    """A controller that lost its state begins again at small numbers."""
    programs(squeue=f"echo '17|0|RUNNING|n1|None|its job|{job}'")
    status = SlurmLauncher().states([sent(tasks=1)])["wide", 0]
    assert status.state is state
    assert (state is TaskState.ENDED) == ("its number, 17, is another job's" in status.detail)


def test_two_batches_of_one_number_are_told_apart(programs):
    programs(squeue="echo '17|0|RUNNING|n1|None|its job|/studies/s/jobs/new/job.sbatch|/elsewhere|'")
    states = SlurmLauncher().states([sent(tasks=1), sent(tasks=1, name="new")])
    assert [states[name, 0].state for name in ("wide", "new")] == [TaskState.ENDED, TaskState.RUNNING]


@pytest.mark.parametrize("line", ["RUNNING 17_0 n1", "17;0;läuft;n1"])
def test_an_answer_in_another_form_is_no_end(programs, line):
    programs(squeue=f"echo '{line}'", sacct=NO_ACCOUNTING)
    status = SlurmLauncher().states([sent(tasks=1)])["wide", 0]
    assert status.state is TaskState.UNKNOWN
    assert line in status.detail


@pytest.fixture
def anothers(monkeypatch, tmp_path):
    """A batch that another user submitted."""
    folder = tmp_path / "s" / "jobs" / "wide"
    folder.mkdir(parents=True)
    with under_way(folder):
        pass
    queries._private_data.cache_clear()
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    return Submission(batch_name="wide", folder=str(folder), handle="17", tasks=1)


PRIVATE = "echo 'PrivateData             = accounts,jobs'"


@pytest.mark.parametrize(
    ("config", "state", "cluster"),
    [
        (PRIVATE, "unknown", ""),
        ("echo 'PrivateData = none'", "ended", ""),
        ("exit 1", "unknown", ""),
        (f"case $1 in --clusters=west) {PRIVATE} ;; *) echo 'PrivateData = none' ;; esac", "unknown", "west"),
    ],
)
def test_where_jobs_of_others_are_hidden_one_that_is_not_listed_may_be_there(
    programs, anothers, config, state, cluster
):
    anothers = replace(anothers, handle=handle_of("17", cluster))
    with under_way(Path(anothers.folder), clusters=cluster):
        pass
    programs(squeue="true", sacct=NO_ACCOUNTING, scontrol=config)
    assert SlurmLauncher().states([anothers])["wide", 0].state is TaskState(state)
    unconfirmed = Unconfirmed(batch_name="wide", folder=anothers.folder, study="s", tasks=1)
    assert SlurmLauncher().find([unconfirmed]) == ({} if state == "unknown" else {"wide": None})
    if state == "ended":
        SlurmLauncher().cancel([(anothers, None)])
    else:
        where = f"--clusters={cluster} " if cluster else ""
        with pytest.raises(UserError, match=rf"nothing was cancelled; .* can: scancel {where}17"):
            SlurmLauncher().cancel([(anothers, None)])


# --- find ---------------------------------------------------------------------------------------------


@pytest.fixture
def unconfirmed(tmp_path):
    """A batch whose submission was begun, and nobody knows how that ended."""
    folder = tmp_path / "studies" / "s" / "jobs" / "n1-g1-abc"
    folder.mkdir(parents=True)
    with under_way(folder):
        pass
    return Unconfirmed(batch_name="n1-g1-abc", folder=str(folder), study="s", tasks=3)


def study(unconfirmed):
    return Path(unconfirmed.folder).parent.parent


def test_a_job_is_found_by_its_folder_and_comment(programs, unconfirmed):
    programs(squeue=f"echo '21|(null)|{study(unconfirmed)}|s/n1-g1-abc'")
    assert SlurmLauncher().find([unconfirmed]) == {
        "n1-g1-abc": Submission(batch_name="n1-g1-abc", folder=unconfirmed.folder, handle="21", tasks=3)
    }


def test_a_job_is_found_by_its_script_where_the_site_rewrites_comments(programs, unconfirmed):
    programs(squeue=f"echo '22|{unconfirmed.folder}/job.sbatch|{study(unconfirmed)}|cost centre 7 | physics'")
    assert SlurmLauncher().find([unconfirmed])["n1-g1-abc"].handle == "22"


def test_a_job_is_found_through_a_link_to_its_study(programs, unconfirmed, tmp_path):
    (tmp_path / "link").symlink_to(study(unconfirmed))
    programs(squeue=f"echo '23|(null)|{study(unconfirmed)}|s/n1-g1-abc'")
    through = Unconfirmed(batch_name="n1-g1-abc", folder=f"{tmp_path}/link/jobs/n1-g1-abc", study="s", tasks=3)
    assert SlurmLauncher().find([through])["n1-g1-abc"].handle == "23"


def test_a_study_of_the_same_name_elsewhere_is_another_one(programs, unconfirmed):
    other = "/elsewhere/s"
    programs(squeue=f"echo '21|{other}/jobs/n1-g1-abc/job.sbatch|{other}|s/n1-g1-abc'", sacct=NO_ACCOUNTING)
    assert SlurmLauncher().find([unconfirmed]) == {"n1-g1-abc": None}


def test_a_copy_of_the_study_below_another_folder_is_another_one(programs, unconfirmed):
    copy = f"/copies{study(unconfirmed)}"
    line = f"21|/copies{unconfirmed.folder}/job.sbatch|{copy}|s/n1-g1-abc"
    programs(squeue=f"echo '{line}'", sacct=f"echo '21_0|lab|sbatch --parsable {line[3:]}'")
    assert SlurmLauncher().find([unconfirmed]) == {"n1-g1-abc": None}


def test_a_job_of_another_user_is_found_too(programs, unconfirmed):
    job = f"21|{unconfirmed.folder}/job.sbatch|{study(unconfirmed)}|s/n1-g1-abc"
    programs(squeue=f"[[ $* = *--me* || $* = *--user* ]] || echo '{job}'", sacct="true")
    assert SlurmLauncher().find([unconfirmed])["n1-g1-abc"].handle == "21"
    programs(squeue="true", sacct=f"[[ $* != *--allusers* ]] || echo '21_0|lab|{job[3:]}'")
    assert SlurmLauncher().find([unconfirmed])["n1-g1-abc"].handle == "21"


def test_of_two_jobs_of_a_batch_the_first_is_taken(programs, unconfirmed):
    lines = "".join(f"{n}|(null)|{study(unconfirmed)}|s/n1-g1-abc\\n" for n in (101, 99, 100))
    programs(squeue=f"printf '{lines}'")
    assert SlurmLauncher().find([unconfirmed])["n1-g1-abc"].handle == "99"


@pytest.mark.parametrize("row", ["{script}|{study}|s/n1-g1-abc", "sbatch --parsable {script}|{study}|"])
def test_a_job_that_squeue_has_forgotten_is_found_in_sacct(programs, unconfirmed, row):
    row = row.format(script=f"sbatch --parsable {unconfirmed.folder}/job.sbatch", study=study(unconfirmed))
    programs(squeue="true", sacct=f"printf '%s\\n' '31_[0-2]|lab|{row}' '9|lab|allocation||'")
    assert SlurmLauncher().find([unconfirmed])["n1-g1-abc"].handle == "31"
    (call,) = programs.calls("sacct")
    assert "--starttime=20" in call
    with under_way(Path(unconfirmed.folder), clusters="lab,west"):
        pass
    assert SlurmLauncher().find([unconfirmed])["n1-g1-abc"].handle == "31;lab"
    assert "--clusters=lab,west" in programs.calls("sacct")[1].split()


def test_when_squeue_cannot_be_asked_nothing_is_said(programs, unconfirmed, monkeypatch):
    programs(squeue="exit 1")
    assert SlurmLauncher().find([unconfirmed]) == {}
    monkeypatch.setenv("PATH", "/nonexistent")
    assert SlurmLauncher().find([unconfirmed]) == {}


def test_a_submission_that_never_began_is_none_without_asking(programs, unconfirmed):
    programs()
    Path(unconfirmed.folder, ".submitting").unlink()
    assert SlurmLauncher().find([unconfirmed]) == {"n1-g1-abc": None}
    assert programs.calls("squeue") == []


def test_a_submission_that_is_still_under_way_is_waited_for_and_then_left_out(programs, unconfirmed, monkeypatch):
    programs(squeue=f"echo '21|(null)|{study(unconfirmed)}|s/n1-g1-abc'")
    monkeypatch.setattr(slurm, "_SETTLE_S", 0.2)
    with under_way(Path(unconfirmed.folder)):
        assert SlurmLauncher().find([unconfirmed]) == {}
    monkeypatch.setattr(slurm, "_SETTLE_S", 300)
    answers = []
    with under_way(Path(unconfirmed.folder)):
        thread = threading.Thread(target=lambda: answers.append(SlurmLauncher().find([unconfirmed])))
        thread.start()
        assert programs.calls("squeue") == []
    thread.join(timeout=300)
    assert answers[0]["n1-g1-abc"].handle == "21"


# --- submit -------------------------------------------------------------------------------------------


@pytest.fixture
def rendered(tmp_path):
    rendered_batch = SlurmLauncher().render(batch(study_dir=str(tmp_path / "s"), profile=profile()))
    folder = Path(rendered_batch.batch.folder)
    folder.mkdir(parents=True)
    for name, text in rendered_batch.files.items():
        (folder / name).write_text(text)
    return rendered_batch


@pytest.mark.parametrize(("account", "printed"), [(None, "SBATCH_ACCOUNT=mine"), ("physics", "")])
def test_a_users_account_reaches_sbatch_where_the_profile_names_none(programs, tmp_path, monkeypatch, account, printed):
    """sbatch lets the environment win over the script, which would say one account while another is charged."""
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    monkeypatch.setenv("SBATCH_PARTITION", "elsewhere")
    programs(sbatch=f"env | grep ^SBATCH_ > {tmp_path}/seen; echo 5")
    rendered_batch = SlurmLauncher().render(batch(study_dir=str(tmp_path / "s"), profile=profile(account=account)))
    Path(rendered_batch.batch.folder).mkdir(parents=True)
    list(SlurmLauncher().submit([rendered_batch]))
    assert (tmp_path / "seen").read_text().strip() == printed


@pytest.mark.parametrize(
    ("printed", "handle"),
    [
        ("4711", "4711"),
        ("our site thanks you\n4711;west\nMaintenance on Monday", "4711;west"),
        ("Submitted batch job 4711", "4711"),
        ("Submitted batch job 4711 on cluster west", "4711;west"),
    ],
)
def test_a_submission_names_its_job_and_its_cluster_however_sbatch_says_it(programs, rendered, printed, handle):
    programs(sbatch=f"printf '{printed}\n'")
    (submission,) = SlurmLauncher().submit([rendered])
    assert submission == Submission(
        batch_name=rendered.batch.name, folder=rendered.batch.folder, handle=handle, tasks=2
    )


def test_clusters_that_are_none_are_refused_by_the_variables_they_may_come_from(monkeypatch, tmp_path):
    monkeypatch.setenv("SBATCH_CLUSTERS", "a b")
    with pytest.raises(UserError, match=r"SBATCH_CLUSTERS or SLURM_CLUSTERS='a b' names no clusters"):
        list(SlurmLauncher().submit([SlurmLauncher().render(batch(study_dir=str(tmp_path / "s")))]))


@pytest.mark.parametrize("variable", ["SLURM_CLUSTERS", "SBATCH_CLUSTERS"])
@pytest.mark.parametrize("own", [None, "east"])
def test_a_profiles_cluster_or_else_the_users_is_said_to_sbatch_and_to_whoever_looks_the_job_up(
    programs, tmp_path, monkeypatch, own, variable
):
    monkeypatch.setenv(variable, "west,north")
    programs(sbatch=f"env | grep _CLUSTERS= > {tmp_path}/seen; kill -9 $$")
    rendered_batch = SlurmLauncher().render(batch(study_dir=str(tmp_path / "s"), profile=profile(cluster=own)))
    assert ("#SBATCH --clusters=east" in rendered_batch.files["job.sbatch"]) == (own == "east")
    Path(rendered_batch.batch.folder).mkdir(parents=True)
    with pytest.raises(SubmitError):
        list(SlurmLauncher().submit([rendered_batch]))
    (call,) = programs.calls("sbatch")
    assert call.split()[:2] == ["--parsable", f"--clusters={own or 'west,north'}"]
    assert (tmp_path / "seen").read_text() == "", "a job would hand them on to its own squeue"
    monkeypatch.delenv(variable)
    script = f"{rendered_batch.batch.folder}/job.sbatch"
    programs(squeue=f"printf 'CLUSTER: west\n\nCLUSTER: {own or 'north'}\nJOB|COMMAND|DIR|X\n31|{script}|/|c\n'")
    unconfirmed = Unconfirmed(
        batch_name=rendered_batch.batch.name, folder=rendered_batch.batch.folder, study="s", tasks=2
    )
    submission = SlurmLauncher().find([unconfirmed])[rendered_batch.batch.name]
    assert submission is not None and submission.handle == f"31;{own or 'north'}"
    assert f"--clusters={own or 'west,north'}" in programs.calls("squeue")[0].split()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("echo 'sbatch: error: Batch job submission failed: Invalid qos specification' >&2; exit 1", "refused"),
        ("echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1", "limit"),
        ("echo 'sbatch: error: Batch job submission failed: Connection refused' >&2; exit 1", "busy"),
        ("kill -9 $$", "busy"),
        ("echo 'who knows'", "busy"),
        ("true", "busy"),
    ],
)
def test_a_failed_submission_says_why_with_the_scripts_path(programs, rendered, body, problem):
    programs(sbatch=body)
    with pytest.raises(SubmitError, match=r"job\.sbatch") as error:
        list(SlurmLauncher().submit([rendered]))
    assert error.value.problem is SubmitProblem(problem)
    assert len(programs.calls("sbatch")) == 1


def test_an_sbatch_that_does_not_answer_may_have_submitted_all_the_same(programs, rendered, monkeypatch):
    run, calls = subprocess.run, []
    monkeypatch.setattr(subprocess, "run", lambda words, **how: calls.append(words) or run(words, **how))
    monkeypatch.setattr("launchers.slurm.programs.PATIENCE_S", 0.5)
    programs(sbatch="exec sleep 600")
    with pytest.raises(SubmitError, match=r"job\.sbatch: sbatch did not answer") as error:
        list(SlurmLauncher().submit([rendered]))
    assert error.value.problem is SubmitProblem.BUSY
    assert len(calls) == 1


def test_sbatch_holds_the_lock_itself_so_that_a_killed_client_leaves_it_locked(programs, rendered, tmp_path):
    programs(sbatch=f"echo > {tmp_path}/started; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo 5")
    client = (
        "import sys; from launchers.slurm.backend import SlurmLauncher; from launchers.checked import parse_json;"
        "from launchers.batch import Batch; from pathlib import Path;"
        "b = parse_json(Batch, Path(sys.argv[1], 'batch.json').read_bytes(), source='b');"
        "list(SlurmLauncher().submit([SlurmLauncher().render(b)]))"
    )
    folder = Path(rendered.batch.folder)
    with subprocess.Popen([sys.executable, "-c", client, folder]) as process:
        wait_for((tmp_path / "started").exists)
        process.kill()
    assert not wait_until_settled(folder, 0.2)
    (tmp_path / "go").touch()
    assert wait_until_settled(folder, 300)


def test_slurms_programs_are_out_of_reach_of_the_ctrl_c_of_a_clients_terminal(programs, rendered, tmp_path):
    """Which goes to every process of the session's foreground."""
    programs(sbatch=f"cut -d' ' -f6 /proc/$$/stat > {tmp_path}/session; echo 5")
    list(SlurmLauncher().submit([rendered]))
    assert int((tmp_path / "session").read_text()) != os.getsid(0)


# --- cancel -------------------------------------------------------------------------------------------


def listed(*numbers, script="/studies/s/jobs/wide/job.sbatch", comment="s/wide", uid=None, state="RUNNING"):
    """What squeue answers of jobs: number, state, user, script, working directory, comment."""
    uid = os.geteuid() if uid is None else uid
    return "\n".join(f"echo '{number}|{state}|{uid}|{script}|/studies/s|{comment}'" for number in numbers)


def test_whole_arrays_and_single_tasks_are_cancelled_at_once(programs):
    programs(scancel="true", squeue=listed(17, 18, 19))
    SlurmLauncher().cancel([(sent("17"), None), (sent("18"), [0, 3]), (sent("19"), [])])
    assert programs.calls("scancel") == ["17 18_0 18_3"]
    SlurmLauncher().cancel([(sent("19"), [])])
    assert len(programs.calls("scancel")) == 1


def test_a_job_is_ended_on_its_own_cluster_and_one_of_its_number_elsewhere_is_left_alone(programs):
    ours, others = listed(17), listed(17, script="/home/other/thesis.sh")
    programs(scancel="true", squeue=f'case "$*" in *--clusters=west*) {ours} ;; *) {others} ;; esac')
    SlurmLauncher().cancel([(sent("17;west"), [1])])
    assert programs.calls("scancel") == ["--clusters=west 17_1"]
    with pytest.raises(UserError, match=r"not the one of .*: scancel 17$"):
        SlurmLauncher().cancel([(sent("17"), [1])])


@pytest.mark.parametrize(
    ("handle", "siblings", "call"),
    [
        ("17;a", "a,b", "--clusters=b 17_1"),
        ("17;a", "b,c", "--clusters=b,c 17_1"),
        ("17;a", "NA", None),
        ("17", "", "17_1"),
    ],
)
def test_a_job_that_its_cluster_gave_up_is_ended_where_its_twin_is(programs, handle, siblings, call):
    programs(
        scancel="true",
        squeue=f"""case " $* " in
 *SiblingsActive*) echo '17   {siblings}   ' ;;
 *" --clusters=b"*|*" --federation "*) {listed(17)} ;;
 *) {listed(17, state="REVOKED")} ;;
esac""",
    )
    SlurmLauncher().cancel([(sent(handle), [1])])
    assert programs.calls("scancel") == ([call] if call else [])


def test_what_has_ended_need_not_be_cancelled(programs):
    gone = "echo 'scancel: error: Kill job error on job id 17: Invalid job id specified' >&2; exit 1"
    programs(scancel=gone, squeue=listed(17))
    SlurmLauncher().cancel([(sent(), None)])
    programs(scancel=gone, squeue="echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    SlurmLauncher().cancel([(sent(), None)])
    programs(scancel=gone, squeue=listed(17, state="COMPLETED"))
    SlurmLauncher().cancel([(sent(), None)])
    assert len(programs.calls("scancel")) == 1


@pytest.mark.parametrize(
    "job", [{"script": "/home/other/thesis.sh"}, {"script": "/bin/sh"}, {"comment": "s/other", "script": "/gone.sh"}]
)
def test_a_number_in_a_journal_never_ends_a_job_that_is_not_of_this_batch(programs, job):
    programs(scancel="true", squeue=listed(17, **job))
    with pytest.raises(UserError, match="not the one of /studies/s/jobs/wide"):
        SlurmLauncher().cancel([(sent(), None)])
    assert programs.calls("scancel") == []


def test_a_job_of_another_user_is_left_alone_and_whose_it_is_is_said(programs, monkeypatch):
    """By the check that comes before the journal, and by cancelling itself; root may end anybody's."""
    programs(scancel="true", squeue=listed(17, uid=65501))
    monkeypatch.setattr(os, "geteuid", lambda: 65502)
    for act in (lambda: SlurmLauncher().require_ours([sent()]), lambda: SlurmLauncher().cancel([(sent(), None)])):
        with pytest.raises(UserError, match=r"job 17 of /studies/s/jobs/wide is uid 65501's – nothing was cancelled"):
            act()
    assert programs.calls("scancel") == []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    SlurmLauncher().cancel([(sent(), None)])
    assert programs.calls("scancel") == ["17"]


def test_the_job_of_a_study_that_was_moved_is_known_by_its_comment(programs):
    programs(scancel="true", squeue=listed(17, script="/before/s/jobs/wide/job.sbatch"))
    SlurmLauncher().cancel([(sent(), None)])
    assert programs.calls("scancel") == ["17"]


def test_the_job_of_a_study_that_was_copied_stays_that_of_the_first(programs, tmp_path):
    """Comment and name of the batch are the same in both; of a moved study the script is gone."""
    script = tmp_path / "jobs/wide/job.sbatch"
    script.parent.mkdir(parents=True)
    script.touch()
    programs(scancel="true", squeue=listed(17, script=str(script)))
    with pytest.raises(UserError, match="not the one of /studies/s/jobs/wide"):
        SlurmLauncher().cancel([(sent(), None)])
    assert programs.calls("scancel") == []


def test_nothing_is_cancelled_while_nobody_can_say_whose_job_it_is(programs):
    programs(scancel="true", squeue="echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(UserError, match="nothing was cancelled"):
        SlurmLauncher().cancel([(sent(), None)])
    assert programs.calls("scancel") == []


@pytest.mark.parametrize("words", ["Access/permission denied", ""])
def test_a_job_that_could_not_be_cancelled_is_said_in_slurms_words(programs, words):
    error = f"echo 'scancel: error: Kill job error on job id 17: {words}' >&2; " if words else ""
    programs(scancel=f"{error}exit 1", squeue=listed(17))
    with pytest.raises(UserError, match=words or "exit code 1"):
        SlurmLauncher().cancel([(sent(), None)])
