"""Commands of the pages that are not vit_sweep's name what is there: extras, targets, files, options, stages."""

import re

import pytest

from tests.conftest import ROOT
from tests.docs.commands import PAGES
from tests.run import STAGES

SHOWN = re.compile(r"^    (.+)$|`([^`\n]+)`", re.MULTILINE)
PROGRAMS = ("pip", "make", "python", "python3", "tests/install.sh")
EXTRAS = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", (ROOT / "pyproject.toml").read_text(), re.M | re.S)[
    1
]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
VARIABLE = re.compile(r"[A-Z_]+=\S*")


def commands():
    """Each command of these programs, by the page that shows it."""
    for page in PAGES:
        for match in SHOWN.finditer(page.read_text()):
            line = re.sub(r"\s+#\s.*$", "", match[1] or match[2])
            for part in re.split(r" && ", line):
                words = part.replace("'", "").split()
                while words and VARIABLE.fullmatch(words[0]):
                    words.pop(0)
                if words and words[0] in PROGRAMS and len(words) > 1 and words[1:] != ["-m"]:
                    yield page, words


COMMANDS = {" ".join(words): (page, words) for page, words in commands()}


@pytest.mark.parametrize("shown", COMMANDS)
def test_it_names_what_is_there(shown):
    page, (program, *words) = COMMANDS[shown]
    match program, words[0]:
        case "pip", "install" | "wheel":
            for extra in re.findall(r"\[([^]]+)\]", shown):
                assert all(re.search(rf"^{name} = ", EXTRAS, re.MULTILINE) for name in extra.split(",")), page
        case "make", _:
            targets = [word for word in words if "=" not in word]
            assert set(targets) <= set(TARGETS), page
        case (("python" | "python3"), "-m" | "-P"):
            assert {"pytest", "venv", "vit_sweep", "vit_sweep.job.closing", "vit_sweep.job.task"} & set(words), page
            paths = [word for word in words if word.startswith("tests/")]
            assert all((ROOT / path).exists() for path in paths), page
        case (("python" | "python3"), "tests/run.py"):
            assert set(words[1:]) <= set(STAGES), page
        case (("python" | "python3"), script):
            assert (ROOT / script).is_file(), page
            text = "".join(path.read_text() for path in sorted((ROOT / "benchmarks").rglob("*.py")))
            options = [word.partition("=")[0] for word in words if word.startswith("--")]
            assert [option for option in options if f'"{option}"' not in text] == [], page
        case _:
            pytest.fail(f"{page}: nobody looks at {shown}")


def test_there_are_many():
    assert len(COMMANDS) > 20
