"""The verb `reproduce`: whether a study, or a sample that it runs itself, says what a capsule says. An edge."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from launchers.atomic import write
from launchers.errors import UserError
from launchers.invocation import called
from launchers.text import visible
from vit_sweep.api.capsules import Reproduced, published, reproduction_of, sentence_of
from vit_sweep.cli.check import capsule_is_whole
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_OPEN, EXIT_UNDER_WAY
from vit_sweep.cli.terminal.options.completing import studies
from vit_sweep.cli.terminal.options.output import output_file
from vit_sweep.runs.baseline import Baseline, parsed_baseline
from vit_sweep.study.code.provenance import installed_versions, require_extra, versions
from vit_sweep.submit.reproducing import PART, Rerun, Wish, lines, rerun


def reproduce(
    capsule: Annotated[Path, typer.Argument(metavar="CAPSULE", help="A capsule: its .zip file or folder.")],
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY",
            help="The study that ran it again, all cells or some; with --run the one to run them in.",
            autocompletion=studies,
        ),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORDS", help="With --run: partition=NAME, dry_run=true and other settings of a sweep."),
    ] = None,
    *,
    run: Annotated[bool, typer.Option("--run", help="Run a sample of its cells here, then judge them.")] = False,
    cells: Annotated[int | None, typer.Option(min=1, help="Cells of the sample.")] = None,
    sample: Annotated[float, typer.Option(help="The same as a part of them, two at least.")] = PART,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    within: Annotated[float, typer.Option(help="By how much times may be others, as a part: 0.05 is 5 %.")] = 0.05,
    across: Annotated[
        list[str] | None, typer.Option(help="What may differ: software, machine, partition, ...; several times.")
    ] = None,
    config_dir: Annotated[
        Path | None, typer.Option("--config-dir", help="With --run: your folder with partition/*.yaml and data/*.yaml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
    junit: Annotated[Path | None, output_file(help="Also write it as JUnit XML.")] = None,
) -> None:
    """Verify a capsule and say how to run it again, or run a sample with --run; judge STUDY against it.

    Exit 0: it is whole, or reproduced; 1: broken, or differs; 3: cells still run; 4: nobody can tell yet.
    """
    if not 0 < within <= 1:
        raise UserError(f"within={within:g}: a part of the time, above 0 and at most 1; 0.05 is 5 %")
    overrides = list(words or ())
    if study is not None and "=" in study:
        overrides.insert(0, study)
        study = None
    if overrides and not run:
        raise UserError(f"{overrides[0]}: words of a sweep go with --run, which runs a sample of the capsule's cells")
    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder; it is one with partition/NAME.yaml in it")
    if not capsule_is_whole(capsule, stderr=as_json):
        raise typer.Exit(EXIT_FAILED)
    if study is None and not run:
        _print_commands(capsule)
        raise typer.Exit(EXIT_DONE)
    require_extra("report")
    console = show.console(stderr=as_json)
    if not run:
        reproduced = reproduction_of(capsule, str(study), within=within, across=across or ())
    else:
        overrides_here = [*overrides, *([f"study={study}"] if study is not None else [])]
        request = Wish(overrides_here, config_dir, across or (), cells, sample, seed)
        repeat = rerun(published(capsule), request)
        folder = _run_sample(console, capsule, repeat)
        reproduced = reproduction_of(capsule, folder, within=within, across=repeat.across, cannot_run=repeat.left)
    _print_verdict(console, reproduced, as_json=as_json)
    if junit is not None:
        from vit_sweep.report.tables.comparisons.reproduction import junit as as_junit

        write(junit, as_junit(reproduced.reproduction, reproduced.study.name, reproduced.capsule))
    raise typer.Exit({"differs": EXIT_FAILED, "reproduced": EXIT_DONE}.get(reproduced.outcome, EXIT_OPEN))


def _run_sample(console: Console, capsule: Path, repeat: Rerun) -> str:
    """Run the sample, or what is missing of it; returns its study's folder once every cell has ended.

    Ends the command where it was only to be looked at, is not to be waited for, or was interrupted.
    """
    from vit_sweep.cli.sweep import sweep_points
    from vit_sweep.config.settings import study_folder

    _print_differences(console, capsule)
    for line in lines(repeat.left):
        console.print(f"not run here: {line}", soft_wrap=True)
    console.print(sentence_of(repeat), soft_wrap=True)
    code = sweep_points(repeat.points, repeat.settings, console, arguments=sys.argv[1:], overrides=repeat.overrides)
    if repeat.settings.dry_run or code not in (EXIT_DONE, EXIT_FAILED):
        raise typer.Exit(code)
    if not repeat.settings.wait:
        console.print("the same command judges it once its cells have ended", soft_wrap=True)
        raise typer.Exit(EXIT_UNDER_WAY)
    return str(study_folder(repeat.settings, repeat.points))


def _print_verdict(console: Console, reproduced: Reproduced, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(reproduced.as_data(), indent=1, allow_nan=False))
        return
    show.problems(console, reproduced.study.problems)
    for line in reproduced.remarks:
        console.print(line, soft_wrap=not console.is_terminal)
    console.print(reproduced.sentence, soft_wrap=not console.is_terminal)


def _print_differences(console: Console, capsule: Path) -> Baseline:
    """Say what is installed otherwise here."""
    from vit_sweep.analysis.gate.reproducing import versions as unlike
    from vit_sweep.report.capsule.manifest import content_of

    baseline = parsed_baseline(content_of(capsule, "baseline.json"), f"{capsule}: baseline.json")
    installed = installed_versions({package for packages in baseline.software for package in packages}) | versions()
    for line in unlike([tuple(packages.items()) for packages in baseline.software], [tuple(installed.items())]):
        console.print(f"changed: {line}", soft_wrap=True)
    return baseline


def _print_commands(capsule: Path) -> None:
    """Say what to type, and what is installed otherwise here; the words are the capsule's, so a person reads them."""
    from vit_sweep.report.capsule.manifest import content_of

    console = show.console()
    study = _print_differences(console, capsule).study
    name, place = f"{study}-again", shlex.quote(str(capsule))
    console.print("to run a sample of it again, with your vit_sweep and a partition of yours:")
    console.print(f"  {called()} reproduce {place} --run partition=NAME", soft_wrap=True)
    console.print("or all of it; read the words before you type them:")
    for words in _commands(content_of(capsule, f"outputs/{study}/study.json")):
        line = visible(shlex.join([*words, f"study={name}"]))
        console.print(f"  {called()} {line}", soft_wrap=True)
    console.print("then, of all cells or some:")
    console.print(f"  {called()} reproduce {place} {name}", soft_wrap=True)


def _commands(text: bytes) -> list[list[str]]:
    """The words of each sweep, each once; dry runs, and what does not read as words, are left out."""
    try:
        entries: Sequence[dict[str, list[object]]] = json.loads(text)["commands"]
        sweeps = [[str(word) for word in entry["arguments"]] for entry in entries if not entry.get("dry_run")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    commands = ([" ".join(word.split()) for word in words if not word.startswith("study=")] for words in sweeps)
    return [list(words) for words in dict.fromkeys(map(tuple, commands))]
