"""`doctor` names what a sweep would fail on, and ends with 1 only then."""

import importlib.util
import os
import time

import pytest

from tests.unit.builders import put_programs
from vit_sweep.__main__ import main


@pytest.fixture
def doctor(tmp_path, monkeypatch, capsys):
    """Run it in an empty folder where only the programs of `bodies` exist; returns its exit code and words."""
    monkeypatch.chdir(tmp_path)

    def run(*words, **bodies):
        programs = tmp_path / "bin"
        put_programs(programs, **bodies)
        monkeypatch.setenv("PATH", str(programs))
        code = main(["doctor", *words])
        return code, " ".join(capsys.readouterr().out.split())

    return run


def test_a_machine_without_slurm_and_gpu_can_sweep(doctor):
    code, text = doctor()
    assert code == 0
    for seen in ("no sbatch here", "none on this machine", "data is not there", "GiB free", "torch "):
        assert seen in text


def test_a_cluster_is_named_with_its_partitions(doctor):
    sinfo = "case $1 in --version) echo slurm 23.11.4;; *) printf 'a40*\\nt4\\n';; esac\n"
    code, text = doctor(sbatch="", sinfo=sinfo, sacct="exit 1\n")
    assert code == 0
    assert "slurm 23.11.4; partitions a40, t4" in text
    assert "sacct does not answer" in text


def test_a_site_on_which_nobody_can_foresee_a_start_is_said(doctor, monkeypatch):
    sinfo = "case $1 in --version) echo slurm 23.11.4;; *) echo t4;; esac\n"
    plans = "echo 'SchedulerType = sched/backfill'; echo 'PrivateData = none'\n"
    assert "backfill plans ahead" in doctor(sbatch="", sinfo=sinfo, scontrol=plans)[1]
    code, text = doctor(sbatch="", sinfo=sinfo, scontrol="echo 'SchedulerType = sched/builtin'\n")
    assert code == 0
    assert "SchedulerType=sched/builtin plans no starts ahead" in text
    assert "none is said before a job is submitted" in text


def test_a_controller_that_does_not_answer_is_said(doctor):
    assert "its controller does not answer" in doctor(sbatch="", sinfo="exit 1\n")[1]


def test_a_driver_that_does_not_answer_is_wrong(doctor):
    code, text = doctor(**{"nvidia-smi": "exit 9\n"})
    assert code == 1
    assert "nvidia-smi is here and does not answer" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_one_may_not_write_is_wrong(doctor, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, text = doctor("--outputs", str(closed / "outputs"))
    assert code == 1
    assert "Permission denied" in text


def test_packages_that_are_missing_are_named_with_how_to_get_them(doctor, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "deepspeed" else there(name))
    code, text = doctor()
    assert code == 1
    assert "deepspeed not installed here" in text
    assert "pip install 'vit_sweep[train]'" in text


def test_a_clock_that_differs_from_the_disk_s_is_a_note(doctor, monkeypatch):
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() - 3600)
    code, text = doctor()
    assert code == 0
    assert "3600 s ahead of this machine" in text
