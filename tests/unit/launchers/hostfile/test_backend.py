"""Hostfile partitions: which hosts a job takes, what is rendered, and how a task's end is told."""

import json
import os
import signal
import subprocess

import pytest
import yaml

from launchers.batch import Shape
from launchers.checked import parse, to_json
from launchers.errors import UserError
from launchers.hostfile.backend import HostfileLauncher
from launchers.hostfile.queue import failure_text
from launchers.hosts import choose_hosts
from launchers.profile import Container, ContainerRuntime, Host, PartitionProfile, Scheduler
from tests.conftest import ROOT
from tests.unit.builders import batch, profile, put_programs


def partition(*hosts, **changes):
    """A hostfile partition; each host is a word: `name`, or `name:slots`, or `name:slots:model`."""
    host_list = []
    for host in hosts:
        name, slots, model = (*host.split(":"), None, None)[:3]
        host_list.append(Host(name=name, slots=int(slots or 1), gpu_model=model))
    return profile(
        name="lab",
        scheduler=Scheduler.HOSTFILE,
        nodes=len(host_list),
        gpus_per_node=max(h.slots for h in host_list),
        hosts=tuple(host_list),
        **changes,
    )


def chosen(site, nodes, gpus_per_node=1, without=()):
    answer = choose_hosts(site, nodes, gpus_per_node, without=without)
    return answer if isinstance(answer, str) else [host.name for host in answer]


# --- hosts --------------------------------------------------------------------------------------------

TESLA = parse(
    PartitionProfile, yaml.safe_load((ROOT / "conf/partition/tesla.yaml").read_text()), source="partition tesla"
)


def test_the_first_hosts_with_enough_gpus_are_taken():
    assert chosen(partition("a", "b:2", "c:2", "d:2"), nodes=2, gpus_per_node=2) == ["b", "c"]


def test_all_jobs_take_the_most_frequent_gpu_so_that_a_curve_stays_on_one_model():
    assert chosen(TESLA, nodes=1) == ["ecetesla1"]
    assert chosen(TESLA, nodes=2) == ["ecetesla1", "ecetesla2"]
    assert chosen(TESLA, nodes=3) == ["ecetesla1", "ecetesla2", "ecetesla4"]


def test_too_few_equal_hosts_are_a_reason_with_the_numbers_and_the_explicit_word():
    assert chosen(TESLA, nodes=4) == (
        "nodes=4: tesla has no 4 hosts of one GPU model (1 x Tesla P4, 3 x GeForce RTX 3070, 1 x GeForce GTX 1070); "
        "use nodes=3 or fewer, or ++partition.mixed_hosts=true to measure the weakest of them"
    )


def test_the_explicit_word_takes_the_hosts_in_the_profiles_order():
    site = partition("a:1:P4", "b:1:T4", "c:1:P4", mixed_hosts=True)
    assert chosen(site, nodes=2) == ["a", "b"]
    assert chosen(site, nodes=3) == ["a", "b", "c"]


def test_a_host_that_names_no_model_has_the_profiles():
    assert chosen(partition("a", "b:1:Tesla T4"), nodes=2) == ["a", "b"]


def test_among_equally_frequent_models_the_profiles_order_counts_and_small_hosts_do_not():
    assert chosen(partition("a:1:P4", "b:1:T4"), nodes=1) == ["a"]
    assert chosen(partition("a:1:P4", "b:1:P4", "c:2:T4"), nodes=1, gpus_per_node=2) == ["c"]


def test_too_few_hosts_or_gpus_are_reasons_with_the_numbers():
    site = partition("a:2", "b:1")
    assert chosen(site, nodes=2, gpus_per_node=2).startswith("nodes=2: lab has 1 of 2 hosts with 2 GPUs or more")
    assert chosen(site, nodes=1, gpus_per_node=3).startswith("3 GPUs a node: lab has no such host, the largest has 2")


def test_a_host_that_failed_is_passed_over_for_another_of_the_same_gpu():
    assert chosen(TESLA, nodes=2, without=("ecetesla1",)) == ["ecetesla2", "ecetesla4"]
    assert chosen(TESLA, nodes=2, without=("ecetesla4", "elsewhere")) == ["ecetesla1", "ecetesla2"]


def test_without_another_host_of_the_same_gpu_the_cell_cannot_be_run_and_the_reason_names_the_hosts():
    assert chosen(TESLA, nodes=3, without=("ecetesla1",)) == (
        "nodes=3: without ecetesla1, on which a cell failed, tesla has no 3 hosts of GeForce RTX 3070 with 1 GPU "
        "or more; put the host right and run the same command again, or use fewer nodes"
    )
    mixed = partition("a:1:P4", "b:1:T4", "c:1:P4", mixed_hosts=True)
    assert chosen(mixed, nodes=2, without=("a",)) == ["b", "c"]
    assert "has no 2 hosts of P4 + T4" in chosen(mixed, nodes=2, without=("b",))


# --- what is rendered ---------------------------------------------------------------------------------

TWO = Shape(nodes=2, gpus_per_node=2, minutes=60)


def rendered(site=None, **changes):
    defaults = {"profile": site or partition("a:2", "b:4"), "shape": TWO}
    return HostfileLauncher().render(batch(**(defaults | changes)))


def test_the_hostfile_gives_each_host_the_ranks_of_the_shape():
    assert rendered().files["hostfile"] == "a slots=2  # Tesla T4\nb slots=2  # Tesla T4\n"


def test_a_batch_does_not_get_the_hosts_that_it_excludes():
    item = rendered(partition("a:2", "b:2", "c:2"), exclude=("a",))
    assert item.files["hostfile"] == "b slots=2  # Tesla T4\nc slots=2  # Tesla T4\n"
    with pytest.raises(UserError, match="without a, on which a cell failed"):
        rendered(exclude=("a",))


