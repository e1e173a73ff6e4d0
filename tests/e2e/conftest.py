"""Sweeps that really train, on this machine: seconds each, since the local queue imports torch once."""

import json

import pytest

from tests.conftest import TEST_CONF

MEASURED = [f"--config-dir={TEST_CONF}", "model=vit_test", "data=quick", "epochs=2", "batch=16", "study=s"]
QUICK = [*MEASURED, "preflight=off", "exposed=off", "profile_steps=0"]
"""The probes before the training and the profiler after it take many times as long as these trainings."""


@pytest.fixture
def study(tmp_path):
    return tmp_path / "outputs" / "s"


def records(study):
    """Every record of a study by cell id, as plain JSON: the file is the contract."""
    return {path.parent.name: json.loads(path.read_text()) for path in study.glob("cells/*/record.json")}
