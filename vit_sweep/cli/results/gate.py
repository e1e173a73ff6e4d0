"""The verb `gate`: whether a study got worse than its baseline. An edge."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from launchers.atomic import write, write_bytes
from launchers.checked import to_plain
from launchers.errors import UserError
from launchers.text import plural
from vit_sweep.api.gating import Gated, finished
from vit_sweep.api.gating import gate as gate_of
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_OPEN
from vit_sweep.cli.terminal.options.completing import studies
from vit_sweep.cli.terminal.options.output import output_file
from vit_sweep.cli.terminal.options.study import StudyName
from vit_sweep.runs.baseline import baseline_of, commit_here, write_baseline
from vit_sweep.runs.sources import Source
from vit_sweep.study.code.provenance import require_extra

_CHANGES = 10
"""Sentences of a history that are shown."""
_STYLES = {"worse": "red", "cannot tell": "yellow", "better": "green", "fine": "green"}


def gate(
    study: StudyName,
    *,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="BASELINE", help="A study, or a file that --write-baseline has written.", autocompletion=studies
        ),
    ] = None,
    slower: Annotated[float, typer.Option(help="Slow-down from which on it matters, as a part: 0.05 is 5 %.")] = 0.05,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(metavar="COUNT=PART", help="By how much a count may grow; several times. Memory 0.01, others 0."),
    ] = None,
    across: Annotated[
        list[str] | None, typer.Option(help="What may differ: software, machine, engine, ...; several times.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 4 where nobody can tell; else it is 0.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
    junit: Annotated[Path | None, output_file(help="Also write it as JUnit XML.")] = None,
    markdown: Annotated[Path | None, output_file(help="Also append it as Markdown: $GITHUB_STEP_SUMMARY.")] = None,
    history: Annotated[
        Path | None,
        output_file(help="Add a line to FILE.jsonl; say since when what is otherwise."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw the history there: times by commit.")
    ] = None,
    baseline: Annotated[
        Path | None,
        output_file("--write-baseline", help="Keep the study as the baseline FILE.json."),
    ] = None,
) -> None:
    """Say whether a study got worse than a baseline: counts of a step first, then times. Exit 1 if it did."""
    if figure is not None and history is None:
        raise UserError(f"figure={figure}: it draws a history; add --history FILE")
    if against is None and baseline is None and history is None:
        raise UserError("gate: what is the study held against? --against BASELINE, or write one: --write-baseline FILE")
    console = show.console(stderr=as_json)
    code, verdict = EXIT_DONE, ""
    if against is not None:
        gated = gate_of(study, against, slower=slower, tolerance=_parts(tolerance or ()), across=across or ())
        code = _print_gate(gated, strict=strict, as_json=as_json, junit=junit, markdown=markdown)
        source, verdict = gated.study, gated.verdict
    else:
        source = finished(study)
    if baseline is not None:
        write_baseline(baseline, baseline_of(source.name, source.runs, commit=commit_here()))
        console.print(f"  {baseline}", soft_wrap=True)
    if history is not None:
        _add_to_history(console, source, history, figure, verdict)
    raise typer.Exit(code)


def _print_gate(gated: Gated, *, strict: bool, as_json: bool, junit: Path | None, markdown: Path | None) -> int:
    """Print and write what it says; returns the exit code."""
    from vit_sweep.analysis.gate.checks import Standing
    from vit_sweep.report.tables.comparisons.gate import markdown as as_markdown
    from vit_sweep.report.tables.comparisons.junit import junit as as_junit

    names = gated.study.name, gated.against.name
    console = show.console(stderr=as_json)
    if as_json:
        head = {"study": names[0], "against": names[1], "verdict": gated.verdict, "sentence": gated.sentence}
        typer.echo(json.dumps(head | to_plain(gated.gate), indent=1, allow_nan=False))
    else:
        for source in (gated.against, gated.study):
            for note in source.notes:
                console.print(f"{source.name}: {note}", soft_wrap=not console.is_terminal)
            show.problems(console, source.problems)
        for line in gated.remarks:
            console.print(line, style=_STYLES.get(line.partition(":")[0], "dim"), soft_wrap=not console.is_terminal)
        console.print(gated.sentence, style=_STYLES[gated.verdict], soft_wrap=not console.is_terminal)
    if junit is not None:
        write(junit, as_junit(gated.gate, *names, strict=strict))
    if markdown is not None:
        before = markdown.read_bytes() if markdown.is_file() else b""
        write_bytes(markdown, before + as_markdown(gated.gate, *names).encode())
    if gated.gate.verdict is Standing.WORSE:
        return EXIT_FAILED
    return EXIT_OPEN if strict and gated.gate.verdict is Standing.OPEN else EXIT_DONE


def _add_to_history(console: Console, source: Source, path: Path, figure: Path | None, verdict: str) -> None:
    """Add the study to a history, say since when something is otherwise, and draw it."""
    require_extra("report")
    from vit_sweep.analysis.gate.history import entry_of, steps_of, times_of
    from vit_sweep.analysis.gate.judging import names_of
    from vit_sweep.analysis.pairing import cells_of
    from vit_sweep.report.history import with_entry
    from vit_sweep.report.tables.comparisons.gate import changes

    cells = cells_of(run for run in source.runs if not run.continued_from)
    entry = entry_of(source.name, names_of(cells), [cell.runs for cell in cells], commit=commit_here(), verdict=verdict)
    history, new = with_entry(path, entry)
    show.problems(console, history.problems)
    times, steps = times_of(history.entries), steps_of(history.entries)
    repeated = "" if new else "; these runs were in it already"
    console.print(f"{path}: {plural(len(history.entries), 'gate')}{repeated}", soft_wrap=True)
    sentences = changes(times, steps)
    for line in sentences[:_CHANGES]:
        console.print(f"  {line}", soft_wrap=not console.is_terminal)
    if len(sentences) > _CHANGES:
        console.print(f"  and {len(sentences) - _CHANGES} changes before these")
    if figure is not None:
        from vit_sweep.report.figure import Skipped
        from vit_sweep.report.figures.history import draw_history

        figure_drawn = draw_history(history.entries, times, steps, figure)
        if isinstance(figure_drawn, Skipped):
            console.print(f"no figure: {figure_drawn.reason}", soft_wrap=True)
        for file in figure_drawn.paths.values():
            console.print(f"  {file}", soft_wrap=True)


def _parts(words: Sequence[str]) -> dict[str, float]:
    parts = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            parts[name] = float(value)
        except ValueError:
            raise UserError(f"tolerance={word}: write COUNT=PART, for example peak_memory_bytes=0.02") from None
    return parts
