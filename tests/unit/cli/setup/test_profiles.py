"""What an admin meets: `profiles list | show | check | discover | drift`, by exit code and sentence."""

import os
import stat
from dataclasses import replace
from itertools import pairwise

import pytest

from launchers.checked import field_names
from launchers.profile import PartitionProfile
from tests.conftest import ROOT
from tests.unit.builders import profile, put_programs
from vit_sweep.__main__ import main
from vit_sweep.config.profile import check as profile_check
from vit_sweep.config.profile import files as profiles

LAB = "name: lab\nscheduler: slurm\nnodes: 4\ngpus_per_node: 8\ngpu_model: Tesla T4\n"


@pytest.fixture(autouse=True)
def _no_site_and_no_slurm(monkeypatch, tmp_path):
    """A machine without Slurm: only what scripts need is on PATH."""
    monkeypatch.delenv("VIT_SWEEP_CONF", raising=False)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "cat", "sh"):
        (programs / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(programs))


@pytest.fixture
def site(tmp_path):
    """Write profiles by name into a folder of the shape of conf/."""

    def write(**texts):
        (tmp_path / "site" / "partition").mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (tmp_path / "site" / "partition" / f"{name}.yaml").write_text(text)
        return tmp_path / "site"

    return write


@pytest.fixture
def verb(capsys):
    """Run `profiles WORDS`; returns exit code, stdout and stderr."""

    def run(*words):
        code = main(["profiles", *map(str, words)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def checked(text, site, name="lab"):
    entries = profiles.catalog(site(**{name: text}), environ={})
    return profile_check.check(profiles.of_name(entries, name)[0], entries, live=None)


# --- list and show ----------------------------------------------------------------------------------


def test_list_names_every_shipped_profile_and_where_it_is(verb):
    code, out, _ = verb("list")
    assert code == 0
    for path in (ROOT / "conf" / "partition").glob("*.yaml"):
        assert path.stem in out
    assert "54 x 8" in out
    assert "shipped" in out


def test_the_site_folder_and_config_dir_are_listed_with_their_origin(verb, site, monkeypatch, tmp_path):
    monkeypatch.setenv("VIT_SWEEP_CONF", str(site(lab=LAB)))
    own_folder = tmp_path / "mine" / "partition"
    own_folder.mkdir(parents=True)
    (own_folder / "other.yaml").write_text(LAB.replace("lab", "other"))
    _, out, _ = verb("list", "--config-dir", own_folder.parent)
    rows = {line.split()[0]: line for line in out.splitlines() if line.split()}
    assert "site" in rows["lab"]
    assert "--config-dir" in rows["other"]


def test_one_folder_named_twice_hides_nothing(verb, site, monkeypatch, tmp_path):
    folder = site(lab=LAB)
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.setenv("VIT_SWEEP_CONF", str(tmp_path / "link"))
    code, out, _ = verb("check", "lab", "--config-dir", folder)
    assert (code, "the same name" in out) == (0, False)


def test_a_wrong_profile_does_not_hide_the_others(verb, site):
    code, out, _ = verb("list", "--config-dir", site(lab=LAB, broken="nodes: [\n"))
    assert code == 0
    assert "broken" in out
    assert "lab" in out


def test_show_says_for_every_key_its_value_its_meaning_and_whether_it_is_given(verb, site):
    code, out, _ = verb("show", "lab", "--config-dir", site(lab=LAB))
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.split()}
    assert set(field_names(PartitionProfile)) <= set(rows)
    assert "given" in rows["nodes"]
    assert "default" in rows["max_minutes"]
    assert "1440" in rows["max_minutes"]


def test_square_brackets_are_shown_as_they_are(verb, site):
    folder = site(lab=LAB.replace("Tesla T4", '"[/red] T4"') + "refused_precisions: [bf16]\n")
    _, out, _ = verb("show", "lab", "--config-dir", folder)
    assert "[bf16]" in out
    assert "[/red] T4" in out
    assert "[/red] T4" in verb("list", "--config-dir", folder)[1]


def test_every_key_has_a_meaning():
    assert [key for key, meaning in profiles.meanings().items() if not meaning] == []


def test_the_schemas_own_words_are_shown():
    assert profiles.meanings()["nodes"] == "Hosts that one job may use."
    assert profiles.meanings()["spawner"].endswith("One of: srun, torchrun, mpirun.")


# --- check ------------------------------------------------------------------------------------------


def test_every_shipped_profile_passes(verb):
    code, out, err = verb("check")
    assert code == 0, out + err
    assert "wrong" not in out


def test_the_smallest_and_the_largest_job_are_rendered(site):
    verdict = checked(LAB, site)
    assert verdict.problems == ()
    assert verdict.remarks == (
        "1 node x 1 GPU, 60 min: the script is well formed",
        "4 nodes x 8 GPUs, 1440 min: the script is well formed",
    )


def test_allowed_counts_decide_which_jobs_are_the_ends():
    small, large = profile_check.shapes(profile(allowed_gpus=(2, 4, 16)))
    assert (small.nodes, small.gpus_per_node, large.nodes, large.gpus_per_node) == (1, 2, 2, 8)


def test_hosts_of_unlike_gpus_bound_the_largest_job_unless_they_may_mix(site):
    """The paper's Tesla hosts: three of five have the same GPU."""
    entries = profiles.catalog(None, environ={})
    tesla, _ = profiles.load(profiles.of_name(entries, "tesla")[0], entries)
    assert profile_check.shapes(tesla)[1].nodes == 3
    assert profile_check.shapes(replace(tesla, mixed_hosts=True))[1].nodes == 5


def test_allowed_counts_that_fit_no_nodes_are_a_problem(site):
    verdict = checked(LAB + "allowed_gpus: [31]\n", site)
    assert "none lies evenly over 4 nodes x 8 GPUs" in verdict.problems[0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (LAB + "gpu_typ: t4\n", "unknown key gpu_typ – did you mean gpu_type"),
        (LAB.replace("nodes: 4", "nodes: -4"), "nodes=-4 – must be at least 1"),
        (LAB + "setup: ['fi']\n", "bash refuses the script"),
        (LAB + "setup: ['echo \"unclosed']\n", "goes on behind its end (No closing quotation)"),
        (LAB + "setup: ['module load x \\']\n", "goes on behind its end (No escaped character)"),
        (LAB + "environment: {'X=1; touch y': '1'}\n", "environment.X=1; touch y is no name of a variable"),
        (LAB.replace("Tesla T4", '"T4\\nevil slots=1"'), "a line break or another control character"),
        ("a: &a [1]\n" + "".join(f"{b}: &{b} [*{a},*{a},*{a}]\n" for a, b in pairwise("abcdefghi")), "aliases or"),
        ("a: &a [1, {b: *a}]\n", "the value &a has itself inside"),
        ("a: " + "[" * 5000 + "]" * 5000 + "\n", "levels, which no file of keys needs"),
        (LAB + "# " + "x" * 2**18 + "\n", "more than 0.25 MiB"),
        (LAB.replace("name: lab", "name: other"), "name=other, but the file is lab.yaml; they must agree"),
        ("nodes: [\n", "not valid YAML"),
        ("- a\n- b\n", "a profile is a list of `key: value` lines, this is not"),
        (LAB + "account: ${oc.env:VIT_SWEEP_NO_SUCH_VARIABLE}\n", "VIT_SWEEP_NO_SUCH_VARIABLE"),
        ("defaults: [no_such_profile]\n" + LAB, "no_such_profile"),
        (b"name: \xff\n", "cannot be read"),
    ],
)
def test_a_wrong_profile_is_told_in_words(text, named, site, tmp_path):
    if isinstance(text, bytes):
        folder = site(lab="")
        (folder / "partition" / "lab.yaml").write_bytes(text)
        entries = profiles.catalog(folder, environ={})
        verdict = profile_check.check(profiles.of_name(entries, "lab")[0], entries, live=None)
    else:
        verdict = checked(text, site)
    assert any(named in problem for problem in verdict.problems), verdict
    assert all("\n" not in problem for problem in verdict.problems)


