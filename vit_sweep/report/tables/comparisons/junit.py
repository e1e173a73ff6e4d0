"""A gate as JUnit XML, which CI services show as tests. Pure.

A check is a test case: worse is a failure, what nobody can tell or compare is skipped with its reason (a failure too,
where `strict`). The attributes are those that Jenkins' schema, GitLab and GitHub's actions read.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from vit_sweep.analysis.gate.checks import Check, Gate, Standing
from vit_sweep.report.tables.comparisons.gate import name_of

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Case(NamedTuple):
    """A test case."""

    name: str
    kind: str
    """Its class."""
    end: str
    """`failure`, `skipped`, or empty where it has passed."""
    type: str
    """Of a failure."""
    words: str


def junit(gate: Gate, study: str, against: str, *, strict: bool = False) -> str:
    """The text of the file."""
    failed = {Standing.WORSE, *([Standing.OPEN] if strict else [])}
    skipped = {Standing.OPEN, Standing.APART} - failed
    cases = [
        Case(
            name=_name(check),
            kind=f"gate.{check.kind.value}",
            end="failure" if check.standing in failed else "skipped" if check.standing in skipped else "",
            type="worse",
            words=f"{check.standing.value}: {check.sentence}",
        )
        for check in gate.checks
    ]
    return suite("vit_sweep gate", f"{study} against {against}", cases, gate.notes)


def suite(title: str, name: str, cases: Sequence[Case], notes: Sequence[str]) -> str:
    """The text of a file with one suite. `title`: of all suites; `notes`: what a reader must know."""
    failures, skipped = (str(sum(case.end == end for case in cases)) for end in ("failure", "skipped"))
    counts = {"tests": str(len(cases)), "failures": failures, "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": title, **counts})
    there = ElementTree.SubElement(root, "testsuite", {"name": _text(name), **counts, "skipped": skipped})
    for case in cases:
        about = {"name": _text(case.name), "classname": case.kind, "time": "0"}
        element = ElementTree.SubElement(there, "testcase", about)
        words = _text(case.words)
        if not case.end:
            ElementTree.SubElement(element, "system-out").text = words
            continue
        kind = {"type": case.type} if case.end == "failure" else {}
        end = ElementTree.SubElement(element, case.end, {"message": words} | kind)
        if case.end == "failure":
            end.text = words
    if notes:
        ElementTree.SubElement(there, "system-out").text = _text("\n".join(notes))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _name(check: Check) -> str:
    return f"{check.cell}: {name_of(check) or 'the cell'}"


def _text(words: str) -> str:
    """Without the characters that XML forbids."""
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", words)
