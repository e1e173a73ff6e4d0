"""The verb `reproduce`: whether a study that was run again says what a capsule says. An edge; it runs nothing."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launchers.calling import called
from launchers.errors import UserError
from launchers.text import plural, some, visible
from vit_sweep.cli.check import capsule_is_whole
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.completing import studies
from vit_sweep.cli.terminal.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_OPEN
from vit_sweep.runs.baseline import Baseline, parsed_baseline, source_of_parsed
from vit_sweep.study.provenance import installed_versions, require_extra, versions

if TYPE_CHECKING:
    # It imports numpy, which `--help` does not need.
    from vit_sweep.analysis.gate.reproducing import Figure, Reproduction

_MOST = 12
"""Sentences of an outcome that are shown."""


def reproduce(
    capsule: Annotated[Path, typer.Argument(metavar="CAPSULE", help="A capsule: its .zip file or folder.")],
    study: Annotated[
        str | None,
        typer.Argument(metavar="STUDY", help="The study that ran it again, all cells or some.", autocompletion=studies),
    ] = None,
    *,
    within: Annotated[float, typer.Option(help="By how much times may be others, as a part: 0.05 is 5 %.")] = 0.05,
    across: Annotated[
        list[str] | None, typer.Option(help="What may differ: software, machine, partition, ...; several times.")
    ] = None,
) -> None:
    """Verify a capsule and say how to run it again; with STUDY, judge that against it. Exit 0, 1 or 4: see the page."""
    if not 0 < within <= 1:
        raise UserError(f"within={within:g}: a part of the time, above 0 and at most 1; 0.05 is 5 %")
    if not capsule_is_whole(capsule):
        raise typer.Exit(EXIT_FAILED)
    from vit_sweep.report.capsule.manifest import content_of

    published = parsed_baseline(content_of(capsule, "baseline.json"), f"{capsule}: baseline.json")
    if study is None:
        _how(capsule, published)
        raise typer.Exit(EXIT_DONE)
    require_extra("report")
    from vit_sweep.analysis.gate.reproducing import Outcome, reproduced
    from vit_sweep.runs.sources import from_study

    source = from_study(study)
    made = reproduced(source_of_parsed(published, capsule).runs, source.runs, within=within, across=across or ())
    console = show.console()
    show.problems(console, source.problems)
    for line in [*_changed(made), *_figures(made.figures), *made.notes]:
        console.print(line, soft_wrap=not console.is_terminal, markup=False, highlight=False)
    if made.left:
        console.print(f"{plural(made.left, 'cell was|cells were')} not run again", soft_wrap=True)
    console.print(f"{source.name} against {capsule}: {_verdict(made)}", soft_wrap=not console.is_terminal)
    codes = {Outcome.DIFFERS: EXIT_FAILED, Outcome.REPRODUCED: EXIT_DONE}
    raise typer.Exit(codes.get(made.outcome, EXIT_OPEN))


def _how(capsule: Path, published: Baseline) -> None:
    """Say what to type, and what is installed otherwise here; the words are the capsule's, so a person reads them."""
    from vit_sweep.analysis.gate.reproducing import versions as unlike
    from vit_sweep.report.capsule.manifest import content_of

    console = show.console()
    name = f"{published.study}-again"
    ours = installed_versions({package for one in published.software for package in one}) | versions()
    for line in unlike([tuple(one.items()) for one in published.software], [tuple(ours.items())]):
        console.print(f"changed: {line}", soft_wrap=True, markup=False, highlight=False)
    console.print("to run it again; read the words before you type them, and name a partition of yours:")
    for words in _commands(content_of(capsule, f"outputs/{published.study}/study.json")):
        line = visible(shlex.join([*words, f"study={name}"]))
        console.print(f"  {called()} {line}", soft_wrap=True, markup=False, highlight=False)
    console.print("then, of all cells or some:")
    console.print(f"  {called()} reproduce {shlex.quote(str(capsule))} {name}", soft_wrap=True, highlight=False)


def _commands(text: bytes) -> list[list[str]]:
    """The words of each sweep, each once; those that only looked, and what does not read as words, left out."""
    try:
        given = json.loads(text)["commands"]
        kept = [entry["arguments"] for entry in given if not entry.get("dry_run")]
        words = [[str(word) for word in arguments if not str(word).startswith("study=")] for arguments in kept]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return [list(known) for known in dict.fromkeys(tuple(" ".join(one.split()) for one in each) for each in words)]


def _changed(made: "Reproduction") -> list[str]:
    return [f"changed: {sentence}" for sentence in made.changed]


def _figures(figures: "Sequence[Figure]") -> list[str]:
    """What is not reproduced, figure by figure, then how much is."""
    from vit_sweep.analysis.gate.reproducing import Outcome
    from vit_sweep.report.tables.gated import called_in_words

    lines: list[str] = []
    for outcome in (Outcome.DIFFERS, Outcome.OPEN, Outcome.APART):
        said: dict[str, list[str]] = {}
        for figure in figures:
            if figure.outcome is outcome:
                said.setdefault(f"{called_in_words(figure.name)} {figure.sentence}".strip(), []).append(figure.cell)
        texts = [f"{outcome.value}: {some(cells, 3, separator='; ')}: {text}" for text, cells in said.items()]
        lines += texts[:_MOST] + ([f"{outcome.value}: {len(texts) - _MOST} more"] if len(texts) > _MOST else [])
    return lines


def _verdict(made: "Reproduction") -> str:
    from vit_sweep.analysis.gate.reproducing import Outcome

    counts = {outcome: sum(figure.outcome is outcome for figure in made.figures) for outcome in Outcome}
    judged = sum(counts[outcome] for outcome in (Outcome.REPRODUCED, Outcome.DIFFERS, Outcome.OPEN))
    if not judged:
        return "nothing could be compared"
    parts = [f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome]]
    return f"{made.outcome.value}; of {plural(judged, 'figure')}: {', '.join(parts)}"
