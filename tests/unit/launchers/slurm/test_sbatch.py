"""A batch's sbatch script: its flags, its quoting, and what it never depends on."""

import re
import signal
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launchers.batch import SETUP_FAILED, Shape
from launchers.errors import UserError
from launchers.profile import GpuDialect
from launchers.slurm.sbatch import render
from tests.unit.builders import batch, profile, put_programs


def script(python="/usr/bin/python3", **changes):
    return render(batch(**changes), python=python)


def flags(text):
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE))


def bash(text, *options):
    """Run bash on `text`, without the caller's environment."""
    return subprocess.run(
        ["bash", *options], input=text.encode(), capture_output=True, env={}, check=False, timeout=300
    )


@pytest.mark.parametrize(
    ("dialect", "flag", "value"),
    [
        (GpuDialect.GRES, "gres", "gpu:2"),
        (GpuDialect.GRES_TYPED, "gres", "gpu:t4:2"),
        (GpuDialect.GPUS_PER_NODE, "gpus-per-node", "t4:2"),
        (GpuDialect.GPUS_PER_TASK, "gpus-per-task", "t4:1"),
        (GpuDialect.GPUS, "gpus", "t4:2"),
    ],
)
def test_gpus_are_asked_for_in_the_sites_dialect_and_no_other(dialect, flag, value):
    written = flags(script(profile=profile(gpu_dialect=dialect, gpu_type="t4")))
    assert {key: written[key] for key in written if key.startswith(("gres", "gpus"))} == {flag: value}


def test_gpus_that_are_counted_for_the_whole_job_lie_evenly_over_its_nodes():
    """Slurm gave `--nodes=2 --gpus=4` three GPUs of one node and one of the other."""
    shape = Shape(nodes=2, gpus_per_node=2, minutes=10)
    written = flags(script(profile=profile(gpu_dialect=GpuDialect.GPUS, gpu_type="t4"), shape=shape))
    assert (written["gpus"], written["gpus-per-node"]) == ("t4:4", "t4:2")


def test_the_flags_ask_for_the_shape_and_the_partitions_words():
    site = profile(partition="t4v2", qos="normal", account="me", mem_gib=8, exclusive=True, cpus_per_gpu=4)
    written = flags(script(profile=site, shape=Shape(nodes=2, gpus_per_node=8, minutes=17)))
    assert (
        written
        | {
            "nodes": "2",
            "ntasks-per-node": "8",
            "cpus-per-task": "4",
            "time": "17",
            "partition": "t4v2",
            "qos": "normal",
            "account": "me",
            "mem": "8G",
            "exclusive": "",
            "array": "0-1%2",
            "signal": "USR2@90",
            "requeue": "",
            "open-mode": "append",
        }
        == written
    )


def test_a_site_that_forbids_it_gets_no_job_that_is_started_again():
    text = script(profile=profile(requeue=False), closing="site.closing")
    assert ("requeue" in flags(text), "no-requeue" in flags(text)) == (False, True)
    assert "site.closing" in text
    assert "scontrol requeue" not in text


def test_nodes_that_failed_are_excluded_beside_those_that_the_profile_excludes():
    assert "exclude" not in flags(script())
    assert flags(script(exclude=("n1", "n2")))["exclude"] == "n1,n2"
    assert flags(script(exclude=("n1", "n2"), profile=profile(exclude="bad[1-2]")))["exclude"] == "'bad[1-2],n1,n2'"


@pytest.mark.parametrize(("dialect", "gres"), [("gres", "gpu:2,nvme:1"), ("none", "nvme:1"), ("gpus", "nvme:1")])
def test_what_is_needed_beside_gpus_is_asked_for_in_the_same_flag(dialect, gres):
    site = profile(gpu_dialect=GpuDialect(dialect), gres=("nvme:1",), exclusive=True)
    assert flags(script(profile=site))["gres"] == gres


@pytest.mark.parametrize(("gib", "mem"), [(8, "8G"), (182.617, "187000M"), (0, "0")])
def test_memory_is_asked_for_in_whole_gib_or_in_mib_or_all_of_it(gib, mem):
    assert flags(script(profile=profile(mem_gib=gib)))["mem"] == mem


def test_where_there_are_no_arrays_a_cell_is_a_job_that_calls_itself_the_only_task():
    one = batch().tasks[:1]
    text = script(profile=profile(max_array_size=1), tasks=one, closing="site.closing")
    assert "array" not in flags(text)
    assert "%A" not in text
    assert "export SLURM_ARRAY_JOB_ID=$SLURM_JOB_ID SLURM_ARRAY_TASK_ID=0" in text
    assert "  me=$SLURM_JOB_ID\n" in text.replace("    me", "  me")
    assert flags(script(tasks=one))["array"] == "0-0%1"


def test_a_job_on_whole_nodes_tells_its_ranks_what_it_holds():
    shape = Shape(nodes=1, gpus_per_node=2, minutes=9)
    assert "VIT_SWEEP_ALLOCATED_GPUS=8" in script(profile=profile(exclusive=True), shape=shape)
    assert "ALLOCATED" not in script(shape=shape)


def test_a_sites_own_comment_and_an_export_of_nothing_leave_the_ranks_their_variables():
    text = script(profile=profile(sbatch={"comment": "project=7", "export": "NONE"}))
    assert flags(text) | {"comment": "project=7", "export": "NONE"} == flags(text)
    assert text.index("export SLURM_EXPORT_ENV=ALL") < text.index("srun ")


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


