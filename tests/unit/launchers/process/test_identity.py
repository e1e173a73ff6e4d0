"""Who a rank and a closing module are, from the variables of whoever started them."""

import pytest

from launchers.errors import UserError
from launchers.process.identity import identify, place_of

SRUN = {
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURMD_NODENAME": "node02",
    "SLURM_ARRAY_JOB_ID": "17",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_RESTART_COUNT": "2",
    "SLURM_GPUS_ON_NODE": "4",
}
LOCAL = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
    "VIT_SWEEP_TASK_INDEX": "3",
    "VIT_SWEEP_JOB_ID": "local-7-3",
    "CUDA_VISIBLE_DEVICES": "4,6",
}


def test_a_rank_of_srun_knows_its_place():
    me = identify(SRUN, host="unused")
    assert (me.rank, me.world_size, me.local_rank, me.local_world_size) == (5, 8, 1, 4)
    assert (me.node_rank, me.nodes, me.node_name) == (1, 2, "node02")
    assert (me.task_index, me.restart, me.job_id, me.visible_gpus) == (3, 2, "17_3", 4)


def test_a_rank_of_the_local_queue_knows_its_place_even_inside_an_allocation():
    me = identify(SRUN | LOCAL, host="laptop")
    assert (me.rank, me.world_size, me.local_rank, me.local_world_size) == (1, 2, 1, 2)
    assert (me.node_rank, me.nodes, me.node_name) == (0, 1, "laptop")
    assert (me.task_index, me.restart, me.job_id, me.visible_gpus) == (3, 0, "local-7-3", 2)


HOSTFILE = {
    "VIT_SWEEP_JOB_ID": "hostfile-9-3",
    "VIT_SWEEP_TASK_INDEX": "3",
    "VIT_SWEEP_NODES": "1",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
}


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
    identity, task_place = identify(environ, host="h"), place_of(environ)
    assert (task_place.task_index, task_place.restart, task_place.job_id) == (
        identity.task_index,
        identity.restart,
        identity.job_id,
    )


def test_our_own_word_of_task_and_restart_wins_over_slurms():
    own_variables = {"VIT_SWEEP_TASK_INDEX": "5", "VIT_SWEEP_RESTART": "6"}
    assert (place_of(SRUN).task_index, place_of(SRUN).restart) == (3, 2)
    assert (place_of(SRUN | own_variables).task_index, place_of(SRUN | own_variables).restart) == (5, 6)
    assert identify(SRUN | own_variables, host="h").restart == 6


def test_a_process_of_no_job_has_no_place():
    with pytest.raises(UserError, match="belongs to no job: 'SLURM_ARRAY_TASK_ID' is not set"):
        place_of({"SLURM_JOB_ID": "1"})


def test_a_node_without_gpus_shows_none():
    assert identify(LOCAL | {"CUDA_VISIBLE_DEVICES": ""}, host="laptop").visible_gpus == 0


@pytest.mark.parametrize("missing", ["SLURM_PROCID", "SLURM_ARRAY_TASK_ID", "SLURM_NNODES"])
def test_a_process_that_no_launcher_started_has_no_rank(missing):
    with pytest.raises(UserError, match=f"no rank: '{missing}' is not set .* submit it with vit_sweep"):
        identify({key: value for key, value in SRUN.items() if key != missing}, host="laptop")


ORTED = SRUN | {"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
MPI = {
    "OMPI_COMM_WORLD_RANK": "5",
    "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "VIT_SWEEP_NODES": "2",
    "VIT_SWEEP_TASK_INDEX": "3",
}
TORCH = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_RANK": "1",
    "TORCHELASTIC_RUN_ID": "17_3_2",
}


@pytest.mark.parametrize("spawned", [MPI, TORCH], ids=["mpirun", "torchrun"])
def test_a_rank_inside_slurm_believes_its_own_spawner_and_not_the_daemons_variables(spawned):
    me = identify(ORTED | spawned, host="unused")
    assert (me.rank, me.world_size, me.local_rank, me.local_world_size) == (5, 8, 1, 4)
    assert (me.node_rank, me.nodes, me.node_name) == (1, 2, "node02")
    assert (me.task_index, me.restart, me.job_id, me.visible_gpus) == (3, 2, "17_3", 4)


def test_a_rank_of_a_hostfile_job_knows_its_place_without_slurm():
    me = identify(MPI | {"VIT_SWEEP_JOB_ID": "hostfile-9-3", "CUDA_VISIBLE_DEVICES": "0"}, host="ecetesla1")
    assert (me.rank, me.nodes, me.node_name, me.task_index) == (5, 2, "ecetesla1", 3)
    assert (me.restart, me.job_id, me.visible_gpus) == (0, "hostfile-9-3", 1)


def test_a_task_index_alone_does_not_make_a_local_rank():
    with pytest.raises(UserError, match="no rank"):
        identify({"VIT_SWEEP_TASK_INDEX": "3"}, host="laptop")
    with pytest.raises(UserError, match="'VIT_SWEEP_NODES' is not set"):
        identify({k: v for k, v in MPI.items() if k != "VIT_SWEEP_NODES"}, host="laptop")


def test_a_rank_knows_which_of_several_partitions_its_job_got():
    # In a step Slurm lists all of them; a queue of ours in somebody's allocation is in no partition.
    step = SRUN | {"SLURM_JOB_PARTITION": "long,short", "VIT_SWEEP_GOT_PARTITION": "short"}
    assert identify(step, host="").partition == "short"
    assert identify(SRUN | {"SLURM_JOB_PARTITION": "long"}, host="").partition == "long"
    assert identify(SRUN, host="").partition is None
    assert identify(step | LOCAL, host="laptop").partition is None
