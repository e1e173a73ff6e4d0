"""The verbs: look at a study, rebuild its tables, end its jobs, fetch data. An edge; typer reads the words."""

from pathlib import Path
from typing import Annotated

import typer

from launchers.errors import UserError, closest
from vit_sweep import show
from vit_sweep.profiles_cli import app as profiles_app
from vit_sweep.store import Study

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Scaling studies of Vision Transformers. A grid runs with: python -m vit_sweep -m gpus=1,2 batch=16,32",
)
data = typer.Typer(no_args_is_help=True, help="Data sets on disk.")
app.add_typer(data, name="data")
app.add_typer(profiles_app, name="profiles")

StudyName = Annotated[str, typer.Argument(help="A study's folder, or its name below outputs/.")]


@app.callback()
def _root() -> None:
    """Scaling studies of Vision Transformers."""


@app.command(epilog="Example: python -m vit_sweep collect outputs/vit_tiny_32-digits-local")
def collect(study: StudyName) -> None:
    """Rebuild tables and figures from the records: at any time, from any machine that sees the folder."""
    from vit_sweep.provenance import require_extra

    found = open_study(study)
    require_extra("report")
    from vit_sweep.collect import collect as collect_study

    if not collect_study(found, show.console()):
        raise typer.Exit(1)


@app.command(epilog="Example: python -m vit_sweep status outputs/vit_tiny_32-digits-local --watch")
def status(
    study: StudyName,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until every cell has ended, then collect.")] = False,
) -> None:
    """Show what became of every cell."""
    from collections import Counter

    from rich.table import Table

    from vit_sweep.status import settled_results

    found, console = open_study(study), show.console()
    if watch:
        from vit_sweep.launch import watch_and_collect

        raise typer.Exit(watch_and_collect(found, console))
    results = settled_results(found)
    counts = Counter(result.status for result in results)
    table = Table(title=f"study {found.name}: " + ", ".join(f"{n} {state}" for state, n in sorted(counts.items())))
    for title in ("cell", "state", ""):
        table.add_column(title, overflow="fold")
    for result in results:
        table.add_row(result.file.cell_id, result.status, result.detail, style=show.STYLES.get(result.status, ""))
    console.print(table)
    show.problems(console, found.problems)


@app.command(epilog="Example: python -m vit_sweep cancel outputs/vit_tiny_32-digits-local")
def cancel(study: StudyName) -> None:
    """End all queued and running jobs of a study; what has finished is kept."""
    from launchers.profile import Scheduler
    from vit_sweep.status import ACTIVE, Watcher, latest_jobs, launcher_of

    found = open_study(study)
    active = {r.file.cell_id for r in Watcher(found).results() if r.status in ACTIVE}
    jobs = {cell: entry for cell, (entry, _) in latest_jobs(found.jobs()).items() if cell in active}
    for scheduler in {entry.scheduler for entry in jobs.values()}:
        mine = {e.handle: e for e in jobs.values() if e.scheduler == scheduler}
        for entry in mine.values():
            found.journal_cancelled(entry)
        launcher_of(Scheduler(scheduler)).cancel(entry.submission for entry in mine.values())
    show.console().print(f"{len(active)} cell(s) of study {found.name} cancelled")


@app.command(
    "render-diff",
    epilog="Examples: python -m vit_sweep render-diff outputs/before outputs/after, or, of two git revisions: "
    "python -m vit_sweep render-diff main HEAD -m gpus=1,8 partition=vector_t4v2",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def render_diff(
    context: typer.Context,
    old: Annotated[str, typer.Argument(help="A study, or a git revision of this checkout.")],
    new: Annotated[str, typer.Argument(help="The other one.")],
) -> None:
    """Show what a change does to the scripts: exit 0 if nothing, 1 with a diff. Revisions need the sweep's words."""
    from rich.syntax import Syntax

    from vit_sweep.render_diff import render_diff as compare

    text = compare(old, new, context.args)
    console = show.console()
    if text and console.is_terminal:
        console.print(Syntax(text, "diff", background_color="default"))
    elif text:
        console.print(text, soft_wrap=True)
    else:
        console.print("the scripts are the same")
    raise typer.Exit(1 if text else 0)


@data.command("prepare", epilog="Example: python -m vit_sweep data prepare cifar100 --root data")
def prepare(
    name: Annotated[str, typer.Argument(help="The data set: a file of conf/data/.")],
    root: Annotated[Path, typer.Option(help="Folder of the data files (data_root of a sweep).")] = Path("data"),
) -> None:
    """Download and verify a data set, on a machine with internet."""
    from omegaconf import OmegaConf

    from launchers.checked import parse
    from vit_sweep.compose import conf_dir
    from vit_sweep.datasets import problem_of
    from vit_sweep.point import DataSpec

    known = {path.stem: path for path in (conf_dir() / "data").glob("*.yaml")}
    if name not in known:
        raise UserError(f"data={name}: there is no such data set – {closest(name, known)}")
    plain = OmegaConf.to_container(OmegaConf.load(known[name]))
    assert isinstance(plain, dict)
    spec = parse(DataSpec, {str(k): v for k, v in plain.items()}, what=f"data {name}")
    if spec.files and problem_of(spec, root) is not None:
        from vit_sweep.train.download import download

        show.console().print(f"fetching {name} to {root} ...")
        download(spec, root)
    show.console().print(f"{name} is ready" + (f" in {root}" if spec.files else ": it needs no files"))


def open_study(study: str) -> Study:
    """Find a study by folder or by name; raises `UserError` with the menu of studies."""
    for folder in (Path(study), Path("outputs") / study):
        if (folder / "study.json").is_file():
            return Study(folder.absolute())
    known = [path.parent.name for path in Path("outputs").glob("*/study.json")]
    menu = closest(study, known) if known else "there is no study in outputs/ yet"
    raise UserError(f"{study} is not a study (no study.json in it) – {menu}")
