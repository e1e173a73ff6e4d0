"""Who starts the ranks in a Slurm job: srun, torchrun, mpirun, containers, and what happens when they end."""

import re
import shutil
import subprocess
import time

import pytest

from launchers.batch import Shape
from launchers.errors import UserError
from launchers.profile import Container, ContainerRuntime, GpuDialect, Spawner
from launchers.slurm.sbatch import render
from tests.unit.builders import batch, profile, put_programs

TWO_BY_FOUR = Shape(nodes=2, gpus_per_node=4, minutes=60)
NASTY_FOLDER = '/a b/it\'s "$HOME" `id`;x'
SLURM = {
    "SLURM_ARRAY_JOB_ID": "4711",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_JOB_NODELIST": "localhost,other",
    "SLURM_JOB_NUM_NODES": "2",
    "PATH": "/usr/bin:/bin",
}


def script(spawner, *, environment=None, study_dir="/studies/s", closing=None, code=None, **changes):
    this_batch = batch(
        profile=profile(spawner=spawner, **changes),
        shape=TWO_BY_FOUR,
        study_dir=study_dir,
        environment=environment or {},
        closing=closing,
        code=code,
    )
    text = render(this_batch, python="/usr/bin/python3")
    assert subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True).stderr == ""
    return text


def flags(text):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))


def run(text, tmp_path, **environ):
    """Run the script where the programs of `tmp_path` come first."""
    environment = SLURM | {"PATH": f"{tmp_path}:{SLURM['PATH']}"} | environ
    return subprocess.run(["bash"], input=text, text=True, capture_output=True, env=environment, timeout=300)


def executed(text, tmp_path, **environ):
    """Run the script with programs that note their words: (words of srun, of mpirun)."""
    noting = {
        name: f'printf "%s\\0" "$@" > {tmp_path}/{name}.words\nenv -0 > {tmp_path}/env' for name in ("srun", "mpirun")
    }
    put_programs(tmp_path, scontrol='[ "$2" = hostnames ] && tr , "\\n" <<< "$3"', **noting)
    completed = run(text, tmp_path, **environ)
    assert completed.stderr == ""
    return next(
        (tmp_path / f"{p}.words").read_text().split("\0")[:-1]
        for p in ("srun", "mpirun")
        if (tmp_path / f"{p}.words").exists()
    )


def seen_by_ranks(tmp_path):
    """The variables of what `executed` ran."""
    return dict(item.split("=", 1) for item in (tmp_path / "env").read_text().split("\0") if "=" in item)


# --- torchrun -----------------------------------------------------------------------------------------


def test_torchrun_is_one_slurm_task_per_node_with_the_cores_of_all_its_ranks():
    written = flags(script(Spawner.TORCHRUN, cpus_per_gpu=3))
    assert (written["nodes"], written["ntasks-per-node"], written["cpus-per-task"]) == ("2", "1", "12")
    assert written["gres"] == "gpu:4"
    assert "--cpus-per-task=12" in script(Spawner.TORCHRUN, cpus_per_gpu=3)


def test_torchruns_single_task_gets_all_gpus_of_its_node():
    written = flags(script(Spawner.TORCHRUN, gpu_dialect=GpuDialect.GPUS_PER_TASK))
    assert written["gpus-per-task"] == "4"


def test_every_node_meets_at_the_first_one_on_a_port_of_the_jobs_own(tmp_path):
    words = executed(script(Spawner.TORCHRUN, study_dir=NASTY_FOLDER), tmp_path)
    assert words[-3:] == ["-m", "vit_sweep.job.task", batch(shape=TWO_BY_FOUR, study_dir=NASTY_FOLDER).folder]
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-backend=c10d", "--rdzv-id=4711_3_0"} <= set(words)
    assert "--rdzv-conf=join_timeout=600,read_timeout=600" in words, "by default the first to come waits a minute"
    (endpoint,) = (argument for argument in words if argument.startswith("--rdzv-endpoint="))
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
    handed = {words[i + 1] for i, argument in enumerate(words) if argument == "-x"}
    assert handed == {"NASTY", "OMP_NUM_THREADS", "VIT_SWEEP_JOB_ENDS", "VIT_SWEEP_NODES", "VIT_SWEEP_TASK_INDEX"}
    assert "--tag" in words
    assert words[-4:] == [
        "/usr/bin/python3",
        "-m",
        "vit_sweep.job.task",
        batch(shape=TWO_BY_FOUR, study_dir=NASTY_FOLDER).folder,
    ]
    environment_of_ranks = seen_by_ranks(tmp_path)
    assert (
        environment_of_ranks["NASTY"],
        environment_of_ranks["VIT_SWEEP_NODES"],
        environment_of_ranks["VIT_SWEEP_TASK_INDEX"],
    ) == ("it's $HOME", "2", "3")


def test_root_may_run_mpirun_only_where_the_profile_says_so():
    assert "ALLOW_RUN_AS_ROOT" not in script(Spawner.MPIRUN)
    assert "-x OMPI_ALLOW_RUN_AS_ROOT " in script(Spawner.MPIRUN, environment={"OMPI_ALLOW_RUN_AS_ROOT": "1"})


