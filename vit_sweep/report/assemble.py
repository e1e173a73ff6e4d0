"""From a study, or imported runs, to a report's content: the one place that knows tables, figures, fits and audit.

An edge.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from launchers.atomic import read
from launchers.errors import UserError
from launchers.text import plural
from vit_sweep.analysis.audit import judge
from vit_sweep.analysis.laws.fits import fit
from vit_sweep.analysis.series.contention import contention
from vit_sweep.analysis.series.grouping import group
from vit_sweep.analysis.series.intervals import with_all_intervals
from vit_sweep.analysis.series.series import ScalingSeries
from vit_sweep.plan.choices import Scaling
from vit_sweep.plan.plan import PlannedPoint
from vit_sweep.report import figures, pictures
from vit_sweep.report.figure import Figure
from vit_sweep.report.gather import Gathered, gather, gather_runs
from vit_sweep.report.page import audit, laws, machines, methods, request
from vit_sweep.report.page.content import Command, Proposal, ReportContent, Section, StudyFile
from vit_sweep.report.page.curves import curve_of
from vit_sweep.report.page.proposal import propose
from vit_sweep.report.page.published import comparison_table
from vit_sweep.report.page.request import PARTIAL
from vit_sweep.report.page.verdict import cards_of
from vit_sweep.report.table_files import write_tables
from vit_sweep.report.tables.form.table import Table
from vit_sweep.runs.imported import Reference, load_reference, short_names
from vit_sweep.runs.run import Run
from vit_sweep.runs.sources import Source
from vit_sweep.study.code.provenance import versions
from vit_sweep.study.store import Study

_LISTED = 12
"""Failures that are said one by one; more are in a table only."""
_FILES = (
    ("study.json", "every command, with versions and commit"),
    ("plan.json", "every point that was asked for, and its cell"),
    ("jobs.jsonl", "what was submitted, and when"),
)


class ReportOptions(NamedTuple):
    """What the reader asked for beyond the study itself."""

    reference: str | None = None
    """A published study to draw beside one's own curves."""
    proposal: bool = False
    threshold: float = 0.8
    """Least efficiency, 0 to 1."""
    target: float | None = None
    """Test accuracy whose time is reported."""


class Material(NamedTuple):
    """What a report is made of, wherever its runs come from."""

    name: str
    folder: Path
    """Tables and figures lie there."""
    gathered: Gathered
    points: Sequence[PlannedPoint] = ()
    requested: tuple[tuple[str, str], ...] = ()
    """Axes and their values; of imported runs what was read."""
    commands: tuple[Command, ...] = ()
    reproduce: tuple[str, ...] = ()
    digests: tuple[tuple[str, str], ...] = ()


def content_of(
    study: Study,
    options: ReportOptions = ReportOptions(),  # noqa: B008  # frozen
    *,
    folder: Path | None = None,
    gathered: Gathered | None = None,
) -> ReportContent | None:
    """Read a study, renew its tables and figures, and say all of it; None if no run has a time yet.

    `folder`: where tables and figures go instead of the study's own. `gathered`: what was read of it already, with the
    target of `options`.

    Raises `UserError` for a threshold or target that is none, or a reference that is not known.
    """
    published = _checked(options)
    gathered = gathered or gather(study, target=options.target)
    if not gathered.timed:
        return None
    points, commands = study.points(), request.commands(_commands(study))
    material = Material(
        name=study.name,
        folder=folder or study.folder,
        gathered=gathered,
        points=points,
        requested=request.axes(points),
        commands=commands,
        reproduce=request.to_type(commands, study.name),
        digests=_digests(study, gathered),
    )
    return _content(material, options, published)


