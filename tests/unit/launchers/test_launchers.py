"""The scheduler side: names, arrays, scripts, squeue's words, ranks and slots."""

import re
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.batch import Shape, Task, split
from launchers.errors import UserError
from launchers.identity import identify, place_of
from launchers.profile import GpuDialect
from launchers.queue.slots import Slots
from launchers.slurm.sbatch import render
from tests.unit.builders import batch, profile

# --- batches ------------------------------------------------------------------------------------------


def test_a_batch_has_one_name_for_the_same_tasks_and_attempts():
    assert batch().name == batch().name
    assert re.fullmatch(r"n1-g2-[0-9a-f]{8}", batch().name)
    assert batch().folder == f"/studies/s/jobs/{batch().name}"


@pytest.mark.parametrize(
    "other",
    [
        {"tasks": tuple(replace(task, attempt=2) for task in batch().tasks)},
        {"tasks": batch().tasks[:1]},
        {"tasks": (Task(name="n1-g2-c", attempt=1),)},
        {"profile": profile(name="other")},
        {"shape": Shape(nodes=2, gpus_per_node=1, minutes=60)},
    ],
    ids=["attempt", "fewer tasks", "other task", "partition", "shape"],
)
def test_another_attempt_task_partition_or_shape_is_another_batch(other):
    assert batch(**other).name != batch().name


@given(tasks=st.integers(1, 40), largest=st.integers(1, 12))
def test_a_batch_is_split_at_the_largest_array_and_loses_no_task(tasks, largest):
    whole = batch(
        tasks=tuple(Task(name=str(i), attempt=1) for i in range(tasks)), profile=profile(max_array_size=largest)
    )
    parts = split(whole)
    assert tuple(task for part in parts for task in part.tasks) == whole.tasks
    assert len(parts) == -(-tasks // largest)
    assert all(1 <= len(part.tasks) <= largest for part in parts)
    assert len({part.name for part in parts}) == len(parts)


# --- scripts ------------------------------------------------------------------------------------------


def script(python="/usr/bin/python3", **changes):
    return render(batch(**changes), python=python)


def flags(text):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))


def bash(text, *options):
    """Run bash on `text`, without the caller's environment."""
    return subprocess.run(["bash", *options], input=text.encode(), capture_output=True, env={}, check=False, timeout=20)


@pytest.mark.parametrize(
    ("dialect", "flag", "value"),
    [
        (GpuDialect.GRES, "gres", "gpu:2"),
        (GpuDialect.GRES_TYPED, "gres", "gpu:t4:2"),
        (GpuDialect.GPUS_PER_NODE, "gpus-per-node", "t4:2"),
        (GpuDialect.GPUS_PER_TASK, "gpus-per-task", "t4:1"),
    ],
)
def test_gpus_are_asked_for_in_the_sites_dialect_and_no_other(dialect, flag, value):
    asked = flags(script(profile=profile(gpu_dialect=dialect, gpu_type="t4")))
    assert {key: asked[key] for key in asked if key.startswith(("gres", "gpus"))} == {flag: value}


def test_the_flags_ask_for_the_shape_and_the_partitions_words():
    site = profile(partition="t4v2", qos="normal", account="me", mem_gib=8, exclusive=True, cpus_per_gpu=4)
    asked = flags(script(profile=site, shape=Shape(nodes=2, gpus_per_node=8, minutes=17)))
    assert asked | {
        "nodes": "2", "ntasks-per-node": "8", "cpus-per-task": "4", "time": "17", "partition": "t4v2",
        "qos": "normal", "account": "me", "mem": "8G", "exclusive": "", "array": "0-1%2", "signal": "USR2@90",
        "requeue": "", "open-mode": "append",
    } == asked  # fmt: skip


def test_a_site_that_forbids_it_gets_no_job_that_is_started_again():
    text = script(profile=profile(requeue=False), closing="site.closing")
    assert ("requeue" in flags(text), "no-requeue" in flags(text)) == (False, True)
    assert "site.closing" in text
    assert "scontrol requeue" not in text


def test_nodes_that_failed_are_excluded_beside_those_that_the_profile_excludes():
    assert "exclude" not in flags(script())
    assert flags(script(exclude=("n1", "n2")))["exclude"] == "n1,n2"
    assert flags(script(exclude=("n1", "n2"), profile=profile(exclude="bad[1-2]")))["exclude"] == "'bad[1-2],n1,n2'"