def test_the_batch_shell_gets_the_signal_and_hands_it_to_mpirun(tmp_path):
    text = script(Spawner.MPIRUN)
    assert flags(text)["signal"] == "B:USR2@90"
    # Until the shell catches USR2 (bit 12 of SigCgt) it would die of it.
    caught = "until grep -q '^SigCgt:.*[89a-f]..$' /proc/$PPID/status; do :; done"
    put_programs(tmp_path, mpirun=f'trap "exit 7" USR2\n{caught}\nkill -USR2 $PPID\nwhile :; do :; done')
    assert run(text, tmp_path).returncode == 7


def test_the_end_of_mpirun_is_the_end_of_the_job(tmp_path):
    put_programs(tmp_path, mpirun="exit 5")
    assert run(script(Spawner.MPIRUN), tmp_path).returncode == 5


# --- containers ---------------------------------------------------------------------------------------


def container(runtime=ContainerRuntime.APPTAINER, **changes):
    return Container(runtime=runtime, image="/images/my image.sif", mounts=("/data:/data",), **changes)


@pytest.mark.parametrize("spawner", Spawner)
def test_apptainer_runs_every_rank_with_the_study_mounted(tmp_path, spawner):
    words = executed(script(spawner, container=container()), tmp_path)
    start = words.index("apptainer")
    assert words[start : start + 9] == [
        "apptainer",
        "exec",
        "--nv",
        "--bind",
        "/studies/s",
        "--bind",
        "/data:/data",
        "/images/my image.sif",
        "python",
    ]


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


@pytest.mark.parametrize("spawner", Spawner)
def test_the_snapshot_of_the_code_comes_first_for_every_spawner_also_inside_an_image(tmp_path, spawner):
    code = "/studies/s/.code/1f2e"
    words = executed(script(spawner, code=code, container=container(), environment={"PYTHONPATH": "/mine"}), tmp_path)
    start = words.index("apptainer")
    assert words[start + 8 : start + 11] == ["env", f"PYTHONPATH={code}:/mine", "python"]
    plain = executed(script(spawner, code=code), tmp_path)
    assert seen_by_ranks(tmp_path)["PYTHONPATH"] == code
    assert spawner is not Spawner.MPIRUN or "PYTHONPATH" in plain


def test_pyxis_takes_the_snapshot_from_the_job_and_not_from_the_image(tmp_path):
    words = executed(script(Spawner.SRUN, code="/c", container=container(ContainerRuntime.PYXIS)), tmp_path)
    assert "--container-env=OMP_NUM_THREADS,PYTHONPATH,PYTHONSAFEPATH" in words


# --- the end of a job ---------------------------------------------------------------------------------

STARTERS = {Spawner.SRUN: "srun", Spawner.TORCHRUN: "srun", Spawner.MPIRUN: "mpirun"}


def ended(tmp_path, spawner, code, *, closing=0, states=("RUNNING",), absent=None, **changes):
    """Run a script whose ranks end with `code`, and its closing module with `closing`; (exit code, words of all calls).

    `states` are what squeue answers, call by call; "" is a controller that does not answer. `absent`: a program that
    is not on the nodes.
    """
    calls = tmp_path / "calls"
    calls.unlink(missing_ok=True)
    (tmp_path / "states").write_text("".join(f"{state}\n" for state in states))
    programs = {
        "python": f'echo "closing $*" >> {calls}; exit {closing}',
        "sleep": f'echo "sleep $*" >> {calls}',
        "squeue": f"state=$(head -n 1 {tmp_path}/states); sed -i 1d {tmp_path}/states\n"
        f'echo "squeue $*" >> {calls}; [ -n "$state" ] && echo "$state"',
        "scontrol": f'if [ "$1" = requeue ]; then echo "scontrol $*" >> {calls}; else echo localhost; fi',
        "srun": f'case "$*" in *closing.module*) exec "${{@: -5}}";; esac; echo ranks >> {calls}; exit {code}',
        "mpirun": f"echo ranks >> {calls}; exit {code}",
    }
    put_programs(tmp_path, **programs)
    environ = {}
    if absent is not None:
        (tmp_path / absent).unlink()
        for name in ("bash", "date", "head", "sed"):
            (tmp_path / name).symlink_to(shutil.which(name))
        environ = {"PATH": str(tmp_path)}
    text = script(spawner, python=f"{tmp_path}/python", closing="closing.module", **changes)
    completed = run(text, tmp_path, **environ)
    assert completed.stderr == "" or absent in completed.stderr
    return completed.returncode, calls.read_text().splitlines()


FOLDER = batch(shape=TWO_BY_FOUR).folder


@pytest.mark.parametrize("spawner", Spawner)
def test_a_good_end_has_no_closing(tmp_path, spawner):
    assert ended(tmp_path, spawner, 0) == (0, ["ranks"])


