"""A compute-time proposal as Markdown, to be pasted into an application. Pure."""

import re
from collections.abc import Iterable

from vit_sweep.report.page.content import Formula, Interval, ReportContent, Table, short
from vit_sweep.report.tables.rounding import is_number

_TERMS = (
    "Epoch time", "Speedup, strong scaling", "Efficiency, strong scaling",
    "Efficiency and scaled speedup, weak scaling", "Intervals", "GPU hours",
)  # fmt: skip
"""The definitions that an application needs."""


def markdown(content: ReportContent, *, figure: str = "") -> str:
    """The proposal of a report as text; `figure`: the path of its figure from where the text will lie.

    Raises ValueError for a report without a proposal.
    """
    asked = content.proposal
    if asked is None:
        raise ValueError("this report has no proposal")
    parts = [f"# Compute time proposal: {_words(content.study)}", _words(content.subtitle), _words(content.status)]
    parts += [_words(sentence) for sentence in asked.summary]
    parts += [f"## {_words(asked.resources.title)}", _table(asked.resources)]
    parts += [f"## {_words(asked.evidence.title)}", _table(asked.evidence)]
    if figure and asked.figure is not None:
        parts += [f"![{_words(asked.figure.alt)}]({figure.replace(' ', '%20')})", _words(asked.figure.caption)]
    storage = "\n".join(f"- {_words(name)}: {_words(value)}" for name, value in asked.storage)
    parts += ["## Storage", storage or "Nothing is known of its storage."]
    caveats = "\n".join(f"- {_words(caveat)}" for caveat in asked.caveats)
    parts += ["## What a reviewer should know", caveats or "Nothing speaks against these figures."]
    chosen = [formula for formula in content.methods if formula.term in _TERMS]
    parts += ["## Methods", *(_words(line) for line in content.methods_lead), *(_definition(f) for f in chosen)]
    if content.commands:
        newest = content.commands[-1]
        parts += ["## How it was measured", f"```\n{newest.line}\n```"]
        parts += [f"Commit `{newest.commit}`."] if newest.commit else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> str:
    if not table.rows:
        return _words(table.empty)
    heads = [f"{c.title or c.name}, {c.unit}" if c.unit else c.title or c.name for c in table.columns]
    right = [any(isinstance(row[i], Interval) or is_number(row[i]) for row in table.rows) for i in range(len(heads))]
    lines = [_row(heads), _row("--:" if number else ":--" for number in right)]
    lines += [_row(_words(short(v, c.unit)) for v, c in zip(row, table.columns, strict=True)) for row in table.rows]
    notes = [f"\n{_words(note)}" for note in table.notes]
    return "\n".join([*lines, *notes])


def _row(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _definition(formula: Formula) -> str:
    plain = f" `{formula.plain}`" if formula.plain else ""
    return f"**{formula.term}.** {formula.text}{plain} ({formula.source})"


def _words(text: str) -> str:
    """Text that stays text in Markdown, on one line."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))