def content_of_tables(
    source: Source,
    folder: Path,
    *,
    command: str,
    options: ReportOptions = ReportOptions(),  # noqa: B008  # frozen
) -> ReportContent | None:
    """The same of imported runs, which `command` read, into `folder`; None if no run has a time. Raises as `content_of`
    does."""
    published = _checked(options)
    gathered = gather_runs(source.runs, problems=source.problems, target=options.target)
    if not gathered.timed:
        return None
    material = Material(
        name=source.name,
        folder=folder,
        gathered=gathered,
        requested=(("imported from", source.name), *(("notes", note) for note in source.notes)),
        reproduce=(command,),
        digests=tuple(
            (f"{name}, sha256", _sha256(path))
            for path, name in zip(source.files, short_names(source.files), strict=True)
        ),
    )
    return _content(material, options, published)


def _checked(options: ReportOptions) -> Reference | None:
    """The published study to draw beside; raises `UserError` for options that cannot be met."""
    if not 0 < options.threshold <= 1:
        raise UserError(
            f"threshold={options.threshold:g}: an efficiency is above 0 and at most 1; for 80% write --threshold 0.8"
        )
    if options.target is not None and not 0 < options.target <= 1:
        raise UserError(f"target={options.target:g}: an accuracy is above 0 and at most 1; for 50% write --target 0.5")
    return load_reference(options.reference) if options.reference else None


def _content(material: Material, options: ReportOptions, published: Reference | None) -> ReportContent:
    gathered, folder = material.gathered, material.folder
    series = (*gathered.strong, *gathered.weak)
    fits = [(curve, fit(curve)) for curve in series]
    drawn = figures.draw_all(
        gathered.strong,
        gathered.weak,
        gathered.runs,
        folder / "figures",
        ratio=gathered.ratio,
        predictions=pictures.fitted_lines(fits),
        accuracies=gathered.accuracies,
        alone=False,
    )
    pictured = pictures.drawn_figures(drawn)
    verdict = judge.audit(gathered.runs)
    write_tables(gathered.tables, folder / "tables")
    failures = request.failures(material.points, gathered.runs)
    untimed = sum(failure.status != PARTIAL for failure in failures)
    answered = laws.answers_by_series(fits, threshold=options.threshold)
    return ReportContent(
        study=material.name,
        subtitle=_subtitle(gathered.runs),
        generated_by=f"vit_sweep {versions().get('vit_sweep', '')}".strip(),
        status=request.status_line(material.points, gathered.runs),
        cards=cards_of(answered, gathered.runs, verdict, threshold=options.threshold, untimed=untimed),
        curves=tuple(curve_of(curve, laid) for curve, laid in fits if curve.timed),
        answers=laws.answers_of(answered),
        answers_table=laws.answers_table(answered, threshold=options.threshold),
        contended=contention(gathered.runs),
        headline=pictures.headline(pictured),
        requested=material.requested,
        requested_tables=request.points_table(material.points, gathered.runs),
        machines=machines.machines(gathered.runs),
        machine_remarks=machines.remarks(gathered.runs),
        tables=tuple(table for table in gathered.tables if table.name != "failures"),
        figures=pictured,
        not_drawn=pictures.skipped(drawn),
        fits=tuple((laws.name_of(curve), laid) for curve, laid in fits),
        fit_remarks=laws.remarks(series),
        reference=_reference(gathered, published, folder) if published is not None else None,
        findings=verdict.findings,
        audit_tables=audit.tables_of(verdict),
        failures=failures if len(failures) <= _LISTED else (),
        failure_tables=tuple(table for table in gathered.tables if table.name == "failures"),
        problems=gathered.problems,
        methods=methods.METHODS,
        methods_lead=methods.lead(gathered.runs, versions=_versions(gathered.tables)),
        commands=material.commands,
        reproduce=material.reproduce,
        digests=material.digests,
        files=tuple(_files(folder)),
        proposal=_proposal(series, material, options, pictured) if options.proposal else None,
    )


def _proposal(
    series: Sequence[ScalingSeries], material: Material, options: ReportOptions, pictured: Sequence[Figure]
) -> Proposal:
    by_name = {figure.name: figure for figure in pictured}
    return propose(
        series,
        material.gathered.runs,
        threshold=options.threshold,
        study_bytes=_size(material.folder),
        figure=by_name.get("strong_efficiency") or by_name.get("weak_efficiency"),
    )


