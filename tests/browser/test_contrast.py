"""Every colour of the page is readable on what it lies on (WCAG 2.2, AA), in both schemes and in print."""

import re

import pytest

from vit_sweep.report.render import asset

TEXT, EDGE = 4.5, 3.0
PAIRS = [
    *((ink, ground, TEXT) for ink in ("ink", "quiet", "link", "accent", "good", "bad") for ground in ("paper",)),
    *((ink, ground, TEXT) for ink in ("ink", "quiet") for ground in ("ground", "hover")),
    *((f"series-{number}", "paper", EDGE) for number in range(6)),
    ("edge", "paper", EDGE),
    ("accent", "paper", EDGE),
]


def schemes():
    """The colours of each `:root` block: light, dark over light, print over light."""
    blocks = re.findall(r":root\s*{([^}]*)}", asset("style.css"))
    palettes = [dict(re.findall(r"--([a-z0-9-]+):\s*(#[0-9a-f]{6})", block)) for block in blocks]
    return {"light": palettes[0], "dark": palettes[0] | palettes[1], "print": palettes[0] | palettes[2]}


def luminance(colour):
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a, b):
    """(L1 + 0.05) / (L2 + 0.05), the lighter above."""
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_and_edges_stand_out(scheme):
    colours = schemes()[scheme]
    weak = [
        f"{ink} on {ground}: {contrast(colours[ink], colours[ground]):.2f}"
        for ink, ground, least in PAIRS
        if contrast(colours[ink], colours[ground]) < least
    ]
    assert weak == []


def test_the_measure_knows_black_on_white_and_grey():
    assert contrast("#000000", "#ffffff") == 21
    assert contrast("#777777", "#ffffff") < TEXT < contrast("#767676", "#ffffff")


def test_every_colour_is_a_custom_property():
    rules = re.sub(r":root\s*{[^}]*}", "", asset("style.css"))
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", rules)) <= {"#ffffff"}  # the paper under figures
