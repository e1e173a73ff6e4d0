"""One Chromium for all tests of a worker; a page with something in every part, written once."""

import pytest

from tests.browser import browser as browsers
from tests.unit.report.page.contents import full
from vit_sweep.report.render import page


@pytest.fixture(scope="session")
def browser():
    """A started Chromium; skips with the reason where there is none."""
    if absent := browsers.missing():
        pytest.skip(absent)
    started = browsers.start()
    yield started
    started.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """A full report on disk."""
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    path.write_text(page(full(folder)))
    return path