def _reference(gathered: Gathered, published: Reference, folder: Path) -> Section:
    """One's own curves and the published ones, and what the audit says of those."""
    runs, facts = published.imported.runs, published.facts
    published_series = with_all_intervals(curve for mode in Scaling for curve in group(runs, mode))
    own = {Scaling.STRONG: gathered.strong, Scaling.WEAK: gathered.weak}
    sourced = [replace(curve, label=f"{facts.label}, {curve.label}") for curve in published_series]
    drawn = pictures.draw_with_published(own, sourced, folder / "figures" / published.name)
    verdict = judge.audit(runs)
    notes = (*facts.notes, *(f"Not drawn: {reason}." for reason in pictures.skipped(drawn)))
    modes = {curve.key.scaling for curve in published_series}
    comparable = [curve for curve in (*gathered.strong, *gathered.weak) if curve.key.scaling in modes]
    return Section(
        name="reference",
        title=f"Beside {facts.label}",
        lead=f"{facts.title} ({facts.source}). {facts.section}.",
        notes=notes,
        figures=pictures.drawn_figures(drawn, prefix="beside-"),
        tables=(
            comparison_table(comparable, published_series, facts.label),
            *audit.tables_of(verdict, prefix="published-"),
        ),
        findings=verdict.findings,
    )


def _subtitle(runs: Iterable[Run]) -> str:
    """What was trained on what, from the conditions of the runs."""
    timed = [run for run in runs if run.timed]
    names = ("model", "data", "precision", "partition", "gpu_model")
    conditions = [", ".join(sorted({run.condition(name) for run in timed} - {""})) for name in names]
    model, data, *others = conditions
    gpus = sorted({run.gpus for run in timed})
    span = f"{gpus[0]} to {gpus[-1]} GPUs" if len(gpus) > 1 else plural(gpus[0], "GPU")
    return ", ".join(filter(None, [f"{model} on {data}" if data else model, *dict.fromkeys(others), span]))


def _commands(study: Study) -> dict[str, Any]:
    path = study.folder / "study.json"
    try:
        package = from_json(read(path))
    except (OSError, ValueError) as error:
        study.problems.append(f"{path} cannot be read ({error}); the commands of the study are not known")
        return {}
    return package if isinstance(package, dict) else {}


def _versions(tables: Sequence[Table]) -> tuple[tuple[str, str], ...]:
    """What trained, as the records themselves say: each version that any run had."""
    runs = next((table for table in tables if table.name == "runs"), None)
    names = [column.name for column in runs.columns if column.name.startswith("version_")] if runs else []
    differing = []
    for name in names:
        values = sorted({str(value) for value in runs.values[name] if value}) if runs else []
        if values:
            differing.append((name.removeprefix("version_"), " and ".join(values)))
    return tuple(differing)


def _digests(study: Study, gathered: Gathered) -> tuple[tuple[str, str], ...]:
    """One digest over all records: sha256 of the lines `cell id, sha256 of its record.json`, sorted by cell."""
    cells = sorted(run.run_id for run in gathered.runs if run.timed)
    lines = [f"{cell} {_sha256(study.cell_dir(cell) / 'record.json')}\n" for cell in cells]
    runs = next((table for table in gathered.tables if table.name == "runs"), None)
    codes = sorted({str(code) for code in runs.values["code"] if code}) if runs is not None else []
    total = hashlib.sha256("".join(lines).encode()).hexdigest()
    return ((f"all {len(lines)} records, sha256", total), *(("code of the jobs", code) for code in codes))


def _files(folder: Path) -> Iterable[StudyFile]:
    for name, meaning in _FILES:
        if (folder / name).is_file():
            yield StudyFile(path=name, meaning=meaning, sha256=_sha256(folder / name))
    for path in sorted((folder / "tables").glob("*.csv")):
        relative = path.relative_to(folder).as_posix()
        yield StudyFile(path=relative, meaning="a table of this page in full precision", sha256=_sha256(path))


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(read(path)).hexdigest()
    except OSError:
        return "gone"


def _size(folder: Path) -> int:
    """Bytes of all files below."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:
            continue
    return total