@pytest.mark.parametrize("spawner", Spawner)
@pytest.mark.parametrize("code", [1, 75, 137])
def test_a_bad_end_is_told_to_the_closing_module_and_stays_the_jobs_own(tmp_path, spawner, code):
    assert ended(tmp_path, spawner, code) == (code, ["ranks", f"closing -m closing.module {FOLDER} {code}"])


@pytest.mark.parametrize("spawner", Spawner)
def test_a_closing_module_that_asks_for_it_has_the_running_job_started_again(tmp_path, spawner):
    code, calls = ended(tmp_path, spawner, 1, closing=75)
    assert (code, calls[2:]) == (
        1,
        ["sleep 0", "squeue --noheader --jobs=4711_3 --format=%T", "scontrol requeue 4711_3"],
    )


@pytest.mark.parametrize("state", ["COMPLETING", "PENDING", "CANCELLED"])
def test_a_job_that_is_being_ended_is_not_brought_back(tmp_path, state):
    code, calls = ended(tmp_path, Spawner.SRUN, 143, closing=75, states=[state])
    assert (code, [call for call in calls if "requeue" in call]) == (143, [])


def test_a_controller_that_is_away_is_asked_again(tmp_path):
    code, calls = ended(tmp_path, Spawner.SRUN, 1, closing=75, states=["", "", "RUNNING"])
    assert calls[-1] == "scontrol requeue 4711_3"
    assert [call for call in calls if "sleep" in call] == ["sleep 0", "sleep 5", "sleep 15"]
    code, calls = ended(tmp_path, Spawner.SRUN, 1, closing=75, states=[""] * 9)
    assert (code, len([call for call in calls if "squeue" in call])) == (1, 4)
    assert "scontrol requeue 4711_3" not in calls


@pytest.mark.parametrize("absent", ["squeue", "scontrol"])
def test_a_job_without_slurms_programs_on_its_nodes_gives_them_back_at_once(tmp_path, absent):
    code, calls = ended(tmp_path, Spawner.SRUN, 1, closing=75, absent=absent)
    assert code == 1
    assert [call for call in calls if call.startswith(("sleep", "squeue", "scontrol"))] in ([], ["sleep 0"])


def test_only_the_agreed_code_asks_for_another_start(tmp_path):
    assert ended(tmp_path, Spawner.SRUN, 75, closing=1)[1][-1].startswith("closing ")


@pytest.mark.parametrize("spawner", Spawner)
@pytest.mark.parametrize("strict", ["set -e", "set -eu"])
def test_a_site_with_a_strict_shell_still_hears_of_the_end(tmp_path, spawner, strict):
    code, calls = ended(tmp_path, spawner, 1, closing=75, setup=(strict,))
    assert (code, calls[-1]) == (1, "scontrol requeue 4711_3")


def test_teardown_does_not_change_how_the_job_ended_and_comes_before_the_closing(tmp_path):
    code, calls = ended(tmp_path, Spawner.SRUN, 9, teardown=(f"echo torn >> {tmp_path}/calls",))
    assert (code, calls[:2]) == (9, ["ranks", "torn"])
    assert calls[2].startswith("closing ")
    code, calls = ended(tmp_path, Spawner.SRUN, 9, teardown=("set -e", "exit 0"))
    assert (code, calls[1].partition(" ")[0]) == (9, "closing")


def test_the_closing_module_runs_in_the_ranks_image(tmp_path):
    text = script(Spawner.SRUN, closing="closing.module", container=container())
    (line,) = [line for line in text.splitlines() if "closing.module" in line]
    assert line.strip().startswith("apptainer exec --nv --bind /studies/s ")
    pyxis = container(ContainerRuntime.PYXIS, python="python")
    code, calls = ended(tmp_path, Spawner.SRUN, 3, container=pyxis)
    assert (code, calls[1]) == (3, f"closing -m closing.module {FOLDER} 3")
    (line,) = [
        line
        for line in script(Spawner.SRUN, closing="closing.module", container=pyxis).splitlines()
        if "closing.module" in line
    ]
    assert line.strip().startswith("srun --nodes=1 --ntasks=1 --overlap '--container-image=/images/my image.sif' ")


@pytest.mark.parametrize("spawner", Spawner)
def test_every_rank_knows_when_the_time_limit_ends_the_job(tmp_path, spawner):
    before = time.time()
    words = executed(script(spawner), tmp_path)
    assert int(before) + 3600 <= int(seen_by_ranks(tmp_path)["VIT_SWEEP_JOB_ENDS"]) <= time.time() + 3600
    assert spawner is not Spawner.MPIRUN or "VIT_SWEEP_JOB_ENDS" in words


@pytest.mark.parametrize(
    ("spawner", "runtime"),
    [(s, r) for s in Spawner for r in (None, *ContainerRuntime) if (s, r) != (Spawner.MPIRUN, ContainerRuntime.PYXIS)],
)
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing(spawner, runtime):
    text = script(spawner, closing="closing.module", container=runtime and container(runtime), teardown=("true",))
    completed = subprocess.run(["shellcheck", "--shell=bash", "-"], input=text, text=True, capture_output=True)
    assert completed.stdout == ""
