"""What a study that ran a capsule again says of it, in sentences and as JUnit. Pure."""

from collections.abc import Iterable, Sequence

from launchers.text import plural, some
from vit_sweep.analysis.gate.reproducing import Figure, Outcome, Reproduction
from vit_sweep.report.tables.comparisons.gate import called_in_words
from vit_sweep.report.tables.comparisons.junit import Case, suite

_MOST = 12
"""Sentences of an outcome that are shown."""


def lines(reproduction: Reproduction) -> list[str]:
    """What changed, then what is not reproduced, figure by figure, then what a reader must know."""
    left = [f"{plural(reproduction.left, 'cell was|cells were')} not run again"] if reproduction.left else []
    return [
        *(f"changed: {sentence}" for sentence in reproduction.changed),
        *_figures(reproduction.figures),
        *reproduction.notes,
        *left,
    ]


def _figures(figures: Sequence[Figure]) -> list[str]:
    sentences: list[str] = []
    for outcome in (Outcome.DIFFERS, Outcome.OPEN, Outcome.APART):
        cells: dict[str, list[str]] = {}
        for figure in figures:
            if figure.outcome is outcome:
                cells.setdefault(f"{called_in_words(figure.name)} {figure.sentence}".strip(), []).append(figure.cell)
        texts = [f"{outcome.value}: {some(named, 3, separator='; ')}: {text}" for text, named in cells.items()]
        sentences += texts[:_MOST] + ([f"{outcome.value}: {len(texts) - _MOST} more"] if len(texts) > _MOST else [])
    return sentences


def verdict(reproduction: Reproduction) -> str:
    """What it comes to."""
    counts = {outcome: sum(figure.outcome is outcome for figure in reproduction.figures) for outcome in Outcome}
    compared = sum(counts[outcome] for outcome in (Outcome.REPRODUCED, Outcome.DIFFERS, Outcome.OPEN))
    if not compared:
        return "nothing could be compared"
    parts = [f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome]]
    return f"{reproduction.outcome.value}; of {plural(compared, 'figure')}: {', '.join(parts)}"


def junit(reproduction: Reproduction, study: str, capsule: str) -> str:
    """As JUnit XML: what differs has failed, what nobody can tell or compare is skipped with its reason."""
    ends = {Outcome.DIFFERS: "failure", Outcome.REPRODUCED: ""}
    cases: Iterable[Case] = (
        Case(
            name=f"{figure.cell}: {called_in_words(figure.name) or 'the cell'}",
            kind="reproduce",
            end=ends.get(figure.outcome, "skipped"),
            type="differs",
            words=f"{figure.outcome.value}: {figure.sentence}",
        )
        for figure in reproduction.figures
    )
    notes = [*(f"changed: {sentence}" for sentence in reproduction.changed), *reproduction.notes]
    return suite("vit_sweep reproduce", f"{study} against {capsule}", list(cases), notes)
