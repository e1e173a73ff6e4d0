"""Commands that pages show outside of consoles: found, and their placeholders filled in."""

import re
import shlex

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_SHOWN = re.compile(r"^    ((?:python -m )?vit_sweep (?:.*\\\n)*.*)$|`((?:python -m )?vit_sweep [^`]*)`", re.MULTILINE)
_PROGRAM = re.compile(r"^(?:python -m )?vit_sweep ")
_BEHIND = re.compile(r"\s+#\s.*$|\s*\|.*$|\s*;.*$|\s*2>&1.*$")
_CONSOLE = re.compile(r"^```console.*?^```$", re.MULTILINE | re.DOTALL)
_FILLED = {
    "KEY": "gpus",
    "VERB": "status",
    "PARTITION": "vector_t4v2",
    "...": "gpus=1",
    "continue_from=STUDY/CELL": "continue_from=mine/n1-g1-mb32-ga1-2af31b95",
}
OWN_DATA = re.compile(r"model\.init=|data=\.?/|data=photos|data\.path=|data prepare ")
"""Of commands on images that a reader has: `test_data_commands.py` has such images."""


def shown(page):
    """The commands of a page, each once, in their order, without program, comment and pipe."""
    text = _CONSOLE.sub("", page.read_text())
    found = (_PROGRAM.sub("", (match[1] or match[2]).replace("\\\n", " ")) for match in _SHOWN.finditer(text))
    whole = (" ".join(_BEHIND.sub("", words).split()) for words in found)
    return list(dict.fromkeys(words for words in whole if not _is_a_name(words)))


def _is_a_name(words):
    """Whether it is a verb in a sentence (`vit_sweep report`), and no command."""
    return re.fullmatch(r"[a-z-]+|[A-Z]+", words) is not None and words not in ("doctor", "list")


def filled(command, desk):
    """The words of a command with what its placeholders stand for; folders of a site lie on the desk."""
    words = shlex.split(re.sub(r" \[--[^\]]*\]$", "", command))  # what may be left out is
    words = [_FILLED.get(word, word) for word in words]
    words = [re.sub(r"^(|[a-z_.]+=)(/project|/shared|ROOT)\b", rf"\g<1>{desk}/site", word) for word in words]
    if words[0].startswith(("-m", "plan")) or "=" in words[0]:
        words = [word for word in words if not word.startswith("study=")] + ["dry_run=true", "study=shown"]
    if words[0] == "reproduce" and "--run" in words:
        words = [*words, "dry_run=true"]
    return ["-m", *words] if words[0] == "gpus=1" else words