def test_what_the_profile_leaves_out_is_not_asked_for():
    assert not set(flags(script())) & {"partition", "account", "qos", "mem", "exclusive", "nodelist", "wckey"}


def test_every_task_is_named_by_its_array_index():
    assert "#   0: n1-g2-a attempt 1\n#   1: n1-g2-b attempt 1\n" in script()


def test_the_ranks_run_the_profiles_python_before_the_submitters():
    assert f"/usr/bin/python3 -m vit_sweep.job.task {batch().folder}" in script()
    assert f"/site/python -m vit_sweep.job.task {batch().folder}" in script(profile=profile(python="/site/python"))


def test_setup_comes_before_the_ranks_and_teardown_after():
    text = script(profile=profile(setup=("module load cuda",), teardown=("echo bye",)))
    assert text.index("module load cuda") < text.index("srun ") < text.index("echo bye")


def test_the_profiles_variables_win_over_the_callers_and_both_over_ours():
    site = profile(cpus_per_gpu=4, environment={"A": "site"})
    assert batch(profile=site).rank_environment == {"OMP_NUM_THREADS": "4", "A": "site"}
    mine = {"A": "mine", "B": "mine", "OMP_NUM_THREADS": "1"}
    assert batch(profile=site, environment=mine).rank_environment == mine | {"A": "site"}


nasty = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["a'b", '"', "$(touch x)", "`id`", "a\nb", "\\", "!", "#SBATCH --nodes=7", "\n#SBATCH --nodes=7", "é ü", "%j", ""]
)


@settings(max_examples=40)
@given(value=nasty)
def test_a_nasty_value_reaches_the_ranks_to_the_letter_in_valid_bash(value):
    text = script(environment={"NASTY": value})
    assert bash(text, "-n").stderr == b""
    setup = text.split("\n# setup\n")[1].split("\n# command\n")[0]
    assert bash(f'{setup}\nprintf %s "$NASTY"').stdout == value.encode()


@pytest.mark.parametrize("folder", ["/a b/it's", '/a"b', "/$HOME", "/x;y", "/é"])
def test_a_nasty_folder_is_one_argument_in_valid_bash(folder):
    text = script(study_dir=folder)
    assert bash(text, "-n").stderr == b""
    shell = 'srun() { printf "%s\\0" "$@"; }\n'
    arguments = bash(shell + text).stdout.decode().split("\0")
    assert arguments[-2] == batch(study_dir=folder).folder
    assert f"{batch(study_dir=folder).folder}/logs/%A_%a_%t_log.out" in arguments


@pytest.mark.parametrize("folder", ["/a%j/s", "/100%", "/a\nb"])
def test_a_folder_that_slurm_would_bend_is_refused(folder):
    with pytest.raises(UserError, match="use a folder without them") as error:
        script(study_dir=folder)
    assert f"outputs={folder!r}" in str(error.value)


def test_rendering_twice_is_byte_equal_whatever_the_order_of_the_variables():
    names = {"A": "1", "B": "2", "C": "3"}
    assert script(environment=names) == script(environment=dict(reversed(names.items())))


def test_the_callers_environment_does_not_reach_the_script(monkeypatch):
    before = script()
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("PATH", "")
    assert script() == before


# --- ranks --------------------------------------------------------------------------------------------

SRUN = {
    "SLURM_NNODES": "2", "SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURMD_NODENAME": "node02", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_RESTART_COUNT": "2", "SLURM_GPUS_ON_NODE": "4",
}  # fmt: skip
LOCAL = {
    "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "VIT_SWEEP_TASK_INDEX": "3",
    "VIT_SWEEP_JOB_ID": "local-7-3", "CUDA_VISIBLE_DEVICES": "4,6",
}  # fmt: skip


def test_a_rank_of_srun_knows_its_place():
    me = identify(SRUN, host="unused")
    assert (me.rank, me.world_size, me.local_rank, me.local_world_size) == (5, 8, 1, 4)
    assert (me.node_rank, me.nodes, me.node_name) == (1, 2, "node02")
    assert (me.task_index, me.restart, me.job_id, me.visible_gpus) == (3, 2, "17_3", 4)


