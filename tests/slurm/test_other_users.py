"""A study that two users share, on a real Slurm: what the first one's jobs do is neither done again nor ended."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.slurm.conftest import running_cluster, trivial, wait_for
from tests.slurm.studies import LAB, Lab
from tests.users import COLLEAGUE, GROUP, act_as
from tests.warm import clean_environment
from vit_sweep.__main__ import main
from vit_sweep.report.figure import SWITCH

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
    pytest.mark.skipif(
        any(folder.stat().st_mode & 0o005 != 0o005 for folder in ROOT.parents), reason=f"{ROOT} is root's to read only"
    ),
]


@pytest.fixture
def place(monkeypatch):
    """A folder of the group with a cluster in it, the current one; commands are given for that cluster."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, monkeypatch.context() as patch:
        folder = Path(name)
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2775)
        for path in (folder / "c", folder / "state"):
            path.mkdir()
        os.chown(folder / "state", COLLEAGUE, GROUP)
        with running_cluster(folder / "c") as cluster:
            for key, value in (cluster.environment | trivial(s1="hold", s2="hold") | {SWITCH: "off"}).items():
                patch.setenv(key, value)
            patch.chdir(folder)
            yield Lab(None, cluster, folder / "outputs" / "s")


def command(*words):
    """What the second user gets for a command: its code, and all that was printed."""
    return act_as(COLLEAGUE, lambda: main([str(word) for word in words]), output=Path("screen"), umask=0o002)


def test_whoever_resumes_a_shared_study_runs_nothing_twice_and_cancel_leaves_the_others_jobs_alone(place, monkeypatch):
    # Imports what the verbs need, which another user may not be able to read.
    for words in (["-m", *LAB, "seed=9", "study=warm"], ["resume", "outputs/warm"], ["cancel", "outputs/warm"]):
        assert main(words) == 0
    # In root's own group: Slurm starts no step of a user in one that is not theirs.
    first = [sys.executable, "-m", "vit_sweep", *place.words("seed=1,2"), "wait=false"]
    subprocess.run(
        first, umask=0o002, check=True, env=clean_environment() | place.cluster.environment | {"PYTHONPATH": str(ROOT)}
    )
    for seed in (1, 2):
        place.wait_until_running(seed)
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(Path("state").absolute()))
    journal = place.folder / "jobs.jsonl"
    begun, submitted = journal.read_text().splitlines(keepends=True)
    for known in (begun + submitted, begun):  # the second: who submitted was killed before the answer was written
        journal.write_text(known)
        code, text = command("resume", place.folder, "--no-wait", "--trust")
        assert code == 0, text
        assert [entry["event"] for entry in place.journal()] == ["submitting", "submitted"], text
    (handle,) = {entry["handle"] for entry in place.journal() if entry["handle"]}
    before = journal.read_text()
    code, text = command("cancel", place.folder)
    assert code == 2, text
    assert "is root's – nothing was cancelled" in " ".join(text.split())
    assert f"scancel {handle}" in text
    assert journal.read_text() == before
    place.release()
    wait_for(lambda: place.record(1) and place.record(2), what=place.logs)
    code, text = command("status", place.folder, "--watch")
    assert code == 0, text
    assert place.attempts(1) == place.attempts(2) == ["1"]
    jobs = place.cluster.ask("squeue", "--noheader", "--states=all", "--name=vit_sweep-s", "--format=%F").split()
    assert set(jobs) == {handle}
