"""LaTeX tables with names that others chose go through a real LaTeX: it stops at nothing and reads no file."""

import random
import shutil
import subprocess

import pytest

from vit_sweep.report.tables.form.table import Column, table
from vit_sweep.report.tables.form.text import to_latex

HOSTILE = [
    *(
        r"\input{/etc/passwd}",
        r"\immediate\write18{touch ran}",
        r"\end{document}",
        r"\openout1=written",
        "^^5cinput{x}",
    ),
    *("\\", "50 % of $x$ & more_words #1 {x", "}", "~ ^ \\ <a|b>", "[2cm]", "*[2cm]", r"\\[9cm]", r"\verb|x", "$$"),
    *("a\nb\rc", "\x1b[2J", "世界 ⁻¹² Ünïcödé ß µ × ± − ∞ –", "\u202e\u2028\x00", "% swallowed", '"`~=', "`'\"", "''"),
]
COLUMNS = {"run": Column(name="run", title="_run & %"), "note": Column(name="note", title=r"\note{")}


def texts():
    """The hostile ones, and 300 made of letters of all kinds, those with a meaning in LaTeX most often."""
    generator = random.Random(1)
    meaning = "\\{}$&%#_~^<>|[]*\"`'- \n\t"
    for _ in range(300):
        kinds = (lambda: generator.choice(meaning), lambda: chr(generator.randrange(1, 0xD800)))
        yield "".join(generator.choice(kinds)() for _ in range(generator.randrange(1, 12)))
    yield from HOSTILE


def has_latex():
    """Whether there is a LaTeX with what the tables need."""
    if shutil.which("pdflatex") is None:
        return False
    return subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_latex(), reason="no LaTeX with booktabs: VIT_SWEEP_LONG_TESTS=1 tests/install.sh has one")
def test_hostile_names_compile_and_reach_nothing(tmp_path):
    tables = []
    for number, some in enumerate([[text] for text in HOSTILE] + [list(texts())[i::6] for i in range(6)]):
        rows = [{"run": text, "note": other} for text, other in zip(some, reversed(some), strict=True)]
        tables.append(to_latex(table(f"t{number}", some[0], list(COLUMNS), rows, known=COLUMNS, notes=some[:5])))
    document = ["\\documentclass{article}", "\\usepackage{booktabs,graphicx}", "\\begin{document}"]
    source = "\n".join([*document, "\\clearpage\n".join(tables), "\\typeout{AT THE END}", "\\end{document}"])
    (tmp_path / "names.tex").write_text(source)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "names.tex"]
    compiled = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert compiled.returncode == 0, compiled.stdout[-2000:]
    assert "AT THE END" in compiled.stdout
    assert "passwd" not in compiled.stdout
    assert {path.name for path in tmp_path.iterdir()} <= {"names.tex", "names.log", "names.aux", "names.pdf"}
