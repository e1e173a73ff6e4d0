"""A report in a real headless Chromium: quiet, alone, usable by click, keyboard and ear, on a desk and on a phone."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.browser.browser import DESKTOP, PHONE
from tests.unit.report.page.contents import HOSTILE, empty
from vit_sweep.report import render
from vit_sweep.report.tables.form.table import Column, Table

pytestmark = pytest.mark.browser

TABLE = "#table-strong"
GPUS, EPOCH, CELL = 1, 2, 5
"""Columns of it."""
CONTRASTS = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const found = channels(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("script, select:disabled")) continue;
    const [a, b] = [luminance(channels(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.tagName, e.className, e.textContent.slice(0, 40)]);
  }
  return found;
})()
"""


def column(browser, number, table=TABLE):
    """The shown texts of one column, in their order."""
    return browser.ask(
        f"[...document.querySelectorAll('{table} tbody tr')].filter(r => !r.hidden)"
        f".map(r => r.cells[{number}].textContent.trim())"
    )


def head(browser, number, table=TABLE):
    """How a column says that it is sorted."""
    return browser.ask(f"document.querySelectorAll('{table} thead th')[{number}].getAttribute('aria-sort')")


def test_nothing_is_complained_of_and_nothing_is_asked_of_a_network(browser, report):
    browser.open(report)
    browser.ask("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert browser.ask("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.complaints() == []
    assert browser.requests() == []


def test_the_watch_over_network_and_policy_sees_a_picture_from_elsewhere(browser, report, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(report.read_text().replace("<header>", '<header><img alt="" src="http://127.0.0.1:9/x.png">', 1))
    browser.open(bad)
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())
    free = tmp_path / "free.html"
    free.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", bad.read_text()))
    browser.open(free)
    assert browser.requests() == ["http://127.0.0.1:9/x.png"]


def test_hostile_words_are_shown_and_do_not_run(browser, report):
    browser.open(report)
    assert browser.ask("document.title").startswith("a study <script>")
    assert HOSTILE in browser.ask("document.querySelector('h1').textContent")
    assert browser.ask("document.querySelectorAll('img[src=x]').length") == 0


def test_a_click_sorts_numbers_by_size_and_a_third_one_restores_the_order(browser, report):
    browser.open(report, fragment=TABLE)
    first = column(browser, EPOCH)
    browser.click(f"{TABLE} thead button", EPOCH)
    assert head(browser, EPOCH) == "ascending"
    times = column(browser, EPOCH)
    assert [t.split()[0] for t in times] == ["122.8"] * 2 + ["466"] * 2 + ["892"] * 2 + ["1813"] * 2 + ["–"]
    browser.click(f"{TABLE} thead button", EPOCH)
    assert head(browser, EPOCH) == "descending"
    # What is empty stays last: it is no small number.
    assert [t.split()[0] for t in column(browser, EPOCH)][::8] == ["1813", "–"]
    browser.click(f"{TABLE} thead button", EPOCH)
    assert head(browser, EPOCH) is None and column(browser, EPOCH) == first


def test_only_one_column_says_that_it_is_sorted(browser, report):
    browser.open(report, fragment=TABLE)
    browser.click(f"{TABLE} thead button", EPOCH)
    browser.click(f"{TABLE} thead button", CELL)
    assert [head(browser, number) for number in range(6)] == [None] * 5 + ["ascending"]
    # Numbers within names count as numbers.
    names = [name for name in column(browser, CELL) if "mb64" in name]
    assert [name.split("-")[1] for name in names] == ["g1", "g2", "g4", "g16", "g32"]


def test_text_and_value_filters_leave_the_rows_that_fit_and_count_them(browser, report):
    browser.open(report, fragment=TABLE)
    count = f"document.querySelector('{TABLE} output').textContent"
    assert browser.ask(count) == "9 of 9 rows"
    browser.driver.find_element("css selector", f"{TABLE} input").send_keys("mb64 DONE")
    assert browser.ask(count) == "4 of 9 rows"
    choose, value = browser.driver.find_elements("css selector", f"{TABLE} select")
    choose.find_element("xpath", "./option[starts-with(., 'GPUs')]").click()
    value.find_element("xpath", "./option[.='16']").click()
    assert column(browser, CELL) == ["n1-g16-mb64-ga1-00000400"]
    assert browser.ask(count) == "1 of 9 rows"


def test_a_long_table_lays_out_a_hundred_rows_until_all_are_asked_for_and_finds_and_saves_in_all(browser, tmp_path):
    from selenium.webdriver.common.keys import Keys

    columns = (Column(name="cell_id", title="cell"), Column(name="epoch_s", title="epoch", unit="s"))
    values = {
        "cell_id": [f"n1-g{n}-mb16" for n in range(150)],
        "epoch_s": [n + 0.123456789 for n in range(150)],
    }
    page = render.page(replace(empty(), tables=(Table(name="cost", title="Cost", columns=columns, values=values),)))
    (tmp_path / "page.html").write_text(page)
    browser.open(tmp_path / "page.html", fragment="#table-cost")
    seen = "[...document.querySelectorAll('#table-cost tbody tr')].filter(row => row.checkVisibility()).length"
    count = "document.querySelector('#table-cost output').textContent"
    assert (browser.ask(seen), browser.ask(count)) == (100, "150 of 150 rows, the first 100 shown")
    saved = browser.ask("csv(document.querySelector('#table-cost table'), [...document.querySelectorAll('thead th')])")
    assert saved.split("\r\n")[150] == "149.123456789,n1-g149-mb16"
    browser.click("#table-cost thead button", 0)
    browser.click("#table-cost thead button", 0)
    assert column(browser, 0, "#table-cost")[0] == "149.1" and browser.ask(seen) == 100
    browser.driver.find_element("css selector", "#table-cost input").send_keys("g14")
    assert (browser.ask(seen), browser.ask(count)) == (11, "11 of 150 rows, sorted by epoch, s, descending")
    browser.driver.find_element("css selector", "#table-cost input").send_keys(Keys.BACKSPACE * 3)
    browser.click("#table-cost .controls .choice:not([hidden])", 0)
    assert browser.ask(seen) == 150 and browser.ask(count).startswith("150 of 150 rows, sorted")
    browser.click("#table-cost .controls .choice:not([hidden])", 0)
    assert browser.ask(seen) == 100


def test_the_download_is_the_shown_rows_in_full_precision(browser, report):
    browser.open(report, fragment=TABLE)
    browser.driver.find_element("css selector", f"{TABLE} input").send_keys("g32")
    text = browser.ask(
        f"csv(document.querySelector('{TABLE} table'), [...document.querySelectorAll('{TABLE} thead th')])"
    )
    first, second = text.split("\r\n")[:2]
    names = (
        "batch,gpus,epoch_s,epoch_s_low,epoch_s_high,speedup,speedup_low,speedup_high,efficiency,cell_id,status,note"
    )
    assert first == f"{names},model,precision"
    assert second.startswith('64,32,,,,,,,,n4-g32-mb64-ga1-00000800,out_of_memory,"<script>')
    assert second.endswith("vit_b_16,fp32")
    browser.driver.find_element("css selector", f"{TABLE} input").clear()
    browser.driver.find_element("css selector", f"{TABLE} input").send_keys("n1-g2-mb64")
    text = browser.ask(
        f"csv(document.querySelector('{TABLE} table'), [...document.querySelectorAll('{TABLE} thead th')])"
    )
    assert repr(1813.4 / 892.3) in text


def test_the_download_button_saves_a_file_of_the_tables_name(browser, report, tmp_path):
    browser._tell("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.open(report, fragment=TABLE)
    browser.click(f"{TABLE} .download")
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser.driver, 300, poll_frequency=0.05).until(lambda _: (tmp_path / "strong.csv").exists())
    assert (tmp_path / "strong.csv").read_text().startswith("batch,gpus,epoch_s,")


def test_sorting_works_by_keyboard(browser, report):
    from selenium.webdriver.common.keys import Keys

    browser.open(report, fragment=TABLE)
    browser.driver.execute_script(f"document.querySelectorAll('{TABLE} thead button')[{GPUS}].focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert head(browser, GPUS) == "ascending"


def test_the_first_key_reaches_the_skip_link(browser, report):
    from selenium.webdriver.common.keys import Keys

    browser.open(report)
    browser.driver.find_element("css selector", "body").send_keys(Keys.TAB)
    assert browser.ask("document.activeElement.hash") == "#main"
    assert browser.ask("document.activeElement.getBoundingClientRect().left") == 0


@pytest.mark.parametrize("unfolded", [False, True])
def test_a_phone_scrolls_tables_in_their_box_and_never_the_page(browser, report, unfolded):
    browser.open(report, size=PHONE)
    if unfolded:
        browser.ask("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    wide = browser.ask("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide[0] <= wide[1] == PHONE[0]
    if unfolded:
        assert browser.ask(f"(b => b.scrollWidth > b.clientWidth)(document.querySelector('{TABLE} .scroll'))")


def test_a_phone_shows_every_formula_whole(browser, report):
    browser.open(report, size=PHONE)
    browser.ask("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    widths = browser.ask("[...document.querySelectorAll('.formula')].map(box => [box.clientWidth, box.scrollWidth])")
    assert len(widths) > 10 and all(0 < scrolled <= shown for shown, scrolled in widths)


def test_no_text_is_smaller_than_16_pixels_on_a_phone(browser, report):
    browser.open(report, size=PHONE)
    small = browser.ask(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('math') && e.checkVisibility() && "
        "[...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && "
        "parseFloat(getComputedStyle(e).fontSize) < 16).map(e => e.tagName + ' ' + e.className)"
    )
    assert small == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_text_stands_out_from_what_it_lies_on(browser, report, size, dark):
    browser.open(report, size=size, dark=dark)
    browser.ask("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    contrasts = browser.ask(CONTRASTS)
    assert len(contrasts) > 200
    assert [text for text in contrasts if text[0] < 4.5] == []
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") is not dark


def test_everything_seen_has_a_name_for_who_cannot_see_it(browser, report):
    browser.open(report)
    browser.ask("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    nodes = browser._tell("Accessibility.getFullAXTree")["nodes"]
    named = {"image", "button", "link", "region", "navigation", "combobox", "searchbox", "table", "MathMLMath"}
    seen = [n for n in nodes if not n["ignored"] and n["role"]["value"] in named - {"table", "MathMLMath"}]
    assert {n["role"]["value"] for n in seen} >= {"image", "button", "link", "region", "combobox", "searchbox"}
    assert [n for n in seen if not n.get("name", {}).get("value", "").strip()] == []
    assert browser.ask("[...document.querySelectorAll('img')].every(i => i.alt.trim())")
    assert browser.ask("[...document.querySelectorAll('math')].every(m => m.getAttribute('alttext'))")
    assert browser.ask("[...document.querySelectorAll('th')].every(h => ['col', 'row'].includes(h.scope))")


def test_headings_go_down_one_level_at_a_time(browser, report):
    browser.open(report)
    levels = browser.ask("[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert browser.ask("document.documentElement.lang") == "en"


def test_every_entry_of_the_contents_leads_to_a_heading(browser, report):
    browser.open(report)
    ends = browser.ask(
        "[...document.querySelectorAll('.contents a')].map(a => document.getElementById(a.hash.slice(1)))"
        ".map(e => e && e.querySelector('h2, h3') !== null)"
    )
    assert len(ends) >= 12 and all(ends)


def test_a_page_is_folded_but_for_its_first_screen(browser, report):
    browser.open(report)
    assert browser.ask("[...document.querySelectorAll('details.part')].every(part => !part.open)")
    assert browser.ask("document.querySelector('.cards').getBoundingClientRect().bottom") < DESKTOP[1]
    assert browser.ask("document.documentElement.scrollHeight") < 4 * DESKTOP[1]
    browser.click("button.unfold")
    assert browser.ask("[...document.querySelectorAll('details.part')].every(part => part.open)")
    assert browser.ask("document.documentElement.scrollHeight") > 6 * DESKTOP[1]


def test_a_desk_shows_every_table_within_its_box_and_all_columns_when_asked(browser, report):
    browser.open(report, fragment="#table-runs")
    browser.ask("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    wide = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
    heads = "[...document.querySelectorAll('#table-runs thead th')].filter(head => head.checkVisibility()).length"
    assert browser.ask(wide) == 0 and 1 < browser.ask(heads) < 29
    browser.click("#table-runs .choice")
    assert browser.ask(heads) == 29 and browser.ask(wide) == 1
    assert browser.ask("document.querySelector('#table-runs .choice').getAttribute('aria-pressed')") == "true"


def test_a_link_into_a_folded_table_opens_it(browser, report):
    browser.open(report)
    assert not browser.ask("document.querySelector('#table-runs details.fold').open")
    browser.click(".contents a[href='#table-runs']")
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser.driver, 300, poll_frequency=0.05).until(
        lambda _: browser.ask("document.querySelector('#table-runs details.fold').open")
    )


def test_without_its_script_everything_is_there_and_no_control_is_dead(browser, report):
    browser.open(report, script=False)
    assert browser.ask("document.querySelectorAll('button, input, select').length") == 0
    assert browser.ask("[...document.querySelectorAll('.controls')].every(c => !c.checkVisibility())")
    assert len(column(browser, 0)) == 9
    assert browser.ask("document.querySelector('.contents details').open")
    assert browser.ask("[...document.querySelectorAll('details.part')].every(part => part.open)")
    assert browser.ask("document.querySelector('#ask img').checkVisibility()")
    assert browser.ask("[...document.querySelectorAll('main h2')].every(h => h.checkVisibility())")


def test_formulas_are_drawn_by_the_browser(browser, report):
    browser.open(report)
    heights = browser.ask("[...document.querySelectorAll('mfrac')].map(f => f.getBoundingClientRect().height)")
    lines = browser.ask(
        "[...document.querySelectorAll('mfrac')].map(f => f.firstElementChild.getBoundingClientRect().height)"
    )
    # Where MathML is not known, above and below stand on one line.
    assert heights and all(whole > 1.5 * above for whole, above in zip(heights, lines, strict=True))


def test_it_prints_without_controls(browser, report):
    import base64

    browser.open(report, dark=True)
    browser._tell("Emulation.setEmulatedMedia", media="print")
    assert browser.ask("[...document.querySelectorAll('.controls, .contents')].every(c => !c.checkVisibility())")
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    # A4 less its margins: what is wider would be cut off.
    browser._tell("Emulation.setDeviceMetricsOverride", width=688, height=1000, deviceScaleFactor=1, mobile=False)
    browser.ask("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    wide = "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > 689)"
    assert browser.ask(f"{wide}.map(table => table.dataset.name)") == []
    printed = base64.b64decode(browser._tell("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
    # What is folded is printed too: a page or two would hold the first screen alone.
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 8
