"""What the docs name is there: files of the tree, and pages that they link to."""

import re

import pytest

from tests.conftest import ROOT
from tests.docs.commands import PAGES

FILE = re.compile(r"`((?!tables/|jobs/|doc/)[\w-]+/[\w./-]+\.(?:py|md|yml|sh|css|js))`")
"""Not those of a study, nor of NCCL."""
LINK = re.compile(r"\]\(([\w./-]+)\)")
ROOTS = (ROOT, ROOT / "vit_sweep", ROOT / "tests")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    named = FILE.findall(page.read_text())
    assert [name for name in named if not any((root / name).is_file() for root in ROOTS)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page):
    assert [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []
