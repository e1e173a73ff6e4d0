"""What render-diff leaves out, so that two dry runs of the same request are the same."""

import subprocess
from pathlib import Path

import pytest

from launchers.errors import UserError
from vit_sweep.cli import render_diff
from vit_sweep.cli.render_diff import compare, scripts_of

SCRIPT = """#!/bin/bash
# vit_sweep study: {name}, batch n1-g1-{batch}
#SBATCH --comment={name}/n1-g1-{batch}
#SBATCH --job-name=vit_sweep-{name}
#SBATCH --time={minutes}
export PYTHONPATH={study}/.code/{digest}
srun /usr/bin/python3 -m vit_sweep.job.task {study}/jobs/n1-g1-{batch}
/usr/bin/python3 -m vit_sweep.job.closing {study}/jobs/n1-g1-{batch}
"""


def study_with(folder, *, digest, minutes=30, batch="0123abcd"):
    jobs = folder / "jobs" / f"n1-g1-{batch}"
    jobs.mkdir(parents=True)
    text = SCRIPT.format(study=folder, name=folder.name, digest=digest, minutes=minutes, batch=batch)
    (jobs / "job.sbatch").write_text(text)
    return folder


def test_other_code_alone_is_no_difference_between_scripts(tmp_path):
    old = scripts_of(study_with(tmp_path / "old", digest="0123456789ab"))
    new = scripts_of(study_with(tmp_path / "new", digest="fedcba987654"))
    assert compare(old, new, names=("old", "new")) == ""


def test_other_code_does_not_hide_another_difference(tmp_path):
    old = scripts_of(study_with(tmp_path / "old", digest="0123456789ab"))
    new = scripts_of(study_with(tmp_path / "new", digest="fedcba987654", minutes=60))
    changed = [line for line in compare(old, new, names=("old", "new")).splitlines() if line[0] in "+-"]
    assert changed[2:] == ["-#SBATCH --time=30", "+#SBATCH --time=60"]


def test_running_from_the_checkout_and_from_a_copy_is_a_difference(tmp_path):
    """Only the digest is left out: whether there is a copy at all is worth showing."""
    old = scripts_of(study_with(tmp_path / "old", digest="0123456789ab"))
    without = {name: text.replace("export PYTHONPATH=STUDY/.code/DIGEST\n", "") for name, text in old.items()}
    assert without != old
    assert "-export PYTHONPATH=STUDY/.code/DIGEST" in compare(old, without, names=("old", "without"))


@pytest.mark.parametrize("name", ["closing", "time", "g1", "python3", "vit_sweep"])
def test_the_name_of_a_study_never_alters_another_word(tmp_path, name):
    old = scripts_of(study_with(tmp_path / "old", digest="0123456789ab"))
    new = scripts_of(study_with(tmp_path / name, digest="0123456789ab"))
    assert compare(old, new, names=("old", "new")) == ""
    assert "#SBATCH --time=30" in new["n1-g1"]


def test_what_a_dry_run_says_is_shown_from_its_beginning(monkeypatch):
    said = "error: the mistake" + "." * 5000
    failed = subprocess.CompletedProcess([], 2, stdout="", stderr=said)
    monkeypatch.setattr(render_diff.subprocess, "run", lambda *_, **__: failed)
    place = render_diff._Tree("HEAD", Path("tree"), Path("outputs"))
    with pytest.raises(
        UserError, match=r"the dry run of HEAD failed \(gpus=1\): error: the mistake\.+\n\.\.\. and 3018 more"
    ):
        render_diff._dry_run(place, "s", ["gpus=1"])


def test_all_partitions_take_one_dry_run_of_each_revision(tmp_path, monkeypatch):
    """A start of Python for each would take longer than the reader of a request waits."""
    tree = tmp_path / "tree"
    for folder in ("conf", "site"):
        (tree / folder / "partition").mkdir(parents=True)
        for number in range(4):
            (tree / folder / "partition" / f"{folder}{number}.yaml").touch()
    runs = []
    monkeypatch.setattr(render_diff, "_dry_run", lambda place, study, words: runs.append(words) or tmp_path)
    found = render_diff._by_partition(render_diff._Tree("HEAD", tree, tmp_path), ["--config-dir=site", "gpus=1"])
    assert len(found) == 8
    assert runs == [["--config-dir=site", "gpus=1", f"partition={','.join(sorted(found))}"]]
