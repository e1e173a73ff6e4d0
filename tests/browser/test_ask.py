"""Curves and what-if in a real browser: they say what the analysis says, and refuse where it refuses."""

import re

import pytest

from tests.browser.browser import PHONE
from tests.unit.report.page.contents import HOSTILE, curves
from vit_sweep.analysis.laws.predicting import Refusal, plausible, predict
from vit_sweep.report.page.curves import counts_of

pytestmark = pytest.mark.browser

SAYS = "document.querySelector('.whatif .says').textContent"
TIP = "(t => t.hidden ? null : [...t.children].map(line => line.textContent))(document.querySelector('.plot .tip'))"


def move(browser, name, value):
    """Move a slider as a hand does."""
    browser.ask(
        f"(i => {{ i.value = {value}; i.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
        f"(document.querySelector('[data-ask={name}]'))"
    )


def told(browser, name):
    """A number of the what-if in full precision; None where it says none."""
    value = browser.ask(f"document.querySelector('[data-told={name}]').dataset.v ?? null")
    return None if value is None else float(value)


@pytest.fixture
def page(browser, report):
    return browser.open(report)


def test_the_sliders_say_what_predict_says_of_every_count_and_refuse_in_its_words(page):
    (series, fits), _ = curves()
    laws = plausible(fits)
    move(page, "price", 2.5)
    seen = set()
    for index, gpus in enumerate(counts_of(series)):
        move(page, "gpus", index)
        assert page.ask("document.querySelector('[data-ask=gpus]').nextElementSibling.textContent") == f"{gpus}"
        meant, says = predict(laws, gpus), page.ask(SAYS)
        if isinstance(meant, Refusal):
            assert meant.reason.rstrip(".") in says and told(page, "time") is None and told(page, "cost") is None
            seen.add("refused")
            continue
        assert told(page, "time") == meant.time_s.value and told(page, "efficiency") == meant.efficiency.value
        assert told(page, "speedup") == meant.speedup.value
        # As many epochs as were trained, unless the reader asks for others.
        epochs = series.timed_runs[0].epochs_requested
        assert told(page, "training") == pytest.approx(epochs * meant.time_s.value)
        assert told(page, "cost") == pytest.approx(2.5 * epochs * gpus * meant.time_s.value / 3600)
        assert says.startswith("Extrapolated: " if meant.extrapolated else "Within the measured range")
        seen.add(meant.extrapolated)
    assert seen == {True, False, "refused"}


def test_a_measured_count_is_shown_beside_the_fit(page):
    (series, _), _ = curves()
    point = next(point for point in series.timed if point.gpus == 8)
    move(page, "gpus", counts_of(series).index(8))
    assert told(page, "time-measured") == point.time_s.value
    assert told(page, "efficiency-measured") == point.efficiency.value
    move(page, "gpus", counts_of(series).index(7))
    assert told(page, "time-measured") is None and told(page, "time") is not None


def test_the_batch_moves_over_what_was_measured_and_refuses_what_lies_between(page):
    texts = []
    for index in range(3):
        move(page, "batch", index)
        texts.append(page.ask(SAYS))
    assert texts[0].startswith("Within the measured range")
    assert "no series here ran with a batch of 32" in texts[1] and "batch=32" in texts[1]
    assert "needs 3 GPU counts" in texts[2]


def test_the_drawing_follows_the_sliders_and_marks_what_nobody_measured(page):
    drawn = "[...document.querySelectorAll('.plot .fit')].map(line => line.classList.contains('far'))"
    assert page.ask(drawn) == [False, True]
    assert page.ask("document.querySelectorAll('.plot .band').length") == 2
    move(page, "batch", 2)
    assert page.ask(drawn) == []
    chosen = "document.querySelector('.plot .chosen').getAttribute('d')"
    before = page.ask(chosen)
    move(page, "gpus", 0)
    assert page.ask(chosen) != before