def test_no_suitable_hosts_are_the_users_mistake():
    with pytest.raises(UserError, match=r"partition\.mixed_hosts=true"):
        rendered(partition("a:2:T4", "b:2:P4"))


@pytest.mark.parametrize("name", ["a b", "-a", "#a", ""])
def test_a_name_that_a_hostfile_would_bend_is_refused(name):
    site = partition("x:2", "b:2")
    site = parse(PartitionProfile, json.loads(to_json(site).replace('"x"', json.dumps(name))), source="lab")
    with pytest.raises(UserError, match="is no name that a hostfile can hold"):
        rendered(site)


def test_pyxis_has_no_place_without_srun():
    with pytest.raises(UserError, match="pyxis is a plugin of srun"):
        rendered(partition("a:2", "b:2", container=Container(runtime=ContainerRuntime.PYXIS, image="i")))


@pytest.mark.parametrize("folder", ["/studies/s", '/a b/it\'s "$HOME" `id`;x'])
def test_the_job_script_hands_hosts_shell_and_variables_to_mpirun_to_the_letter(tmp_path, folder):
    site = partition("a:2", "b:2", remote_shell="ssh -p 2222", environment={"NASTY": "it's $HOME"})
    item = rendered(site, study_dir=folder)
    put_programs(tmp_path, mpirun=f'printf "%s\\0" "$@" "$NASTY" "$VIT_SWEEP_TASK_INDEX" > {tmp_path}/w')
    completed = subprocess.run(
        ["bash", "-s", "1"], input=item.files["job.sh"], text=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}
    )
    assert completed.returncode == 0
    words = (tmp_path / "w").read_text().split("\0")
    jobs = item.batch.folder
    assert words[:6] == ["--hostfile", f"{jobs}/hostfile", "-np", "4", "--map-by", "ppr:2:node"]
    assert words[words.index("plm_rsh_agent") + 1] == "ssh -p 2222"
    handed = {words[i + 1] for i, argument in enumerate(words) if argument == "-x"}
    assert handed >= {"NASTY", "OMP_NUM_THREADS", "VIT_SWEEP_JOB_ID", "VIT_SWEEP_NODES", "VIT_SWEEP_TASK_INDEX"}
    assert "VIT_SWEEP_RESTART" in handed
    assert "VIT_SWEEP_JOB_ENDS" not in handed, "by hand there is no time limit"
    assert words[-5:] == ["bash", f"{jobs}/rank.sh", "it's $HOME", "1", ""]


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 3", 3), ("kill -9 $$", 137)])
def test_a_ranks_wrapper_sets_up_and_notes_a_bad_end_only(tmp_path, command, code):
    folder = tmp_path / "it's a study"
    folder.mkdir()
    put_programs(tmp_path, python=f'echo "$SITE" > "{tmp_path}/site"\n{command}')
    site = partition(
        "a:2", "b:2", python=str(tmp_path / "python"), setup=("set -e", "export SITE='it''s'"), teardown=("false",)
    )
    text = rendered(site, study_dir=str(folder)).files["rank.sh"]
    environment = {"PATH": "/usr/bin:/bin", "VIT_SWEEP_TASK_INDEX": "1", "OMPI_COMM_WORLD_RANK": "5"}
    completed = subprocess.run(["bash"], input=text, text=True, env=environment, capture_output=True)
    assert completed.returncode == code
    assert (tmp_path / "site").read_text() == "its\n"
    notes = {path.name: path.read_text() for path in folder.glob("jobs/*/ended/*")}
    assert notes == ({} if code == 0 else {"1-5": f"{code}\n"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_ranks_wrapper_outlives_the_signals_that_the_rank_is_sent_and_notes_its_code(tmp_path, number):
    notes = tmp_path / "said"
    os.mkfifo(notes)
    waiting = f'trap "echo told > {notes}; exit 7" TERM USR2\necho up > {notes}\nwhile :; do :; done'
    put_programs(tmp_path, python=waiting)
    site = partition("a:2", "b:2", python=str(tmp_path / "python"))
    (tmp_path / "rank.sh").write_text(rendered(site, study_dir=str(tmp_path)).files["rank.sh"])
    environment = {"PATH": "/usr/bin:/bin", "VIT_SWEEP_TASK_INDEX": "1", "OMPI_COMM_WORLD_RANK": "5"}
    group = subprocess.Popen(["bash", tmp_path / "rank.sh"], env=environment, start_new_session=True)
    try:
        assert notes.read_text() == "up\n"
        os.killpg(group.pid, number)  # as Open MPI does
        assert notes.read_text() == "told\n"
        assert group.wait(timeout=300) == 7
    finally:
        group.kill()
    assert [path.read_text() for path in tmp_path.glob("jobs/*/ended/1-5")] == ["7\n"]


def test_a_last_word_of_one_letter_is_kept_from_open_mpi_which_would_drop_it():
    assert "plm_rsh_agent 'ssh -l u ' " in rendered(partition("a:2", "b:2", remote_shell="ssh -l u")).files["job.sh"]


# --- how a task ended ---------------------------------------------------------------------------------


def test_the_rank_that_died_is_named_before_the_ones_that_followed_it_and_of_a_good_end_there_is_no_word():
    assert failure_text(0, {}, "whatever mpirun printed") == ""
    assert failure_text(137, {0: 1, 3: 137}, "") == "rank 3 died of signal SIGKILL"


def test_without_a_note_the_first_words_of_mpirun_stand_in():
    assert (
        failure_text(1, {}, "----\n\nssh: connect: refused\nmore\n")
        == "mpirun ended with code 1: ssh: connect: refused"
    )
    assert failure_text(1, {}, "") == "mpirun ended with code 1: it said nothing"
