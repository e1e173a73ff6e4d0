"""Who starts the ranks: torchrun and mpirun lines, containers, further flags, and what a rank reads of each."""

import re
import subprocess

import pytest

from launchers.errors import UserError
from launchers.job import Shape
from launchers.profile import Container, ContainerRuntime, GpuDialect, Spawner
from launchers.rank import identify
from launchers.sbatch import render
from tests.unit.builders import batch, profile

TWO_BY_FOUR = Shape(nodes=2, gpus_per_node=4, minutes=60)
NASTY_FOLDER = '/a b/it\'s "$HOME" `id`;x'
SLURM = {"SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_NODELIST": "localhost,other",
         "SLURM_JOB_NUM_NODES": "2", "PATH": "/usr/bin:/bin"}  # fmt: skip


def script(spawner, shape=TWO_BY_FOUR, study_dir="/studies/s", environment=None, **changes):
    site = profile(spawner=spawner, **changes)
    made = batch(profile=site, shape=shape, study_dir=study_dir, environment=environment or {})
    text = render(made, python="/usr/bin/python3")
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
    return text


def flags(text):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))


def executed(text, tmp_path, **environ):
    """Run the script with programs that note their words: (words of srun, of mpirun)."""
    for program in ("srun", "mpirun"):
        path = tmp_path / program
        path.write_text(f'#!/bin/bash\nprintf "%s\\0" "$@" > {tmp_path}/{program}.words\nenv -0 > {tmp_path}/env\n')
        path.chmod(0o755)
    (tmp_path / "scontrol").write_text('#!/bin/bash\n[ "$2" = hostnames ] && tr , "\\n" <<< "$3"\n')
    (tmp_path / "scontrol").chmod(0o755)
    environment = SLURM | {"PATH": f"{tmp_path}:{SLURM['PATH']}"} | environ
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, env=environment, timeout=30)
    assert done.stderr == ""
    return next((tmp_path / f"{p}.words").read_text().split("\0")[:-1] for p in ("srun", "mpirun")
                if (tmp_path / f"{p}.words").exists())  # fmt: skip


# --- torchrun -----------------------------------------------------------------------------------------


def test_torchrun_is_one_slurm_task_per_node_with_the_cores_of_all_its_ranks():
    asked = flags(script(Spawner.TORCHRUN, cpus_per_gpu=3))
    assert (asked["nodes"], asked["ntasks-per-node"], asked["cpus-per-task"]) == ("2", "1", "12")
    assert asked["gres"] == "gpu:4"
    assert "--cpus-per-task=12" in script(Spawner.TORCHRUN, cpus_per_gpu=3)


def test_every_node_meets_at_the_first_one_on_a_port_of_the_jobs_own(tmp_path):
    words = executed(script(Spawner.TORCHRUN, study_dir=NASTY_FOLDER), tmp_path)
    assert words[-3:] == ["-m", "vit_sweep.task", batch(shape=TWO_BY_FOUR, study_dir=NASTY_FOLDER).folder]
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-backend=c10d", "--rdzv-id=4711_3_0"} <= set(words)
    (endpoint,) = (word for word in words if word.startswith("--rdzv-endpoint="))
    host, port = endpoint.removeprefix("--rdzv-endpoint=").split(":")
    assert host == "localhost"
    assert 20000 <= int(port) <= 32767


@pytest.mark.parametrize(
    "other", [{"SLURM_ARRAY_JOB_ID": "4712"}, {"SLURM_ARRAY_TASK_ID": "4"}, {"SLURM_RESTART_COUNT": "1"}]
)
def test_another_job_index_or_restart_tries_another_port_first(tmp_path, other):
    text = script(Spawner.TORCHRUN)
    ends = [next(w for w in executed(text, tmp_path, **env) if w.startswith("--rdzv-e")) for env in ({}, other)]
    assert ends[0] != ends[1]


