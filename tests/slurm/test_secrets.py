"""A token that a profile takes from the environment of whoever submits: the job has it, and no file tells it on."""

import hashlib
import stat

import pytest

from tests.slurm.conftest import trivial, wait_for
from tests.slurm.curves import CURVE
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm

TOKEN = "hf_0123456789abcdef-of-a-test"
DIGEST = 'printf %s "$TOK" | sha256sum'


def test_a_jobs_ranks_have_a_token_that_stands_in_no_file_of_its_study(sweep, shared_cluster, tmp_path):
    """Of an array, in which one cell ends with a bug whose traceback is kept, and of a curve in one allocation."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n{DIGEST} >> {tmp_path}/digests\nexec trivial "$@"\n')
    python.chmod(0o755)
    variables = trivial(s1="hold", s2="raise", g2="hold") | {"TOK": TOKEN}
    labs = [Lab(sweep, shared_cluster, tmp_path / "outputs" / name) for name in ("array", "curve")]
    results = []
    for lab, cells in zip(labs, (("seed=1,2",), CURVE), strict=True):
        words = ["++partition.environment.TOK=${oc.env:TOK}", f"++partition.python={python}", *cells]
        results.append(lab.run(*words, "wait=false", variables=variables))
    for lab in labs:
        wait_for(lambda lab=lab: list(lab.folder.glob("cells/*/attempts/1/progress.json")), what=lab.logs)
        (handle,) = {entry["handle"] for entry in lab.journal() if entry["handle"]}
        texts = [shared_cluster.ask("scontrol", "show", "job", "--details", handle)]
        texts += [shared_cluster.ask("scontrol", "write", "batch_script", handle, "-")]
        assert not any(TOKEN in text for text in texts)
        lab.release()
    results += [lab.verb("status", "--watch", variables=variables) for lab in labs]
    results += [labs[0].verb(verb, variables=variables) for verb in ("report", "status")]
    assert [answer.returncode for answer in results] == [0, 0, 1, 0, 0, 1], [
        answer.stdout + answer.stderr for answer in results
    ]
    assert not any(TOKEN in answer.stdout + answer.stderr for answer in results)
    assert set((tmp_path / "digests").read_text().split()) == {hashlib.sha256(TOKEN.encode()).hexdigest(), "-"}
    assert list(holders(tmp_path)) == []
    of_slurm = list(holders(shared_cluster.folder))
    assert of_slurm, "a job's environment is no longer where this test looks for it"
    assert [path for path in of_slurm if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def holders(folder):
    """Files below `folder` in which the token stands."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and TOKEN.encode() in path.read_bytes():
            yield path
