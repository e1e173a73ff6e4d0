"""From a report's content to one HTML page with everything in it. An edge; jinja2 lives here.

Style, script and pictures are inside the page; its content security policy names style and script by their digest and
forbids everything else, so that nothing is asked of a network, and nothing in a study's texts can run.
"""

import base64
import hashlib
import io
import math
import re
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from launchers.atomic import write
from launchers.text import plural, visible
from vit_sweep.analysis.audit.finding import by_rule
from vit_sweep.analysis.laws.predicting import best
from vit_sweep.report.figure import Figure
from vit_sweep.report.page import laws
from vit_sweep.report.page.audit import merged
from vit_sweep.report.page.content import ReportContent
from vit_sweep.report.page.curves import data_of
from vit_sweep.report.page.layout import compact, head, heading, numeric, shown, whole
from vit_sweep.report.page.proposal import markdown
from vit_sweep.report.page.rows import body, unbroken
from vit_sweep.report.tables.form.rounding import plain

STYLES = ("style.css", "chart.css")
SCRIPTS = ("tables.js", "chart.js", "whatif.js", "page.js")
"""Put together in this order."""
LARGEST_SVG = 200_000
"""Bytes. A larger drawing is put in as PNG where there is one: it has more points than anybody sees."""
_PIXELS_PER_POINT = 1.7
"""Words of 8 points in a figure are then about as large as those of the page."""
_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


class Picture(NamedTuple):
    """A figure's picture inside the page."""

    address: str
    width: int
    """Pixels of the page; 0: not known, the page's width then."""
    height: int


def page(content: ReportContent) -> str:
    """The page as text; reads the files of its figures. Raises FileNotFoundError where one is gone."""
    style, script = "\n".join(map(asset, STYLES)), "\n".join(map(asset, SCRIPTS))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(asset)
    )
    environment.filters |= {
        "anchor": anchor,
        "mathml": Markup,  # from `mathml`, which escapes its words
        "capital": laws.capital,
        "sentence": laws.sentence,
        "by_question": laws.by_question,
        "by_rule": by_rule,
        "merged": merged,
        "by_outcome": laws.by_outcome,
        "reply": laws.reply,
        "refusal": laws.refusal,
        "parameter": laws.parameter,
        "onward": laws.prediction_beyond,
        "percent": partial(plain, percent=True),
        "heading": heading,
        "head": head,
        "assumptions": laws.assumptions,
        "unbroken": unbroken,
        "body": body,
        "data": lambda curves: Markup(data_of(curves)),  # which escapes what could end its element
    }
    environment.globals |= {
        "picture": picture,
        "numeric": numeric,
        "shown": shown,
        "whole": whole,
        "compact": compact,
        "best": best,
        "plural": plural,
    }
    text = environment.get_template("report.html.j2").render(
        content=content, style=Markup(style), script=Markup(script), policy=policy(style, script)
    )
    # A browser would let a name from somebody's file turn the writing of what follows it.
    return visible(text)


def write_report(content: ReportContent, path: Path) -> list[Path]:
    """Write the page, and `proposal.md` beside it where there is a proposal; returns the files."""
    write(path, page(content))
    if content.proposal is None:
        return [path]
    figure, text = content.proposal.figure, path.with_name("proposal.md")
    drawn = figure.paths.get(".png", figure.paths[".svg"]) if figure is not None else None
    write(text, markdown(content, figure=_seen_from(drawn, text.parent) if drawn is not None else ""))
    return [path, text]


def _seen_from(path: Path, folder: Path) -> str:
    """A file's path as a text in `folder` names it; whole where the file lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def asset(name: str) -> str:
    """One of the templates, styles and scripts of the page."""
    return files("vit_sweep.report.page").joinpath("assets", name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    """The page's content security policy: this style, this script, pictures that are in the page; no network."""
    return (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def anchor(text: str) -> str:
    """A text as an id: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def picture(figure: Figure) -> Picture:
    """The figure as a data address: the drawing, or its pixels where the drawing is very large."""
    data, suffix = b"", ""
    for kind in (kind for kind in _TYPES if kind in figure.paths):
        content = figure.paths[kind].read_bytes()
        if not data or (len(data) > LARGEST_SVG and len(content) < len(data)):
            data, suffix = content, kind
    if not data:
        raise FileNotFoundError(f"figure {figure.name}: none of its files is a .svg or .png: {sorted(figure.paths)}")
    address = f"data:{_TYPES[suffix]};base64,{base64.b64encode(data).decode()}"
    width, height = _points(data, suffix)
    return Picture(address, round(width * _PIXELS_PER_POINT), round(height * _PIXELS_PER_POINT))


def _points(data: bytes, suffix: str) -> tuple[float, float]:
    """Its size in print, 1/72 inch; zeros where it does not say."""
    if suffix == ".svg":
        opening = data[: data.find(b">", data.find(b"<svg")) + 1]
        sizes = [re.search(rb"\s" + name + rb'="([\d.]+)(pt|px)?"', opening) for name in (b"width", b"height")]
        return (float(sizes[0][1]), float(sizes[1][1])) if sizes[0] and sizes[1] else (0.0, 0.0)
    with Image.open(io.BytesIO(data)) as image:
        per_inch = image.info.get("dpi", (math.inf, math.inf))
        return 72 * image.width / per_inch[0], 72 * image.height / per_inch[1]


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