def test_a_port_that_somebody_listens_on_is_passed_over(tmp_path):
    import socket

    text = script(Spawner.TORCHRUN)
    first = next(w for w in executed(text, tmp_path) if w.startswith("--rdzv-endpoint"))
    with socket.create_server(("localhost", int(first.split(":")[1]))):
        second = next(w for w in executed(text, tmp_path) if w.startswith("--rdzv-endpoint"))
    assert int(second.split(":")[1]) != int(first.split(":")[1])


def test_the_agent_outlives_the_signal_that_is_for_its_ranks(tmp_path):
    words = executed(script(Spawner.TORCHRUN), tmp_path)
    start = words.index("bash")
    probe = [*words[start : start + 4], "bash", "-c", "kill -USR2 $$; echo alive"]
    assert subprocess.run(probe, capture_output=True, text=True).stdout == "alive\n"


# --- mpirun -------------------------------------------------------------------------------------------


def test_mpirun_fills_node_after_node_from_the_batch_step_and_hands_every_variable_on(tmp_path):
    text = script(Spawner.MPIRUN, study_dir=NASTY_FOLDER, environment={"NASTY": "it's $HOME"}, mpirun_args=("--tag",))
    assert "srun" not in text
    words = executed(text, tmp_path)
    assert words[:5] == ["-np", "8", "--map-by", "ppr:4:node", "--bind-to"]
    handed = {words[i + 1] for i, word in enumerate(words) if word == "-x"}
    assert handed == {"NASTY", "OMP_NUM_THREADS", "VIT_SWEEP_NODES", "VIT_SWEEP_TASK_INDEX"}
    assert "--tag" in words
    assert words[-4:] == ["/usr/bin/python3", "-m", "vit_sweep.task",
                          batch(shape=TWO_BY_FOUR, study_dir=NASTY_FOLDER).folder]  # fmt: skip
    seen = dict(item.split("=", 1) for item in (tmp_path / "env").read_text().split("\0") if item)
    assert (seen["NASTY"], seen["VIT_SWEEP_NODES"], seen["VIT_SWEEP_TASK_INDEX"]) == ("it's $HOME", "2", "3")


def test_root_may_run_mpirun_only_where_the_profile_says_so():
    assert "ALLOW_RUN_AS_ROOT" not in script(Spawner.MPIRUN)
    assert "-x OMPI_ALLOW_RUN_AS_ROOT " in script(Spawner.MPIRUN, environment={"OMPI_ALLOW_RUN_AS_ROOT": "1"})


def test_the_batch_shell_gets_the_signal_and_hands_it_to_mpirun(tmp_path):
    text = script(Spawner.MPIRUN)
    assert flags(text)["signal"] == "B:USR2@90"
    environment = SLURM | {"PATH": f"{tmp_path}:{SLURM['PATH']}"}
    (tmp_path / "mpirun").write_text('#!/bin/bash\ntrap "exit 7" USR2\n'
                                     # Until the shell catches USR2 (bit 12 of SigCgt) it would die of it.
                                     "until grep -q '^SigCgt:.*[89a-f]..$' /proc/$PPID/status; do :; done\n"
                                     "kill -USR2 $PPID\nwhile :; do :; done\n")  # fmt: skip
    (tmp_path / "mpirun").chmod(0o755)
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, env=environment, timeout=15)
    assert done.returncode == 7


def test_the_end_of_mpirun_is_the_end_of_the_job(tmp_path):
    (tmp_path / "mpirun").write_text("#!/bin/bash\nexit 5\n")
    (tmp_path / "mpirun").chmod(0o755)
    environment = SLURM | {"PATH": f"{tmp_path}:{SLURM['PATH']}"}
    assert subprocess.run(["bash"], input=script(Spawner.MPIRUN), text=True, env=environment).returncode == 5


# --- containers ---------------------------------------------------------------------------------------


def container(runtime=ContainerRuntime.APPTAINER, **changes):
    return Container(runtime=runtime, image="/images/my image.sif", mounts=("/data:/data",), **changes)