def test_setup_lines_with_quotes_and_newlines_are_fine(site):
    assert checked(LAB + 'setup: ["echo \'it is\' \\"fine\\"", "if true\\nthen true\\nfi"]\n', site).problems == ()


def test_a_profile_may_build_on_a_shipped_one(site):
    entries = profiles.catalog(site(mine="defaults: [vector_t4v2]\nname: mine\naccount: physics\n"), environ={})
    read, _ = profiles.load(profiles.of_name(entries, "mine")[0], entries)
    assert (read.name, read.nodes, read.account) == ("mine", 54, "physics")


def test_without_a_name_one_wrong_profile_fails_all_and_is_named(verb, site):
    code, out, _ = verb("check", "--config-dir", site(lab=LAB, bad=LAB.replace("lab", "bad") + "node: 1\n"))
    assert code == 1
    assert "wrong  bad" in out
    assert "unknown key node – did you mean nodes?" in out
    assert "ok     lab" in out


def test_a_file_that_a_shipped_one_hides_is_wrong(verb, site):
    code, out, _ = verb("check", "local", "--config-dir", site(local=LAB.replace("lab", "local")))
    assert code == 1
    assert "local.yaml is never used" in " ".join(out.split())


def test_a_sweep_takes_the_profile_that_check_says_it_takes(verb, site, sweep):
    """Hydra's order of folders is the one of `catalog`."""
    folder = site(local=LAB.replace("lab", "local"))
    shown = sweep(f"--config-dir={folder}", "partition=local", "--cfg", "job").stdout
    assert "CPU process" in shown
    assert "Tesla T4" not in shown


