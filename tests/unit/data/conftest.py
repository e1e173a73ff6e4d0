"""Where prepared data lie in a test."""

import pytest


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"
