"""Record what docs/gallery.md shows: a real sweep of this machine, its live view as a moving picture, and its figures.

    make gallery                   about eight minutes on two quiet cores; look at the pictures before you commit them
    python docs/record.py live     the moving picture alone

The sweep runs in a terminal of 80 x 24 (a pseudo-terminal, read by pyte). What changes on the screen becomes an SVG
that plays itself, in a browser and in a README, faster than it was; who wants nothing to move sees its last screen.
"""

import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

COLUMNS, LINES = 80, 24
LIVE = "-m gpus=1,2 batch=16,32 epochs=2 study=live"
"""The sweep whose live view is recorded."""
GALLERY = "-m gpus=1,2 batch=16,32 repeats=3 epochs=4 study=gallery"
"""The sweep whose figures are drawn."""
IMAGES = Path(__file__).parent / "images" / "gallery"
FIGURES = (
    "strong_time",
    "strong_efficiency",
    "strong_parts",
    "accuracy_epoch",
    "ranks",
    "steps",
    "roofline",
    "cost_time",
)
_DPI = 110
SCREENS = 60
"""Kept of a recording, at most, besides its last one."""
_SHOWN_S, _LAST_S = 0.35, 6.0
"""How long a screen is shown, and the last one."""
_WIDTH, _HEIGHT, _SIZE, _EDGE, _BAR = 8.4, 18.0, 14, 12.0, 34.0
"""Of a character and of a line in pixels; of its font; around the screen, and above it."""
_COLOURS = {
    "default": "#d6dae0",
    "black": "#5c6370",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": "#ffffff",
}
"""On a dark ground, by pyte's names; other colours are told as hexadecimal digits."""

Run = tuple[str, str, bool]
"""Characters next to each other that look alike: text, colour, whether it is bold."""


@dataclass(frozen=True)
class Screen:
    """What a person sees at one moment: its lines from the top, each as its runs."""

    seconds: float
    """Since the command began."""
    lines: tuple[tuple[Run, ...], ...]


def screens(command: Sequence[str], folder: Path) -> Iterator[Screen]:
    """Each screen of a command in a terminal that differs from the one before.

    Raises `CalledProcessError` with the last screen where the command fails.
    """
    terminal = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(terminal)
    controller, child_end = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
    begun, last = time.monotonic(), None
    with subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | size,
        stdin=child_end,
        stdout=child_end,
        stderr=child_end,
        start_new_session=True,
    ) as process:
        os.close(child_end)
        while True:
            try:
                piece = os.read(controller, 65536)
            except OSError:  # the last one has closed the terminal
                break
            if not piece:
                break
            stream.feed(piece)
            lines = tuple(_runs(terminal.buffer[number]) for number in range(terminal.lines))
            if lines != last:
                last = lines
                yield Screen(time.monotonic() - begun, lines)
    os.close(controller)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command), "\n".join(terminal.display))


def _runs(line: "pyte.screens.StaticDefaultDict[int, pyte.screens.Char]") -> tuple[Run, ...]:
    cells = [line[column] for column in range(COLUMNS)]
    alike = groupby(cells, key=lambda cell: (_colour(cell.fg), bool(cell.bold)))
    return tuple(("".join(cell.data for cell in some), colour, bold) for (colour, bold), some in alike)


def _colour(name: str) -> str:
    return _COLOURS.get(name.removeprefix("bright"), f"#{name}" if len(name) == 6 else _COLOURS["default"])


def thinned(frames: Sequence[Screen], max_frames: int = SCREENS) -> list[Screen]:
    """At most so many screens, evenly over the time of the recording, and always the last one."""
    end = frames[-1].seconds or 1.0
    last_by_slot = {int(max_frames * screen.seconds / end): screen for screen in frames[:-1]}
    return [*(last_by_slot[moment] for moment in sorted(last_by_slot)), frames[-1]]


def moving(frames: Sequence[Screen], title: str) -> str:
    """Screens as an SVG that plays for ever and asks nobody's network for anything.

    A line that stays is written once, and is shown while it stays.
    """
    frames = [*frames]
    starts = [number * _SHOWN_S for number in range(len(frames))]
    total_s = starts[-1] + _LAST_S
    rules: dict[tuple[bool, ...], str] = {}
    texts = []
    for number in range(LINES):
        versions = [screen.lines[number] if number < len(screen.lines) else () for screen in frames]
        for line in dict.fromkeys(versions):
            text = _text(line, _BAR + (number + 1) * _HEIGHT)
            if text:
                when = tuple(other == line for other in versions)
                name = rules.setdefault(when, f"w{len(rules)}")
                texts.append(f'<g class="{name}{"" if when[-1] else " off"}">{text}</g>')
    width, height = COLUMNS * _WIDTH + 2 * _EDGE, LINES * _HEIGHT + _BAR + _EDGE
    style = "\n".join(
        f"@keyframes {name} {{{_moments(when, starts, total_s)}}} "
        f".{name} {{animation: {name} {total_s:g}s step-end infinite}}"
        for when, name in rules.items()
        if not all(when)
    )
    box = f"0 0 {width:g} {height:g}"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" xml:space="preserve">
<title>{escape(title)}</title>
<style>
text {{font: {_SIZE}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre}}
.bold {{font-weight: bold}} .off {{visibility: hidden}}
@media (prefers-reduced-motion: no-preference) {{
{style}
}}
</style>
<rect width="100%" height="100%" rx="8" fill="#22262e"/>
<text x="{width / 2:g}" y="22" fill="#9aa3af" text-anchor="middle">{escape(title)}</text>
{chr(10).join(texts)}
</svg>
"""


def _moments(when: Sequence[bool], starts: Sequence[float], total_s: float) -> str:
    """Key frames of what is shown at these screens: where it comes and where it goes."""
    changes = [n for n in range(len(when)) if n == 0 or when[n] != when[n - 1]]
    return " ".join(
        f"{100 * starts[n] / total_s:.2f}% {{visibility: {'visible' if when[n] else 'hidden'}}}" for n in changes
    )


def _text(line: Sequence[Run], y: float) -> str:
    """A line, each run at its column and as wide as its characters, whatever the reader's font."""
    parts, column = [], 0
    for text, colour, bold in line:
        words = text.strip()
        if words:
            x = _EDGE + (column + len(text) - len(text.lstrip())) * _WIDTH
            parts.append(
                f'<text x="{x:.1f}" y="{y:g}" fill="{colour}" textLength="{len(words) * _WIDTH:.1f}"'
                f"{' class=' + chr(34) + 'bold' + chr(34) if bold else ''}>{escape(words)}</text>"
            )
        column += len(text)
    return "".join(parts)


def main(parts: Sequence[str]) -> None:
    """Run the sweeps, and write the recording and the figures, or one of them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    program = str(Path(sys.executable).parent / "vit_sweep")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "live" in parts:
            frames = thinned(list(screens([program, *LIVE.split()], folder)))
            title = f"vit_sweep {LIVE}   ({frames[-1].seconds:.0f} s in {len(frames) * _SHOWN_S:.0f} s)"
            (IMAGES / "live.svg").write_text(moving(frames, title))
        if "figures" in parts:
            subprocess.run([program, *GALLERY.split()], cwd=folder, check=True)
            _draw(folder / "outputs" / "gallery")


def _draw(study: Path) -> None:
    import vit_sweep

    results = vit_sweep.open(study)
    for name in FIGURES:
        results.figure(name).savefig(IMAGES / f"{name}.png", dpi=_DPI)


if __name__ == "__main__":
    main(sys.argv[1:] or ("live", "figures"))
