"""A gate as JUnit XML, which CI services show as tests. Pure.

A check is a test case: worse is a failure, what nobody can tell or compare is skipped with its reason (a failure too,
where `strict`). The attributes are those that Jenkins' schema, GitLab and GitHub's actions read.
"""

import re
from xml.etree import ElementTree

from vit_sweep.analysis.gate.checks import Check, Gate, Standing
from vit_sweep.report.tables.gated import name_of

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(gate: Gate, study: str, against: str, *, strict: bool = False) -> str:
    """The text of the file."""
    failed = {Standing.WORSE, *([Standing.OPEN] if strict else [])}
    skipped = {Standing.OPEN, Standing.APART} - failed
    counts = {
        "tests": str(len(gate.checks)),
        "failures": str(sum(check.standing in failed for check in gate.checks)),
        "errors": "0",
    }
    root = ElementTree.Element("testsuites", {"name": "vit_sweep gate", **counts})
    number = str(sum(check.standing in skipped for check in gate.checks))
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": _text(f"{study} against {against}"), **counts, "skipped": number}
    )
    for check in gate.checks:
        about = {"name": _text(_name(check)), "classname": f"gate.{check.kind.value}", "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", about)
        if check.standing in failed | skipped:
            kind = "failure" if check.standing in failed else "skipped"
            words = {"message": _text(f"{check.standing.value}: {check.sentence}")}
            element = ElementTree.SubElement(case, kind, words | ({"type": "worse"} if kind == "failure" else {}))
            if kind == "failure":
                element.text = words["message"]
        else:
            ElementTree.SubElement(case, "system-out").text = _text(f"{check.standing.value}: {check.sentence}")
    if gate.notes:
        ElementTree.SubElement(suite, "system-out").text = _text("\n".join(gate.notes))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _name(check: Check) -> str:
    return f"{check.cell}: {name_of(check) or 'the cell'}"


def _text(words: str) -> str:
    """Without the characters that XML forbids."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", words)