def test_a_rank_of_the_local_queue_knows_its_place_even_inside_an_allocation():
    me = identify(SRUN | {"SLURM_GPUS_ON_NODE": "2"} | LOCAL, host="laptop")
    assert (me.rank, me.world_size, me.local_rank, me.local_world_size) == (1, 2, 1, 2)
    assert (me.node_rank, me.nodes, me.node_name) == (0, 1, "laptop")
    assert (me.task_index, me.restart, me.job_id, me.visible_gpus) == (3, 0, "local-7-3", 2)


HOSTFILE = {"VIT_SWEEP_JOB_ID": "hostfile-9-3", "VIT_SWEEP_TASK_INDEX": "3", "VIT_SWEEP_NODES": "1",
            "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}  # fmt: skip


@pytest.mark.parametrize(
    "environ",
    [
        SRUN,
        SRUN | {"VIT_SWEEP_TASK_INDEX": "3"},
        {k: v for k, v in SRUN.items() if k != "SLURM_RESTART_COUNT"},
        LOCAL,
        SRUN | LOCAL,
        SRUN | LOCAL | {"VIT_SWEEP_RESTART": "1"},
        HOSTFILE,
        HOSTFILE | {"VIT_SWEEP_RESTART": "4"},
    ],
    ids=["srun", "mpirun", "first start", "local", "local in a job", "local again", "hostfile", "hostfile again"],
)
def test_a_closing_module_knows_its_job_by_the_same_words_as_the_ranks(environ):
    me, here = identify(environ, host="h"), place_of(environ)
    assert (here.task_index, here.restart, here.job_id) == (me.task_index, me.restart, me.job_id)


def test_our_own_word_of_task_and_restart_wins_over_slurms():
    ours = {"VIT_SWEEP_TASK_INDEX": "5", "VIT_SWEEP_RESTART": "6"}
    assert (place_of(SRUN).task_index, place_of(SRUN).restart) == (3, 2)
    assert (place_of(SRUN | ours).task_index, place_of(SRUN | ours).restart) == (5, 6)
    assert identify(SRUN | ours, host="h").restart == 6


def test_a_queue_inside_an_allocation_does_not_take_its_restarts_for_its_own():
    assert place_of(SRUN | LOCAL).restart == 0
    assert place_of(SRUN | LOCAL).job_id == "local-7-3"


def test_a_process_of_no_job_has_no_place():
    with pytest.raises(UserError, match="belongs to no job: 'SLURM_ARRAY_TASK_ID' is not set"):
        place_of({"SLURM_JOB_ID": "1"})


def test_a_rank_of_the_local_queue_counts_its_own_gpus_inside_an_allocation():
    assert identify(LOCAL | {"SLURM_GPUS_ON_NODE": "8"}, host="laptop").visible_gpus == 2


def test_a_node_without_gpus_shows_none():
    assert identify(LOCAL | {"CUDA_VISIBLE_DEVICES": ""}, host="laptop").visible_gpus == 0


@pytest.mark.parametrize("missing", ["SLURM_PROCID", "SLURM_ARRAY_TASK_ID", "SLURM_NNODES"])
def test_a_process_that_no_launcher_started_has_no_rank(missing):
    with pytest.raises(UserError, match=f"no rank: '{missing}' is not set .* submit it with python -m vit_sweep"):
        identify({key: value for key, value in SRUN.items() if key != missing}, host="laptop")


# --- slots --------------------------------------------------------------------------------------------

NAMES = ["core-0", "core-1", "core-2"]


def test_slots_are_taken_all_or_none(tmp_path):
    mine, other = Slots(NAMES, tmp_path), Slots(NAMES, tmp_path)
    assert mine.take(2) == ["core-0", "core-1"]
    assert other.take(2) is None
    assert mine.take(2) is None
    assert other.take(1) == ["core-2"]


def test_two_holders_never_share_a_slot(tmp_path):
    holders = [Slots(NAMES, tmp_path) for _ in range(4)]
    taken = [holder.take(1) for holder in holders]
    assert sorted(names[0] for names in taken if names) == NAMES
    assert taken.count(None) == 1


def test_slots_given_back_are_free_for_everyone(tmp_path):
    mine, other = Slots(NAMES, tmp_path), Slots(NAMES, tmp_path)
    taken = mine.take(3)
    assert other.take(1) is None
    mine.give_back(taken[1:])
    assert other.take(2) == ["core-1", "core-2"]


def test_more_than_there_are_means_all_of_them(tmp_path):
    slots = Slots(NAMES, tmp_path)
    assert slots.take(8) == NAMES
    assert len(slots) == 3