@pytest.mark.parametrize(
    ("changes", "ran"),
    [
        ({"setup": ("true # with a comment", "nomodule load cuda")}, b"closed 78\n"),
        ({"setup": ("true # with a comment",)}, b"ranks\n"),
        ({"setup": ("nomodule load cuda",), "setup_may_fail": True}, b"ranks\n"),
        ({"setup": ("if true; then", "true", "fi"), "setup_may_fail": True}, b"ranks\n"),
    ],
)
def test_a_setup_line_that_fails_ends_the_job_by_way_of_its_closing_module(tmp_path, changes, ran):
    """`ranks` and `closed` stand for what the script would start."""
    put_programs(tmp_path, site='[[ "$*" = *site.closing* ]] && echo "closed ${!#}"\nexit 0')
    text = script(python=str(tmp_path / "site"), profile=profile(**changes), closing="site.closing")
    completed = bash("srun() { echo ranks; }\n" + text)
    assert completed.stdout == ran
    failed = b"closed" in ran
    assert completed.returncode == (SETUP_FAILED if failed else 0)
    assert (b"vit_sweep: setup line ended with code 127: nomodule load cuda" in completed.stderr) == failed


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("exit 0",), 0),
        (("set -e", "false"), 1),
        (("set -euo pipefail", "true", "echo $UNHEARD_OF"), 1),
        ((": ${PROJECT:?is not set}",), 1),
        (("cat > /dev/null <<EOF",), 0),
        (("if true",), 2),
        (("conda activate {",), 127),
        (("(",), 2),
        (("fi",), 2),
        (("set -o posix", ". /nonexistent/activate"), 1),
        (("source /nonexistent/activate",), 1),
        (("return 4",), 2),
        (("cd /nonexistent",), 1),
        (("false | true", "set -o pipefail", "false | true"), 1),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else None,
)
def test_a_setup_line_that_ends_the_script_itself_does_so_too(tmp_path, lines, code):
    """Whatever Bash makes of it, the ranks are not started, and the closing module hears of it."""
    put_programs(tmp_path, site='[[ "$*" = *site.closing* ]] && echo "closed ${!#}"\nexit 0')
    text = script(python=str(tmp_path / "site"), profile=profile(setup=lines), closing="site.closing")
    completed = bash("srun() { echo ranks; }\n" + text)
    assert (completed.stdout, completed.returncode) == (b"closed 78\n", SETUP_FAILED)
    assert completed.stderr.decode().splitlines()[-1] in (
        f"vit_sweep: setup line ended with code {code}: {lines[-1]}",
        f"vit_sweep: setup line ended the script with code {code}: {lines[-1]}",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_job_that_slurm_ends_in_its_setup_was_not_ended_by_a_line_of_it(number):
    lines = (f"kill -{number:d} $$", "sleep 60")
    completed = bash("srun() { echo ranks; }\n" + script(profile=profile(setup=lines), closing="site.closing"))
    assert completed.returncode == -number
    assert b"setup line" not in completed.stderr


def test_what_a_setup_sets_for_itself_does_not_end_our_lines_and_its_own_traps_stay():
    lines = ("set -eu", "trap 'echo cleaned' EXIT")
    completed = bash("srun() { false; echo ranks $-; }\n" + script(profile=profile(setup=lines)))
    ranks, cleaned = completed.stdout.decode().splitlines()
    assert cleaned == "cleaned"
    assert not {"e", "u"} & set(ranks.removeprefix("ranks "))


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


@pytest.mark.parametrize("folder", ["/a%j/s", "/100%", "/a\nb", "/a\\b"])
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


CONTRADICTING = """
nodes ntasks ntasks-per-node ntasks_per_node gres gpus array output error time signal cpus-per-task qos mem job-name
open-mode export array het-group time-min tres-per-node chdir requeue no-requeue
"""


def test_further_flags_are_asked_for_to_the_letter():
    written = flags(
        script(profile=profile(sbatch={"mail-user": "me@site", "spread-job": True, "nice": 5, "hold": False}))
    )
    assert written | {"mail-user": "me@site", "spread-job": "", "nice": "5"} == written
    assert "hold" not in written


@pytest.mark.parametrize("flag", re.findall(r"\S+", CONTRADICTING))
def test_a_flag_that_contradicts_ours_is_refused_by_name(flag):
    with pytest.raises(UserError, match=f"^partition lab: sbatch.{flag}=1 – "):
        script(profile=profile(sbatch={flag: "1"}))


def test_a_flag_with_a_key_of_its_own_is_pointed_there():
    with pytest.raises(UserError, match="use mem_per_gpu_gib instead"):
        script(profile=profile(sbatch={"mem-per-gpu": "4G"}))


@pytest.mark.parametrize(
    "changes",
    [{"sbatch": {"mail-user": "a\nrm"}}, {"account": "a\nrm"}, {"sbatch": {"x\n#SBATCH --nodes": "1"}}],
)
def test_a_value_that_would_leave_its_line_is_refused(changes):
    with pytest.raises(UserError, match="a line break or another control character"):
        script(profile=profile(**changes))


@pytest.mark.parametrize("key", ["-N", "N", "mail user"])
def test_a_key_that_is_no_long_flag_is_refused(key):
    with pytest.raises(UserError, match="not the long name of a flag"):
        script(profile=profile(sbatch={key: "1"}))
