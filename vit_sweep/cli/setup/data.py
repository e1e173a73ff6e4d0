"""The verbs of data: list and prepare data sets, on a login node before the jobs need them. An edge."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box

from launchers.errors import UserError
from launchers.text import plural
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.fit_width import MINOR, Column, Fitted, Role, columns_of
from vit_sweep.cli.terminal.help_text import examples
from vit_sweep.config.folders import SITE_VARIABLE
from vit_sweep.data import datasets
from vit_sweep.data.packed import SPLITS, is_packed
from vit_sweep.data.request import PathMissingError, Request
from vit_sweep.plan.choices import Task
from vit_sweep.plan.specs import DataSpec

_OUTPUTS = {
    Task.CLASSIFICATION: "class|classes",
    Task.MULTILABEL: "label",
    Task.REGRESSION: "number",
    Task.CONTRASTIVE: "caption",
}

app = typer.Typer(no_args_is_help=True, help="Data sets on disk.")

Root = Annotated[Path, typer.Option(envvar="VIT_SWEEP_DATA", help="Folder of the data files: a sweep's data_root.")]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", help=f"A folder with data/*.yaml; {SITE_VARIABLE} names a site-wide one."),
]


@app.command("list", epilog=examples("data list --root data"))
def list_data(root: Root = Path("data"), config_dir: ConfigDir = None) -> None:
    """Show every data set that a sweep can name, and whether its files are ready."""
    from vit_sweep.config import data_catalog

    entries = data_catalog.catalog(config_dir)
    rows: list[tuple[str, ...]] = []
    styles: list[str] = []
    row: tuple[str, ...]
    for entry in entries:
        try:
            spec = data_catalog.load(entry.name, entries)
        except PathMissingError:
            row, style = (entry.name, "", "", "", "", "yours: add data.path=DIR", entry.path), ""
        except UserError as error:
            row, style = (entry.name, "", "", "", "", f"wrong: {error}", entry.path), "red"
        else:
            if not isinstance(spec, DataSpec):
                continue
            row, style = _row(spec, root, entry.path)
        rows.append(row)
        styles.append(style)
    for request in datasets.packed_requests(root):
        row, style = _row(datasets.packed_spec(request, root), root, request.path)
        rows.append(row)
        styles.append(style)
    title = f"files in {root.absolute()}"
    table = Fitted(columns_of(_LISTED, rows), title, styles=tuple(styles), frame=box.SIMPLE_HEAD)
    show.console().print(table)


_LISTED = (
    Column("data", role=Role.KEY, is_text=True),
    Column("training", rank=1),
    Column("test", rank=2),
    Column("to learn"),
    Column("MiB", rank=3),
    Column("state", role=Role.REMARK),
    Column("file", is_text=True, rank=MINOR),
)


def _row(spec: DataSpec, root: Path, file: str) -> tuple[tuple[str, ...], str]:
    """The row of a data set, and its style."""
    ready, state = _state(spec, root)
    counts = (f"{count:,}" for count in (spec.train_images, spec.test_images))
    learns = plural(spec.classes, _OUTPUTS[spec.targets])
    return (spec.name, *counts, learns, _size(spec, root), state, file), "green" if ready else ""


@app.command("prepare", epilog=examples("data prepare photos/leaves data.side=64 --root data"))
def prepare(
    name: Annotated[str, typer.Argument(help="The data set: the word after data=, or a path.")],
    words: Annotated[list[str] | None, typer.Argument(help="The sweep's other words of data: data.side=64.")] = None,
    root: Root = Path("data"),
    config_dir: ConfigDir = None,
) -> None:
    """Download and verify a data set, on a machine with internet; or pack images of your own."""
    from vit_sweep.config import data_catalog

    console = show.console()
    data = data_catalog.load(name, data_catalog.catalog(config_dir), words or ())
    if isinstance(data, DataSpec) and not datasets.needs_files(data):
        console.print(f"{name} is ready: it needs no files")
        return
    if isinstance(data, Request) or datasets.problem_of(data, root) is not None:
        from vit_sweep.study.code.provenance import require_extra

        require_extra("train")
        from vit_sweep.data.prepare.download import download
        from vit_sweep.data.prepare.pack import pack

        def tell(line: str) -> None:
            console.print(line, soft_wrap=True)

        if isinstance(data, Request) or is_packed(data):
            pack(data, root, tell)
        else:
            download(data, root, tell)
    spec = datasets.packed_spec(data, root) if isinstance(data, Request) else data
    datasets.require(spec, root)
    count = len(datasets.files_of(spec, root))
    console.print(f"{spec.name} is ready in {root}: {count} files, {_size(spec, root)} MiB", soft_wrap=True)
    if isinstance(data, Request):
        console.print(
            f"{plural(spec.train_images, 'training image')}, {spec.test_images:,} to test with, "
            f"{plural(spec.classes, _OUTPUTS[spec.targets])}, {plural(spec.channels, 'channel')}",
            soft_wrap=True,
        )


def _state(spec: DataSpec, root: Path) -> tuple[bool, str]:
    """Whether a job could read it now, and the words for a table."""
    if not datasets.needs_files(spec):
        return True, "ready: needs no files"
    if not _existing_files(spec, root):
        source = is_packed(spec) and all((root / spec.name / folder).is_dir() for folder in SPLITS.values())
        return False, f"{'not packed' if source else 'not here'}: data prepare {spec.name}"
    problem = datasets.problem_of(spec, root)
    return problem is None, problem or "ready"


def _existing_files(spec: DataSpec, root: Path) -> list[Path]:
    try:
        files = datasets.files_of(spec, root)
    except datasets.Unusable:
        return []
    return [root / file.path for file in files if (root / file.path).is_file()]


def _size(spec: DataSpec, root: Path) -> str:
    """MiB of the files that are there."""
    files = _existing_files(spec, root)
    return f"{sum(path.stat().st_size for path in files) / 2**20:,.1f}" if files else "–"
