"""A compute-time proposal as Markdown, to be pasted into an application. Pure."""

import re

from vit_sweep.report.page.content import Formula, ReportContent
from vit_sweep.report.page.layout import head, heading, shown, whole
from vit_sweep.report.tables.form.rounding import is_number
from vit_sweep.report.tables.form.table import Table
from vit_sweep.report.tables.form.text import pipe_table

_TERMS = (
    "Epoch time",
    "Speedup, strong scaling",
    "Efficiency, strong scaling",
    "Efficiency and scaled speedup, weak scaling",
    "Intervals",
    "GPU-hours",
)
"""The definitions that an application needs."""


def markdown(content: ReportContent, *, figure: str = "") -> str:
    """The proposal of a report as text; `figure`: the path of its figure from where the text will lie.

    Raises ValueError for a report without a proposal.
    """
    proposal = content.proposal
    if proposal is None:
        raise ValueError("this report has no proposal")
    parts = [f"# Compute time proposal: {_words(content.study)}", _words(content.subtitle), _words(content.status)]
    parts += [_words(sentence) for sentence in proposal.summary]
    parts += [*_table(proposal.resources), *_table(proposal.evidence)]
    if figure and proposal.figure is not None:
        parts += [f"![{_words(proposal.figure.alt)}]({figure.replace(' ', '%20')})", _words(proposal.figure.caption)]
        parts += map(_words, proposal.figure.notes)
    storage = "\n".join(f"- {_words(name)}: {_words(value)}" for name, value in proposal.storage)
    parts += ["## Storage", storage or "Nothing is known of its storage."]
    caveats = "\n".join(f"- {_words(caveat)}" for caveat in proposal.caveats)
    parts += ["## What a reviewer should know", caveats or "Nothing speaks against these figures."]
    chosen = [formula for formula in content.methods if formula.term in _TERMS]
    parts += ["## Methods", *(_words(line) for line in content.methods_lead), *(_definition(f) for f in chosen)]
    if content.commands:
        newest = content.commands[-1]
        parts += ["## How it was measured", f"```\n{newest.line}\n```"]
        parts += [f"Commit `{newest.commit}`."] if newest.commit else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(table: Table) -> list[str]:
    title, _ = heading(table)
    if not table.height:
        return [f"## {_words(title)}", _words(table.empty)]
    columns, rows, *_ = whole(table)
    heads = [", ".join(filter(None, head(column))) for column in columns]
    lines = pipe_table(
        heads,
        [[shown(column, row).text for column in columns] for row in rows],
        right=[any(is_number(row[column.name]) for row in rows) for column in columns],
        escape=_words,
    )
    return [f"## {_words(title)}", "\n".join([*lines, *(f"\n{_words(note)}" for note in table.notes)])]


def _definition(formula: Formula) -> str:
    plain = f" `{formula.plain}`" if formula.plain else ""
    return f"**{formula.term}.** {formula.text}{plain} ({formula.source})"


def _words(text: str) -> str:
    """Text that stays text in Markdown, on one line."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))