@pytest.mark.parametrize("shape", ["absent", "file", "partition_is_a_file"])
def test_a_config_dir_that_cannot_be_read_is_a_sentence(shape, verb, tmp_path):
    folder = tmp_path / "conf"
    if shape == "file":
        folder.write_text("")
    elif shape == "partition_is_a_file":
        folder.mkdir()
        (folder / "partition").write_text("")
    code, _, err = verb("check", "--config-dir", folder)
    assert code == 2
    assert f"there is no folder {folder}/partition – name a folder that holds partition/*.yaml" in err


def test_a_site_folder_that_is_not_there_is_a_sentence(verb, monkeypatch, tmp_path):
    monkeypatch.setenv("VIT_SWEEP_CONF", str(tmp_path / "nowhere"))
    code, _, err = verb("list")
    assert code == 2
    assert f"VIT_SWEEP_CONF={tmp_path}/nowhere: " in err
    assert "no such folder" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_without_permission_is_a_sentence(verb, site):
    folder = site(lab=LAB)
    (folder / "partition").chmod(0)
    code, _, err = verb("list", "--config-dir", folder)
    (folder / "partition").chmod(stat.S_IRWXU)
    assert code == 2
    assert "cannot be read" in err


def test_a_partition_that_is_a_file_in_the_site_folder_is_a_sentence(verb, monkeypatch, tmp_path):
    (tmp_path / "partition").write_text("")
    monkeypatch.setenv("VIT_SWEEP_CONF", str(tmp_path))
    code, _, err = verb("list")
    assert code == 2
    assert f"{tmp_path}/partition cannot be read: Not a directory" in err


# --- discover and drift -----------------------------------------------------------------------------


def test_discover_without_slurm_is_a_sentence(verb, tmp_path):
    code, _, err = verb("discover", "--write", tmp_path / "new")
    assert code == 2
    assert "sinfo and scontrol not on PATH: this machine has no Slurm" in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "vector_t4"], "vector_t4: there is no such profile – did you mean vector_t4v2"),
        (["drift", "vector_t4v2"], "this machine has no Slurm"),
        (["drift", "local"], "local has scheduler=local: only Slurm has a cluster to compare"),
    ],
)
def test_what_cannot_be_shown_or_compared_is_a_sentence(verb, words, sentence):
    code, _, err = verb(*words)
    assert (code, sentence in err) == (2, True), err


