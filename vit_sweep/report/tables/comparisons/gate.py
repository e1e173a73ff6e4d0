"""What a gate says, in sentences and as Markdown. Pure."""

from collections.abc import Iterable

from launchers.text import grouped, plural, some
from vit_sweep.analysis.gate.checks import Check, Gate, Kind, Standing, exact, most_repeats
from vit_sweep.analysis.gate.history import Entry, Step, Times

_ORDER = (Standing.WORSE, Standing.OPEN, Standing.APART, Standing.BETTER)
_SHOWN = 20
"""Sentences of a standing that are listed."""
_KNOWN = {
    "epoch_s": "epoch time",
    "flop": "FLOP of a step",
    "operations": "operations of a step",
    "kernels": "kernels of a step",
    "host_reads": "host reads of a step",
    "synchronisations": "synchronisations of a step",
    "peak_memory_bytes": "bytes of memory at the peak",
    "parameters": "trained parameters",
    "all_parameters": "parameters",
}
_MARKS = {
    Standing.WORSE: "❌",
    Standing.OPEN: "❔",
    Standing.APART: "➖",
    Standing.BETTER: "✅",
    Standing.FINE: "✅",
}


def name_of(check: Check) -> str:
    """What is checked, as a sentence names it: `all_reduce calls of a step`."""
    return called_in_words(check.name)


def called_in_words(name: str) -> str:
    """The same of a name alone; one that is not known stays as it is."""
    if name.startswith("collectives."):
        kind, _, quantity = name.removeprefix("collectives.").rpartition(".")
        return f"{kind} {quantity} of a step"
    return _KNOWN.get(name, name)


def lines(gate: Gate) -> list[str]:
    """A sentence for each thing that is not fine, the worst first; then how much is fine, and what to know."""
    listed: list[str] = []
    for standing in _ORDER:
        sentences = [f"{standing.value}: {text}" for text in _grouped(gate.of(standing))]
        more = len(sentences) - _SHOWN
        listed += [
            *sentences[:_SHOWN],
            *([f"{standing.value}: {more} more; --json has all"] if more > 0 else []),
        ]
    return [*listed, *_fine(gate), *gate.notes]


def _grouped(checks: Iterable[Check]) -> list[str]:
    """Checks that say the same of several cells in one sentence."""
    cells = grouped(((name_of(check), check.sentence), check.cell) for check in checks)
    texts = []
    for (name, sentence), named in cells.items():
        where = some(named, 3, separator="; ")
        texts.append(f"{where}: {name + ' ' if name else ''}{sentence}")
    return texts


def _fine(gate: Gate) -> list[str]:
    counts, times = gate.of(Standing.FINE, Kind.COUNT), gate.of(Standing.FINE, Kind.TIME)
    clauses = []
    if counts:
        clauses.append(f"{plural(len(counts), 'count')} of {plural(len({c.cell for c in counts}), 'cell')}")
    if times:
        cells = [check.cell for check in times]
        clauses.append(
            f"{plural(len(times), 'time')} ({some(cells, 3, separator='; ')}) not longer by {gate.rules.slower:.3g}"
        )
    return [f"fine: {'; '.join(clauses)}"] if clauses else []


def changes(times: Iterable[Times], steps: Iterable[Step]) -> list[str]:
    """Since when something is otherwise, the latest first: times, then counts."""
    time_changes = [
        (series.moments[change.at], f"{series.cell}: epoch time {change.ratio - 1:+.1%}")
        for series in times
        for change in series.changes
    ]
    lines = [
        f"since {_when(moment.entry)}: {words}"
        for moment, words in sorted(time_changes, key=lambda item: (-item[0].line, item[1]))
    ]
    counted = grouped(((-step.line, step.name, step.before, step.after), step) for step in steps)
    for (_, name, before, after), equal_steps in sorted(counted.items()):
        where = some((step.cell for step in equal_steps), 3, separator="; ")
        words = f"{called_in_words(name)} {exact(after)} instead of {exact(before)}"
        lines.append(f"since {_when(equal_steps[0].entry)}: {where}: {words}")
    return lines


def _when(entry: Entry) -> str:
    day = entry.at[:10]
    return f"{entry.commit[:12]} ({day})" if entry.commit else day


def verdict(gate: Gate, study: str, against: str) -> str:
    """The last line: what is to be done."""
    worse, open_checks, better = (gate.of(s) for s in (Standing.WORSE, Standing.OPEN, Standing.BETTER))
    compared = len(gate.checks) - len(gate.of(Standing.APART))
    head = f"{study} against {against}"
    if worse:
        return f"{head}: worse in {len(worse)} of {plural(compared, 'check')}"
    if gate.verdict is Standing.OPEN:
        if not open_checks:
            return f"{head}: nothing could be compared"
        more = most_repeats(open_checks)
        runs = max((check.runs_after for check in open_checks if check.more), default=0)
        advice = f"; repeats={runs + more} at the sweep would tell" if more else ""
        return f"{head}: nothing is known to be worse, {len(open_checks)} of {plural(compared, 'check')} open{advice}"
    renew = "; better in some: renew the baseline with --write-baseline, so that it stays so" if better else ""
    return f"{head}: fine in {plural(compared, 'check')}{renew}"


def markdown(gate: Gate, study: str, against: str) -> str:
    """A section for the summary of a CI run."""
    text = [f"## {_MARKS[gate.verdict]} {_escaped(verdict(gate, study, against))}", ""]
    rows = [check for standing in (*_ORDER, Standing.FINE) for check in gate.of(standing)]
    checks_shown = [check for check in rows if check.standing is not Standing.FINE or check.kind is Kind.TIME]
    if checks_shown:
        text += ["| | cell | what | says |", "| --- | --- | --- | --- |", *map(_row, checks_shown[:100]), ""]
        if len(checks_shown) > 100:
            text += [f"and {len(checks_shown) - 100} more", ""]
    text += [f"- {_escaped(note)}" for note in (*_fine(gate), *gate.notes)]
    return "\n".join(text).rstrip() + "\n"


def _row(check: Check) -> str:
    says = f"{_MARKS[check.standing]} {check.standing.value}"
    return f"| {' | '.join(map(_escaped, (says, check.cell, name_of(check), check.sentence)))} |"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_").replace("*", "\\*")
