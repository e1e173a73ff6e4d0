"""Record what docs/gallery.md shows: a real sweep of this machine, its live view in a terminal, and its figures.

    make gallery        about six minutes on two quiet cores; look at the pictures before you commit them

The sweep runs in a terminal of 80 x 24 (a pseudo-terminal, read by pyte); the last frame with a cell under way is kept
as SVG.
"""

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyte
from rich.console import Console
from rich.text import Text

COLUMNS, LINES = 80, 24
WORDS = "-m gpus=1,2 batch=16,32 repeats=3 epochs=4 study=gallery"
UNDER_WAY = re.compile(r" (?!12/)\d+/12 ")
"""In the line of the live view that counts its cells."""
IMAGES = Path(__file__).parent / "images" / "gallery"
FIGURES = (
    "strong_time", "strong_efficiency", "strong_parts", "accuracy_epoch", "ranks", "steps", "roofline", "cost_time",
)  # fmt: skip
_DPI = 110


def frames(command: list[str], folder: Path) -> Iterator[pyte.Screen]:
    """The screen after each piece of output of a command in a terminal; raises `CalledProcessError` if it fails."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | size, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the last one has closed the terminal
                break
            if not piece:
                break
            stream.feed(piece)
            yield screen
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def picture(screen: pyte.Screen, title: str) -> str:
    """A screen as SVG that asks nobody's network for a font."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for number in range(screen.lines):
        line = Text(no_wrap=True)
        for column in range(screen.columns):
            cell = screen.buffer[number][column]
            line.append(cell.data, style=_style(cell))
        console.print(line)
    return re.sub(r"@font-face \{.*?\}\n", "", console.export_svg(title=title), flags=re.DOTALL)


def _style(cell: pyte.screens.Char) -> str:
    """What rich calls the look of a character."""
    named = {"brown": "yellow"}.get(cell.fg, cell.fg)
    colour = f"#{named}" if re.fullmatch(r"[0-9a-f]{6}", named) else named
    words = [word for word in ("bold", "italics", "underscore", "reverse") if getattr(cell, word)]
    said = {"italics": "italic", "underscore": "underline"}
    return " ".join([*(said.get(word, word) for word in words), "" if colour == "default" else colour]).strip()


def main() -> None:
    """Run the sweep, and write the frames and figures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    program = str(Path(sys.executable).parent / "vit_sweep")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        live = ""
        for screen in frames([program, *WORDS.split()], folder):
            if UNDER_WAY.search("\n".join(screen.display)):
                live = picture(screen, f"vit_sweep {WORDS}")
        (IMAGES / "live.svg").write_text(live)
        _draw(folder / "outputs" / "gallery")


def _draw(study: Path) -> None:
    import vit_sweep

    results = vit_sweep.open(study)
    for name in FIGURES:
        results.figure(name).savefig(IMAGES / f"{name}.png", dpi=_DPI)


if __name__ == "__main__":
    main()
