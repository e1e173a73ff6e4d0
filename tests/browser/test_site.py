"""The documentation site in a browser: its search works, and it asks nobody else's network for anything."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from tests.conftest import ROOT, wait_for
from tests.docs.test_site import build

pytest.importorskip("material")
LINKS = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.href).join(' ')"

CUT = "[...document.querySelectorAll('pre > code')].filter(code => code.scrollWidth > code.clientWidth + 1).length"
"""Blocks of code that do not show all of their columns."""

WIDE = "[...document.querySelectorAll('.md-typeset__scrollwrap')].filter(b => b.scrollWidth > b.clientWidth + 1).length"
"""Tables that do not show all of their columns."""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the built site, served on this machine."""
    folder = tmp_path_factory.mktemp("site")
    assert build(ROOT, folder).returncode == 0
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_search_finds_a_page_by_a_word_and_nothing_is_fetched_from_elsewhere(site, browser):
    browser.requests()
    browser.driver.get(f"{site}/tutorials/laptop.html?q=isoefficiency")
    wait_for(lambda: "results/measuring.html" in browser.ask(LINKS))
    assert [url for url in browser.requests() if urlsplit(url).netloc != urlsplit(site).netloc] == []


@pytest.mark.parametrize("width", [390, 1280, 1920])
@pytest.mark.parametrize("page", ["index", "tutorials/laptop", "reference/keys", "results/audit", "gallery", "peers"])
def test_no_page_is_wider_than_its_screen_and_on_a_desk_no_code_and_no_table_is_cut(site, browser, page, width):
    browser.resize(width, 900)
    browser.driver.get(f"{site}/{page}.html")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    if width > 390:
        assert (browser.ask(CUT), browser.ask(WIDE)) == (0, 0)