@pytest.mark.parametrize("spawner", Spawner)
def test_apptainer_runs_every_rank_with_the_study_mounted(tmp_path, spawner):
    words = executed(script(spawner, container=container()), tmp_path)
    start = words.index("apptainer")
    assert words[start : start + 9] == ["apptainer", "exec", "--nv", "--bind", "/studies/s", "--bind", "/data:/data",
                                        "/images/my image.sif", "python"]  # fmt: skip


def test_pyxis_is_flags_of_srun_and_our_variables_win_over_the_images(tmp_path):
    words = executed(script(Spawner.SRUN, container=container(ContainerRuntime.PYXIS, python="/opt/python")), tmp_path)
    assert "--container-image=/images/my image.sif" in words
    assert "--container-mounts=/studies/s:/studies/s,/data:/data" in words
    assert "--container-env=OMP_NUM_THREADS" in words
    assert words[-4] == "/opt/python"


def test_pyxis_with_mpirun_is_refused():
    with pytest.raises(UserError, match="pyxis is a plugin of srun, but mpirun starts the ranks – use"):
        script(Spawner.MPIRUN, container=container(ContainerRuntime.PYXIS))


@pytest.mark.parametrize("runtime", ContainerRuntime)
@pytest.mark.parametrize("folder", ["/a:b", "/a,b"])
def test_a_folder_that_a_mount_would_bend_is_refused(runtime, folder):
    with pytest.raises(UserError, match="use a folder without them"):
        script(Spawner.SRUN, container=container(runtime), study_dir=folder)


# --- flags --------------------------------------------------------------------------------------------


def test_torchruns_single_task_gets_all_gpus_of_its_node():
    asked = flags(script(Spawner.TORCHRUN, gpu_dialect=GpuDialect.GPUS_PER_TASK))
    assert asked["gpus-per-task"] == "4"


def test_further_flags_are_asked_for_to_the_letter():
    asked = flags(script(Spawner.SRUN, sbatch={"mail-user": "me@site", "requeue": True, "nice": 5, "hold": False}))
    assert asked | {"mail-user": "me@site", "requeue": "", "nice": "5"} == asked
    assert "hold" not in asked


@pytest.mark.parametrize("flag", ["nodes", "ntasks", "ntasks-per-node", "ntasks_per_node", "gres", "gpus", "array",
                                  "output", "error", "time", "signal", "cpus-per-task", "qos", "mem", "job-name",
                                  "comment", "open-mode", "export", "chdir"])  # fmt: skip
def test_a_flag_that_contradicts_ours_is_refused_by_name(flag):
    with pytest.raises(UserError, match=f"^partition lab: sbatch.{flag}=1 – "):
        script(Spawner.SRUN, sbatch={flag: "1"})


def test_a_flag_with_a_key_of_its_own_is_pointed_there():
    with pytest.raises(UserError, match="use mem_per_gpu_gib instead"):
        script(Spawner.SRUN, sbatch={"mem-per-gpu": "4G"})


@pytest.mark.parametrize("changes", [{"sbatch": {"mail-user": "a\nrm"}}, {"account": "a\nrm"}])
def test_a_value_that_would_leave_its_line_is_refused(changes):
    with pytest.raises(UserError, match="a flag of sbatch is one line"):
        script(Spawner.SRUN, **changes)


@pytest.mark.parametrize("key", ["-N", "N", "mail user", "x\n#SBATCH --nodes"])
def test_a_key_that_is_no_long_flag_is_refused(key):
    with pytest.raises(UserError, match="not the long name of a flag"):
        script(Spawner.SRUN, sbatch={key: "1"})


# --- ranks --------------------------------------------------------------------------------------------

ORTED = {"SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0", "SLURM_NODEID": "1",
         "SLURMD_NODENAME": "node02", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3",
         "SLURM_RESTART_COUNT": "2", "SLURM_GPUS_ON_NODE": "4"}  # fmt: skip
MPI = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
       "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "VIT_SWEEP_NODES": "2", "VIT_SWEEP_TASK_INDEX": "3"}  # fmt: skip
TORCH = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1",
         "TORCHELASTIC_RUN_ID": "17_3_2"}  # fmt: skip


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
