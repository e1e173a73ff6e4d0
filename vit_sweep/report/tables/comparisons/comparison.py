"""The table of a comparison: a row for each cell that both sides have. Pure."""

from launchers.text import plural
from vit_sweep.analysis.compare import Comparison
from vit_sweep.report.tables.form.table import Column, Table, by_column
from vit_sweep.report.tables.parts import estimate

COMPARED_COLUMNS = tuple(
    Column(name=name, title=title, unit=unit, meaning=meaning)
    for name, title, unit, meaning in (
        ("gpus", "GPUs", "", "All GPUs of the cell."),
        ("nodes", "nodes", "", "Hosts that they are on."),
        ("cell", "cell", "", "What tells the cell from the other pairs."),
        ("a_epoch_s", "a s", "s", "Median epoch of a, over its runs."),
        ("b_epoch_s", "b s", "s", "Median epoch of b, over its runs."),
        ("ratio", "b / a", "", "b_epoch_s / a_epoch_s; below 1: b is faster."),
        ("ratio_low", "low", "", "Lower bound of its 95 % interval; empty with one run on a side."),
        ("ratio_high", "high", "", "Upper bound."),
        ("a_runs", "runs of a", "", "Runs that are pooled."),
        ("b_runs", "runs of b", "", "Runs that are pooled."),
        ("freedom", "d.f.", "", "Degrees of freedom of the interval."),
        ("adjusted_p", "p", "", "p value of a ratio of 1, adjusted for the whole comparison (Holm)."),
        ("verdict", "verdict", "", "b is faster, b is slower, or cannot tell apart (5% for the whole comparison)."),
        ("reason", "because", "", "Why nobody can tell; empty where one can."),
    )
)


def compared_table(comparison: Comparison) -> Table:
    """Every pair, and the geometric mean in the notes."""
    rows = [
        {
            "gpus": pair.gpus,
            "nodes": pair.nodes,
            "cell": pair.label,
            "a_epoch_s": pair.a_s,
            "b_epoch_s": pair.b_s,
            **estimate("ratio", pair.ratio),
            "a_runs": pair.a_runs,
            "b_runs": pair.b_runs,
            "freedom": pair.ratio.freedom,
            "adjusted_p": pair.adjusted_p if pair.ratio.known else None,
            "verdict": pair.verdict,
            "reason": pair.reason,
        }
        for pair in comparison.pairs
    ]
    return Table(
        name="compared",
        title="b against a (ratio of epoch times)",
        columns=COMPARED_COLUMNS,
        values=by_column((column.name for column in COMPARED_COLUMNS), rows),
        notes=(summary(comparison), *comparison.notes),
    )


def summary(comparison: Comparison) -> str:
    """The geometric mean in one sentence."""
    mean = comparison.mean
    if mean is None:
        return "nothing was compared"
    ratio, decided = mean.ratio, sum(not pair.reason for pair in comparison.pairs)
    wide = f" (95%: {ratio.low:.3f} to {ratio.high:.3f})" if ratio.low is not None and ratio.high is not None else ""
    faster, slower = (sum(pair.verdict == f"b is {way}" for pair in comparison.pairs) for way in ("faster", "slower"))
    both = f", faster in {faster} and slower in {slower}: no mean of them says which" if faster and slower else ""
    return (
        f"b / a over {plural(ratio.n, 'cell')}, geometric mean {ratio.value:.3f}{wide}: {mean.verdict}; "
        f"{decided} of {ratio.n} can be told apart (5% for the whole comparison){both}"
    )


def remarks(comparison: Comparison, a: str, b: str) -> list[str]:
    """What was not paired and why, and what could not be checked; `a` and `b` are the names of the sides."""
    texts = [f"not paired, {cell.side}: {cell.cell} – {cell.reason}" for cell in comparison.unpaired]
    if len(texts) > 20:
        texts = [*texts[:20], f"and {len(texts) - 20} more that are not paired"]
    texts += comparison.notes
    if comparison.one_sided and comparison.pairs:
        texts.append(f"said by one side only, so not compared: {', '.join(comparison.one_sided)}")
    if not comparison.pairs:
        texts.append(f"no cell of {a} could be paired with one of {b}")
        if comparison.across:
            words = " ".join(f"--across {name}" for name in comparison.across)
            texts.append(f"to compare across what differs, add: {words}")
    return texts
