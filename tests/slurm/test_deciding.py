"""A sweep that decides on a real Slurm: round follows round, and a client that is killed in between changes nothing."""

import json

import pytest

from tests.slurm.conftest import trivial, wait_for
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm

QUESTION = ("gpus=1,2,4", "design=adaptive", "budget_gpu_hours=50", "minutes=5", "until=time(2) +- 3.5 %")
"""Made-up records are alike, so that the usual spread alone is in the interval, which several looks make narrow enough.

A ratio would weigh its two counts by the GPU-hours that they took, which is the machine's to say."""


def test_the_same_command_after_a_killed_client_decides_what_it_would_have_decided(sweep, shared_cluster, tmp_path):
    quiet, killed = (Lab(sweep, shared_cluster, tmp_path / "outputs" / name) for name in ("quiet", "killed"))
    with killed.client(*killed.words(*QUESTION), variables=trivial(s3="hold"), cwd=tmp_path) as client:
        completed = quiet.run(*QUESTION, variables=trivial())
        assert completed.returncode == 0, completed.stdout + completed.stderr
        wait_for(lambda: trains(killed, seed=3), killed.logs)
        client.kill()  # while the second round runs, which it has decided
    before = decisions(killed)
    killed.release()
    completed = killed.run(*QUESTION, variables=trivial())
    assert completed.returncode == 0, completed.stdout + completed.stderr
    expected, actual = decisions(quiet), decisions(killed)
    assert actual[: len(before)] == before
    assert [decision_of(entry) for entry in actual] == [decision_of(entry) for entry in expected]
    assert len(before) == 2 < len(actual)
    assert actual[-1]["decision"]["stop"] == "answered"
    assert ran(killed) == {tuple(pair) for entry in actual for pair in entry["cells"]} == ran(quiet)
    sent = [tuple(task) for entry in killed.journal() if entry["event"] == "submitted" for task in entry["tasks"]]
    assert len(sent) == len(set(sent)) == len(ran(killed))
    (killed.folder / "release").unlink()  # the test's own
    assert killed.verb("check", variables=trivial()).returncode == 0


def decisions(lab):
    """What a study has decided so far."""
    return [json.loads(line) for line in (lab.folder / "decisions.jsonl").read_text().splitlines()]


def trains(lab, seed):
    """Whether a cell with this seed has begun."""
    begun = [path.parents[2] for path in lab.folder.glob("cells/*/attempts/1/progress.json")]
    return seed in [json.loads((cell / "cell.json").read_text())["cell"]["seed"] for cell in begun]


def decision_of(entry):
    """A decision without when it was made, and what its runs took."""
    measured = {"at": None, "spent_gpu_hours": None, "decision": entry["decision"] | {"hours": None}}
    return entry | measured


def ran(lab):
    """GPU count and seed of every finished cell."""
    requested = [json.loads(path.read_text())["requested"] for path in lab.folder.glob("cells/*/record.json")]
    return {(cell["gpus"], cell["seed"]) for cell in requested}
