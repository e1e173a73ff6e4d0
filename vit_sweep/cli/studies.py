"""The verbs that look at studies: `list`, `status`, `open`. An edge."""

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box

from launchers.errors import UserError
from launchers.invocation import called
from launchers.local.processor import core_flops
from launchers.text import plural
from vit_sweep.cli.terminal import show, show_status
from vit_sweep.cli.terminal.exit_codes import EXIT_DONE, EXIT_FAILED, EXIT_UNDER_WAY
from vit_sweep.cli.terminal.fit_width import Column, Fitted, Role, columns_of
from vit_sweep.cli.terminal.options.study import Quiet, StudyName, Trust
from vit_sweep.outcome.result import Result, Status
from vit_sweep.report.tables.status import counted, forecast
from vit_sweep.study.store import Study, open_study

if TYPE_CHECKING:
    from vit_sweep.plan.deciding.candidates_file import CandidatesFile
    from vit_sweep.submit.deciding import QuestionStatus


def status(
    study: StudyName,
    *,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Stay until every cell has ended, retry what is to be retried, then collect."),
    ] = False,
    whole: Annotated[bool, typer.Option("--all", help="A row for each of many cells too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs.")] = False,
    quiet: Quiet = False,
    trust: Trust = False,
) -> None:
    """Show what became of every cell: state, attempt, node, epoch, time, time left, reason, and the tables so far.

    From 50 cells on they are counted by what varies, and those that run or went wrong are named.

    Exit code: 0 all cells are done, 1 a cell has failed, 3 some are under way or have not begun.
    """
    from vit_sweep.study.cache.done_cells import results_in_short
    from vit_sweep.study.status import settled_results

    opened, console = open_study(study), show.console(quiet=quiet)
    if quiet and as_json:
        raise UserError("--quiet and --json: one prints nothing, the other an object; leave one out")
    if watch and as_json:
        raise UserError("--watch and --json: one stays, the other prints once; leave one out")
    if watch:
        from vit_sweep.cli.sweep import watch_and_collect
        from vit_sweep.cli.terminal.consent import agree_to_tend

        agree_to_tend(opened, show.console(stderr=quiet), trust=trust)
        raise typer.Exit(watch_and_collect(opened, console))
    # A row for each cell comes with tables of their times, and an answer by now rests on them.
    candidates = opened.candidates()
    needs_records = candidates is not None or (whole and not as_json)
    results, now = (settled_results if needs_records else results_in_short)(opened), datetime.now(UTC)
    if not as_json and not show_status.is_folded(results) and any(result.noted for result in results):
        results = settled_results(opened)
    # Of a study whose cells have ended nothing is expected, and its plan, megabytes of a large one, is read only once.
    waited_for = any(result.status.under_way for result in results)
    plan = opened.plan_file() if waited_for or needs_records else None
    expected = forecast(results, plan, now=now, core_flops=core_flops())
    question = _question_status(opened, candidates, results)
    if as_json:
        status_data = show_status.as_data(opened.name, results, expected, opened.problems, now=now, question=question)
        typer.echo(json.dumps(status_data, indent=1))
    elif show_status.is_folded(results) and not whole:
        console.print(show_status.folded(opened.name, results, expected, now=now, question=question))
        show.problems(console, opened.problems)
    else:
        console.print(show_status.status(opened.name, results, expected, now=now, question=question))
        for table in show_status.unfinished_tables(results):
            console.print(show_status.partial_table(table))
        show.problems(console, opened.problems)
    if quiet:
        show.errors([result for result in results if result.status not in {Status.DONE, *_UNFINISHED}], opened.problems)
    code = exit_code(results)
    if code == EXIT_DONE and opened.problems and opened.damaged_cells({result.file.cell_id for result in results}):
        code = EXIT_FAILED  # of which nobody can say that they are done
    raise typer.Exit(code)


