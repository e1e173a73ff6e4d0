"""Counts in sentences agree with their nouns, by one function."""

import ast
import re

from launchers.text import nodes_by_gpus, plural
from tests.conftest import ROOT

UNDECIDED = re.compile(r"[a-z]\((s|es)\)")


def test_a_count_agrees_with_its_noun():
    assert [plural(count, "GPU") for count in (0, 1, 1024)] == ["0 GPUs", "1 GPU", "1,024 GPUs"]
    assert [plural(count, "run has|runs have") for count in (1, 2)] == ["1 run has", "2 runs have"]
    assert nodes_by_gpus(1, 8) == "1 node x 8 GPUs"


def undecided(source):
    """Texts that leave it to the reader whether there is one."""
    texts = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return [text for text in texts if isinstance(text, str) and UNDECIDED.search(text)]


def test_no_sentence_leaves_the_plural_to_its_reader():
    assert undecided('f"{n} run(s) end"; "time (s)"') == [" run(s) end"]
    files = [path for folder in ("launchers", "vit_sweep", "hydra_plugins") for path in (ROOT / folder).rglob("*.py")]
    assert {path.name: texts for path in files if (texts := undecided(path.read_text()))} == {}
