"""A report's page without a browser: nothing in a study's words becomes markup, and nothing empty stays silent."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from tests.unit.report.page.contents import HOSTILE, empty, figure, full, scaling_table
from vit_sweep.report import render
from vit_sweep.report.page.methods import METHODS
from vit_sweep.report.tables.form.table import Column, Table

_VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """What elements a page has, and whether they nest."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_hostile_words_stay_words(tmp_path):
    text = render.page(full(tmp_path))
    page = Page(text)
    assert page.open == []
    assert [a.get("type") for a in page.of("script")] == ["application/json", None] and len(page.of("style")) == 1
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert all(image["src"].startswith("data:image/") for image in page.of("img"))
    assert "&lt;script&gt;document.title" in text and "{{ 7 * 7 }}" in text
    assert any(image["alt"] == HOSTILE for image in page.of("img"))


def test_no_name_turns_the_writing_of_the_page(tmp_path):
    text = render.page(replace(full(tmp_path), contended=("host contended: vit\u202etxt.exe\u2066 \x1b[2J",)))
    assert "vit\ufffdtxt.exe\ufffd \u241b[2J" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


def test_no_element_has_a_style_or_a_handler_of_its_own(tmp_path):
    page = Page(render.page(full(tmp_path)))
    assert [a for _, a in page.elements if "style" in a or any(name.startswith("on") for name in a)] == []


def test_every_part_says_in_words_that_it_is_empty():
    text = render.page(empty())
    sections = re.findall(r'<section id="([a-z]+)".*?</section>', text, flags=re.DOTALL)
    assert sections == [
        "summary",
        "asked",
        "machines",
        "tables",
        "figures",
        "models",
        "audit",
        "failures",
        "methods",
        "reproduce",
    ]
    for name in sections:
        body = re.search(rf'<section id="{name}".*?</section>', text, flags=re.DOTALL).group()
        assert 'class="empty"' in body, f"{name} has nothing and does not say so"


def test_contended_hosts_are_named_once_in_each_section_that_rests_on_times(tmp_path):
    note = "host contended: n1-g2 waited for cores that others had; pooled or compared with 7 runs"
    content = full(tmp_path)
    text = render.page(
        replace(
            content,
            contended=(note,),
            answers=tuple((about, replace(answer, notes=(note,))) for about, answer in content.answers),
            tables=tuple(replace(table, notes=(note, "of the table alone")) for table in content.tables),
            figures=tuple(replace(figure, notes=(note,)) for figure in content.figures),
        )
    )
    said = {
        name: re.search(rf'<section id="{name}".*?\n</section>\n\n', text, flags=re.DOTALL)
        .group()
        .count("n1-g2 waited")
        for name in ("summary", "proposal", "tables", "figures", "models", "reference", "audit", "failures", "methods")
    }
    assert [name for name, times in said.items() if times == 1] == list(said)[:6]
    assert set(said.values()) == {0, 1} and text.count("of the table alone") == 3


def test_a_page_of_a_table_says_how_to_make_it_and_nothing_of_commands_that_it_cannot_have(tmp_path):
    text = render.page(replace(full(tmp_path), commands=()))
    assert "gpus=1,2" in text and "Commands of this study" not in text and "No command is recorded" not in text


def test_a_table_without_rows_says_why(tmp_path):
    text = render.page(full(tmp_path))
    assert '<p class="empty">No pair.</p>' in text


def test_ids_are_unique_and_every_inner_link_has_its_end(tmp_path):
    page = Page(render.page(full(tmp_path)))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))
    targets = [link["href"][1:] for link in page.of("a") if link["href"].startswith("#")]
    assert targets and set(targets) <= set(ids)


def test_the_policy_names_this_style_and_script_and_forbids_the_rest(tmp_path):
    text = render.page(full(tmp_path))
    policy = next(
        meta["content"] for meta in Page(text).of("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL).group(1)
        assert f"{directive} 'sha256-{render._digest(inside)}'" in policy


def test_the_same_content_makes_the_same_page(tmp_path):
    assert render.page(full(tmp_path)) == render.page(full(tmp_path))


def test_a_very_large_drawing_is_put_in_as_pixels(tmp_path):
    drawn = figure(tmp_path)
    pixels = tmp_path / "strong-speedup.png"
    Image.new("L", (30, 20)).save(pixels, dpi=(300, 300))
    both = replace(drawn, paths=drawn.paths | {".png": pixels})
    assert render.picture(both).address.startswith("data:image/svg+xml;base64,")
    (tmp_path / "strong-speedup.svg").write_text("<svg>" + " " * render.LARGEST_SVG + "</svg>")
    assert base64.b64decode(render.picture(both).address.split(",")[1]) == pixels.read_bytes()
    assert (render.picture(both).width, render.picture(both).height) == (12, 8)  # 7.2 x 4.8 points


def test_a_figure_without_a_picture_is_an_error_with_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="figure lost"):
        render.picture(figure(tmp_path, "lost", paths={".pdf": tmp_path / "lost.pdf"}))


def test_the_table_keeps_full_numbers_and_intervals_beside_the_short_ones(tmp_path):
    content = replace(empty(), tables=(scaling_table(),))
    text = render.page(content)
    assert f'data-v="{1813.4 / 892.3!r}"' in text and f'data-low="{1775.0 / 892.3!r}"' in text


def test_an_id_of_a_cell_is_not_broken_at_its_hyphens():
    columns = (Column(name="gpus", title="GPUs"), Column(name="of", title="cells"))
    values = {"gpus": [1, 2], "of": [f"n1-g{gpus}-mb16-a n1-g{gpus}-mb16-b" for gpus in (1, 2)]}
    table = Table(name="cost", title="Cost", columns=columns, values=values, notes=("n2-g8-mb16-c <waited>",))
    text = render.page(replace(empty(), tables=(table,), machine_remarks=("Throttled: n1-g4-mb16-d.",)))
    assert '<span class="whole">n2-g8-mb16-c</span> &lt;waited&gt;' in text
    assert 'Throttled: <span class="whole">n1-g4-mb16-d</span>.' in text
    assert '<span class="whole">n1-g2-mb16-a</span> <span class="whole">n1-g2-mb16-b</span>' in text


def test_each_definition_has_a_source_and_each_formula_its_words():
    for definition in METHODS:
        assert definition.source and definition.text
        assert bool(definition.mathml) == bool(definition.plain)
    assert len({definition.term for definition in METHODS}) == len(METHODS)