def _question_status(
    study: Study, candidates: "CandidatesFile | None", results: Sequence[Result]
) -> "QuestionStatus | None":
    """Of a study that decides: its question, and the answer by now."""
    rule = study.decide_rule() if candidates is not None else None
    if rule is None or candidates is None:
        return None
    from vit_sweep.study.spending import lost_gpu_hours
    from vit_sweep.submit.deciding import so_far

    lost = lost_gpu_hours(study, results, candidates.planned)
    return so_far(rule, candidates.planned, study.decisions(), results, lost=lost)


def exit_code(results: Sequence[Result]) -> int:
    """What `status` ends with."""
    states = {result.status for result in results}
    if states == {Status.DONE}:
        return EXIT_DONE
    return EXIT_FAILED if states - {Status.DONE} - _UNFINISHED else EXIT_UNDER_WAY


_UNFINISHED = {status for status in Status if status.under_way} | {Status.MISSING}


def list_studies(
    folder: Annotated[Path, typer.Argument(help="Where the studies lie.")] = Path("outputs"),
) -> None:
    """Show the studies of a folder: what became of their cells, and when something last changed; the latest first."""
    from vit_sweep.study.cache.done_cells import results_in_short

    console = show.console()
    listed = [Study(path.parent.absolute()) for path in folder.glob("*/study.json")]
    studies = sorted(((_changed_at(study), study) for study in listed), key=itemgetter(0), reverse=True)
    if not studies and (folder / "study.json").is_file():
        where = shlex.quote(str(folder))
        raise UserError(f"{folder} is a study itself – its cells: {called()} status {where}")
    if not studies:
        raise UserError(f"there is no study in {folder} – a sweep makes one: {called()} -m gpus=1,2")
    rows = []
    for changed_at, study in studies:
        results = results_in_short(study)
        noted = f" ({plural(len(study.problems), 'file')} cannot be read)" if study.problems else ""
        age = datetime.now(UTC).timestamp() - changed_at
        rows.append((study.name, len(results), f"{counted(results)}{noted}", f"{ago(age)} ago"))
    console.print(Fitted(columns_of(_LISTED, rows), frame=box.SIMPLE_HEAD, stacks=True))
    name = studies[0][1].name
    latest = name if folder == Path("outputs") else shlex.quote(str(folder / name))
    console.print(f"{called()} status {latest} says more of the latest", soft_wrap=True)


_LISTED = (
    Column("study", role=Role.KEY, is_text=True),
    Column("cells"),
    Column("state", role=Role.REMARK),
    Column("last change", is_text=True),
)


def _changed_at(study: Study) -> float:
    """When a study last changed (seconds since 1970): its plan, its journal, or a cell's folder."""
    names = ("study.json", "plan.json", "jobs.jsonl", "cells")
    cells = (study.folder / "cells").glob("*/")
    paths = [*(study.folder / name for name in names), *cells]
    return max((path.lstat().st_mtime for path in paths if path.exists()), default=0.0)


def ago(seconds: float) -> str:
    """An age in its largest unit.

    >>> ago(59), ago(3600 * 30), ago(3600 * 24 * 20)
    ('1 minute', '30 hours', '20 days')
    """
    for size, unit, until in ((60, "minute", 90), (3600, "hour", 48), (86400, "day", float("inf"))):
        count = max(1, round(seconds / size))
        if count < until:
            return plural(count, unit)
    raise AssertionError(seconds)


def open_page(
    study: StudyName,
    *,
    path_only: Annotated[bool, typer.Option("--path", help="Print where it is, open nothing.")] = False,
) -> None:
    """Show a study's report in the browser of this machine, or say where it is; it is written when it is not there or
    older than a record."""
    from vit_sweep.cli.results.report import report

    opened, console = open_study(study), show.console()
    page = opened.folder / "report.html"
    if not page.is_file() or page.stat().st_mtime < _changed_at(opened):
        report(study)
    else:
        console.print(str(page), soft_wrap=True)
    if not path_only:
        show.page(console, page)
