"""The verb `gate`: whether a study got worse than its baseline. An edge."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from launchers.atomic import make_folder, write
from launchers.checked import to_plain
from launchers.errors import UserError
from vit_sweep.api.gating import Gated, finished
from vit_sweep.api.gating import gate as gate_of
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_OPEN
from vit_sweep.cli.terminal.study_options import StudyName
from vit_sweep.runs.baseline import baseline_of, commit_here, write_baseline

_STYLES = {"worse": "red", "cannot tell": "yellow", "better": "green", "fine": "green"}


def gate(
    study: StudyName,
    *,
    against: Annotated[
        str | None, typer.Option(metavar="BASELINE", help="A study, or a file that --write-baseline has written.")
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
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write it as JUnit XML.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also append it as Markdown: $GITHUB_STEP_SUMMARY.")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--write-baseline", metavar="FILE", help="Keep the study as the baseline FILE.json."),
    ] = None,
) -> None:
    """Say whether a study got worse than a baseline: counts of a step first, then times. Exit 1 if it did."""
    if against is None and baseline is None:
        raise UserError("gate: what is the study held against? --against BASELINE, or write one: --write-baseline FILE")
    console = show.console(stderr=as_json)
    code = EXIT_DONE
    if against is not None:
        made = gate_of(study, against, slower=slower, tolerance=_parts(tolerance or ()), across=across or ())
        code = _told(made, strict=strict, as_json=as_json, junit=junit, markdown=markdown)
        source = made.study
    else:
        source = finished(study)
    if baseline is not None:
        write_baseline(baseline, baseline_of(source.name, source.runs, commit=commit_here()))
        console.print(f"  {baseline}", soft_wrap=True)
    raise typer.Exit(code)


def _told(made: Gated, *, strict: bool, as_json: bool, junit: Path | None, markdown: Path | None) -> int:
    """Print and write what it says; returns the exit code."""
    from vit_sweep.analysis.gate.checks import Standing
    from vit_sweep.report.tables.gated import markdown as as_markdown
    from vit_sweep.report.tables.junit import junit as as_junit

    names = made.study.name, made.against.name
    console = show.console(stderr=as_json)
    if as_json:
        head = {"study": names[0], "against": names[1], "verdict": made.verdict, "sentence": made.sentence}
        typer.echo(json.dumps(head | to_plain(made.gate), indent=1, allow_nan=False))
    else:
        for source in (made.against, made.study):
            for note in source.notes:
                console.print(f"{source.name}: {note}", soft_wrap=not console.is_terminal)
            show.problems(console, source.problems)
        for line in made.remarks:
            console.print(line, style=_style(line), soft_wrap=not console.is_terminal)
        console.print(made.sentence, style=_STYLES[made.verdict], soft_wrap=not console.is_terminal)
    if junit is not None:
        _written(junit, as_junit(made.gate, *names, strict=strict))
    if markdown is not None:
        before = markdown.read_text() if markdown.is_file() else ""
        _written(markdown, before + as_markdown(made.gate, *names))
    if made.gate.verdict is Standing.WORSE:
        return EXIT_FAILED
    return EXIT_OPEN if strict and made.gate.verdict is Standing.OPEN else EXIT_DONE


def _style(line: str) -> str:
    return _STYLES.get(line.partition(":")[0], "dim")


def _written(path: Path, text: str) -> None:
    make_folder(path.parent)
    write(path, text)


def _parts(words: Sequence[str]) -> dict[str, float]:
    parts = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            parts[name] = float(value)
        except ValueError:
            raise UserError(f"tolerance={word}: write COUNT=PART, for example peak_memory_bytes=0.02") from None
    return parts
