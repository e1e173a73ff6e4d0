"""Limits of accounts and QOS (slurmdbd): named beside a forecast, which does not count them, and said of who waits."""

import json

import pytest

from tests.slurm.conftest import trivial, wait_for
from tests.slurm.studies import Lab

pytestmark = pytest.mark.slurm


@pytest.fixture
def one_at_a_time(cluster_with_database):
    """A QOS `two` of which a user may run one job at a time; nobody else's limit is touched."""
    limit = ("sacctmgr", "-i", "-Q", "modify", "qos", "two", "set")
    cluster_with_database.ask(*limit, "maxjobsperuser=1")
    yield cluster_with_database
    cluster_with_database.ask(*limit, "maxjobsperuser=-1")


def test_a_limit_is_named_before_it_is_met_and_while_a_cell_waits_for_it(sweep, one_at_a_time, tmp_path):
    lab = Lab(sweep, one_at_a_time, tmp_path / "outputs" / "s")
    # What another test's client was told of limits serves ten minutes in the same temporary folder.
    variables = trivial(s1="hold", s2="hold") | {"TMPDIR": str(tmp_path)}
    seen = lab.run("seed=1,2", "qos=two", "dry_run=true", variables=variables).stdout
    assert "it does not count limits: QOS two MaxJobsPU=1 MaxSubmitPU=2)" in " ".join(seen.split()), seen
    usual = lab.run("seed=1,2", "dry_run=true", variables=variables).stdout
    assert "limits" not in usual, "the usual QOS has none"
    lab.start("seed=1,2", "qos=two", variables=variables)
    runs = wait_for(
        lambda: next((seed for seed in (1, 2) if lab.read(seed, "1", "progress.json")), None), what=lab.logs
    )

    def waiting():
        cells = json.loads(lab.verb("status", "--json", variables=variables).stdout)["cells"]
        (queued,) = [cell for cell in cells if cell["state"] == "queued"]
        return queued if "QOSMaxJobsPerUserLimit" in queued["detail"] else None

    queued = wait_for(waiting, what=lab.logs)
    assert queued["detail"] == "QOSMaxJobsPerUserLimit (you have as many jobs as you may)"
    assert queued["expected_start"] is None, "there is room for it, which says nothing"
    assert queued["cell"] != lab.cell(runs).name
    lab.release()
    assert lab.verb("status", "--watch", variables=variables).returncode == 0, lab.logs()