def test_a_point_says_its_cells_hosts_and_interval_by_pointer_and_by_key(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    assert page.ask(TIP) is None
    page.driver.execute_script("document.querySelector('.plot').scrollIntoView({block: 'center', behavior: 'instant'})")
    mark = page.driver.find_elements("css selector", ".plot .mark")[2]
    ActionChains(page.driver).move_to_element(mark).perform()
    head, value, interval, cells, hosts, *_ = page.until(TIP)
    assert head == "strong scaling, batch 16, 4 GPUs on 1 node"
    assert value.startswith("time of an epoch: 27.") and value.endswith("] s") and "3 runs" in interval
    assert cells == "cells: g4-s0, g4-s1, g4-s2" and hosts == f"hosts: node0, {HOSTILE}"
    page.driver.execute_script("document.querySelector('.plot').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.until(f"({TIP})?.[0].includes('8 GPUs on 1 node')")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.ask("document.querySelector('[data-ask=gpus]').nextElementSibling.textContent") == "8"
    assert page.complaints() == []


def test_no_line_breaks_the_id_of_a_cell_at_its_hyphens(page):
    said = "unbroken('cells: n1-g4-mb16-ga1-3def9d92, n2-g8-mb16')"
    parts = f"(parts => [parts.map(p => p.textContent ?? p), parts.map(p => p.className ?? '')])({said})"
    assert page.ask(parts) == [
        ["cells: ", "n1-g4-mb16-ga1-3def9d92", ", ", "n2-g8-mb16", ""],
        ["", "whole", "", "whole", ""],
    ]
    page.ask(
        "document.querySelector('.plot .tip').hidden = false;"
        "document.querySelector('.plot .tip').style.width = '17rem';"
        f"document.querySelector('.plot .tip').replaceChildren(html('span', '', ...{said}))"
    )
    lines = "[...document.querySelectorAll('.plot .tip .whole')].map(p => p.offsetHeight < 1.9 * 16 * 1.35)"
    assert page.ask(lines) == [True, True]


def test_a_series_goes_and_comes_and_the_axis_begins_at_zero(page):
    marks = "document.querySelectorAll('.plot .mark').length"
    assert page.ask(marks) == 7
    page.click(".series", 0)
    assert page.ask(marks) == 2
    assert page.ask("[...document.querySelectorAll('.series')].map(b => b.getAttribute('aria-pressed'))") == [
        "false",
        "true",
    ]
    page.click(".series", 0)
    assert page.ask(marks) == 7
    for number in range(5):
        page.ask(
            f"(s => {{ s.selectedIndex = {number}; s.dispatchEvent(new Event('change')); }})"
            "(document.querySelector('.choices select'))"
        )
        # The lowest tick of the values' axis stands where the axes meet.
        labels = page.ask("[...document.querySelectorAll('.plot text[text-anchor=end]')].map(t => t.textContent)")
        assert labels[0] == "0" and len(labels) > 3


def test_on_a_phone_the_drawing_fits_and_the_still_picture_is_for_print(browser, report):
    browser.open(report, size=PHONE)
    assert browser.ask("document.querySelector('.plot svg').getBoundingClientRect().right") <= PHONE[0]
    assert not browser.ask("document.querySelector('#ask .still').checkVisibility()")
    browser._tell("Emulation.setEmulatedMedia", media="print")
    assert browser.ask("document.querySelector('#ask .still').checkVisibility()")
    assert not browser.ask("document.querySelector('#ask .live').checkVisibility()")


def test_ends_of_an_interval_have_as_many_decimals_as_their_number(page):
    """What the what-if works out itself, 3 and 1 epochs: rounded by its interval, as the tables are."""
    for epochs in (3, 1):
        move(page, "epochs", epochs)
        shown = page.ask("document.querySelector('[data-told=training]').closest('tr').textContent")
        assert ("1 epoch takes" if epochs == 1 else "3 epochs take") in shown
        for number, low, high in re.findall(r"([\d.,]+) \w+\s*\[([\d.,]+), ([\d.,]+)\]", shown):
            assert len({len(text.partition(".")[2]) for text in (number, low, high)}) == 1
            assert low != high
        assert "[" in shown