@pytest.fixture
def captured_slurm(tmp_path):
    """Programs named sinfo and scontrol that print a captured cluster; returns the folder of its texts."""
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, file in (("partition", "partitions"), ("node", "nodes"), ("config", "config")):
        (texts / name).write_text((ROOT / "tests/unit/launchers/slurm/captured/23.11" / f"{file}.txt").read_text())
    put_programs(tmp_path / "bin", scontrol=f'cat "{texts}/$2"', sinfo="echo slurm 23.11.4")
    return texts


def test_discover_prints_without_write_and_writes_nothing(verb, captured_slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = verb("discover")
    assert code == 0
    assert "name: mixed-lab_accel_v100" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_what_discover_writes_passes_check_and_is_never_overwritten(verb, captured_slurm, tmp_path):
    code, out, _ = verb("discover", "--write", tmp_path / "new")
    assert code == 0
    assert out.count("written: ") == 3
    assert verb("check", "--config-dir", tmp_path / "new")[0] == 0
    own_file = tmp_path / "new" / "partition" / "mixed-lab_accel_v100.yaml"
    own_file.write_text("# mine\n")
    code, out, _ = verb("discover", "--write", tmp_path / "new")
    assert code == 0
    assert own_file.read_text() == "# mine\n"
    assert out.count("left alone, it exists: ") == 3
    assert [path.name for path in own_file.parent.iterdir() if path.suffix != ".yaml"] == []


def test_drift_of_a_profile_of_another_cluster_asks_that_cluster(verb, captured_slurm, tmp_path):
    assert verb("discover", "--write", tmp_path / "new")[0] == 0
    own_file = tmp_path / "new" / "partition" / "mixed-lab_accel_v100.yaml"
    own_file.write_text(f"{own_file.read_text()}cluster: west\n")
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/sh\n[ "$1" = --clusters=west ] && cat "{captured_slurm}/$3"\n')
    code, out, err = verb("drift", "mixed-lab_accel_v100", "--config-dir", tmp_path / "new")
    assert (code, err) == (0, ""), out


def test_an_unexpected_answer_is_named_and_nothing_is_written(verb, captured_slurm, tmp_path):
    (captured_slurm / "node").write_text("scontrol: this site's wrapper says hello\n")
    code, _, err = verb("discover", "--write", tmp_path / "new")
    assert code == 2
    assert "`scontrol show node` printed a line that does not begin with NodeName=" in err
    assert "nothing was written" in err
    assert not (tmp_path / "new").exists()


def test_a_program_that_fails_is_named_with_its_words(verb, captured_slurm, tmp_path):
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    code, _, err = verb("discover")
    assert code == 2
    assert "`scontrol show config` failed (exit 1): Unable to contact slurm controller" in err


def test_a_folder_that_cannot_be_written_is_a_sentence(verb, captured_slurm, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = verb("discover", "--write", tmp_path / "file")
    assert code == 2
    assert f"--write={tmp_path}/file" in err


@pytest.mark.parametrize("name", ["list", "show", "check", "discover", "drift"])
def test_every_verb_has_an_example_in_its_help(verb, name):
    code, out, _ = verb(name, "--help")
    assert code == 0
    assert f"Example: vit_sweep profiles {name}" in " ".join(out.split())


def test_a_controller_that_does_not_answer_is_no_fault_of_the_profile(sweep, tmp_path):
    """Programs of Slurm without a Slurm behind them: what a login node looks like during maintenance."""
    away = "echo 'Unable to contact slurm controller' >&2\nexit 1"
    put_programs(tmp_path / "bin", sbatch=away, scontrol=away, sinfo=away)
    answer = sweep("profiles", "check", "vector_t4v2")
    assert answer.returncode == 0, answer.stdout
    assert "no Slurm controller answers here" in answer.stdout


def test_a_profile_of_another_cluster_is_not_judged_by_this_one_unless_it_is_named(tmp_path, monkeypatch):
    put_programs(tmp_path, sbatch="echo 'invalid partition specified: vector' >&2\nexit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    west = profile(cluster="west", partition="vector")
    problems, remarks = [], []
    profile_check._check_script(west, profile_check.shapes(west)[0], ("vector",), problems, remarks)
    assert problems == []
    assert "asks its cluster west" in remarks[0]
