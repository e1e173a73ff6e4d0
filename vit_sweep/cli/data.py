"""The verbs of data: list and prepare data sets, on a login node before the jobs need them. An edge."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from launchers.checked import parse
from launchers.errors import UserError, closest
from vit_sweep.cli import show
from vit_sweep.data import datasets
from vit_sweep.data.packed import SPLITS, is_packed
from vit_sweep.plan.point import DataSpec

app = typer.Typer(no_args_is_help=True, help="Data sets on disk.")

Root = Annotated[Path, typer.Option(envvar="VIT_SWEEP_DATA", help="Folder of the data files: a sweep's data_root.")]
ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", help="A folder with data/*.yaml; VIT_SWEEP_CONF names a site-wide one."),
]


@app.command("list", epilog="Example: python -m vit_sweep data list --root data")
def list_data(root: Root = Path("data"), config_dir: ConfigDir = None) -> None:
    """Show every data set that a sweep can name, and whether its files are ready."""
    files = catalog(config_dir)
    table = Table(box=box.SIMPLE_HEAD, title=f"files in {root.absolute()}", title_justify="left")
    for title in ("data", "training", "test", "classes", "MiB", "state", "file"):
        right = title in {"training", "test", "classes", "MiB"}
        table.add_column(title, justify="right" if right else "left", overflow="fold", no_wrap=title == "data")
    for name, path in sorted(files.items()):
        try:
            spec = load(name, files)
        except UserError as error:
            table.add_row(name, "", "", "", "", f"wrong: {error}", str(path), style="red")
            continue
        ready, state = _state(spec, root)
        counts = (f"{count:,}" for count in (spec.train_images, spec.test_images, spec.classes))
        table.add_row(name, *counts, _size(spec, root), state, str(path), style="green" if ready else "")
    show.console().print(table)


@app.command("prepare", epilog="Example: python -m vit_sweep data prepare cifar100 --root data")
def prepare(
    name: Annotated[str, typer.Argument(help="The data set: the word after data=.")],
    root: Root = Path("data"),
    config_dir: ConfigDir = None,
) -> None:
    """Download and verify a data set, on a machine with internet; or pack the images of a folder."""
    console = show.console()
    spec = load(name, catalog(config_dir))
    if not datasets.needs_files(spec):
        console.print(f"{name} is ready: it needs no files")
        return
    if datasets.problem_of(spec, root) is not None:
        from vit_sweep.study.provenance import require_extra

        require_extra("train")
        from vit_sweep.data.prepare.download import download
        from vit_sweep.data.prepare.pack import pack

        fetch = pack if is_packed(spec) else download
        fetch(spec, root, lambda line: console.print(line, soft_wrap=True))
        datasets.require(spec, root)
    count = len(datasets.files_of(spec, root))
    console.print(f"{name} is ready in {root}: {count} files, {_size(spec, root)} MiB", soft_wrap=True)


def catalog(config_dir: Path | None, environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """The file of every data set, found where a sweep finds it: shipped, then --config-dir, then VIT_SWEEP_CONF.

    Raises `UserError` for a folder that is not there.
    """
    from vit_sweep.config.compose import conf_dir

    named = {"--config-dir": config_dir, "VIT_SWEEP_CONF": environ.get("VIT_SWEEP_CONF")}
    found: dict[str, Path] = {}
    for word, place in {"": conf_dir(), **named}.items():
        if place is None:
            continue
        if not Path(place).is_dir():
            raise UserError(f"{word}={place}: there is no such folder; it is like conf/, with data/*.yaml in it")
        for path in sorted((Path(place) / "data").glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def load(name: str, files: Mapping[str, Path]) -> DataSpec:
    """Read one data set as a sweep would; raises `UserError` with the menu, or with what is wrong in its file."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if name not in files:
        raise UserError(
            f"data={name}: there is no such data set – {closest(name, files)}; a site's own ones are found with "
            "--config-dir FOLDER or VIT_SWEEP_CONF"
        )
    try:
        plain = OmegaConf.to_container(OmegaConf.load(files[name]), resolve=True)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{files[name]}: {' '.join(str(error).split())}") from None
    if not isinstance(plain, dict):
        raise UserError(f"{files[name]}: a data set is a list of `key: value` lines, this is not")
    given = _composed(name, files) if "defaults" in plain else {str(key): value for key, value in plain.items()}
    given.pop("pipeline", None)  # how a cell reads the images is the sweep's word, not the data set's
    return parse(DataSpec, given, what=f"data {name}")


def _composed(name: str, files: Mapping[str, Path]) -> dict[str, Any]:
    """The keys of a data set that builds on another one by a Hydra `defaults` list."""
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from vit_sweep.config.compose import conf_dir, explain, plain

    search = ",".join(f"'{folder}'" for folder in dict.fromkeys(p.absolute().parent.parent for p in files.values()))
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            config = compose("config", overrides=[f"data={name}", "partition=local", f"hydra.searchpath=[{search}]"])
            composed: dict[str, Any] = plain(config)["data"]
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{files[name]}: {explain(error)}") from None
    return composed


def _state(spec: DataSpec, root: Path) -> tuple[bool, str]:
    """Whether a job could read it now, and the words for a table."""
    if not datasets.needs_files(spec):
        return True, "ready: needs no files"
    if not _here(spec, root):
        source = is_packed(spec) and all((root / spec.name / folder).is_dir() for folder in SPLITS.values())
        return False, f"{'not packed' if source else 'not here'}: data prepare {spec.name}"
    problem = datasets.problem_of(spec, root)
    return problem is None, problem or "ready"


def _here(spec: DataSpec, root: Path) -> list[Path]:
    """The files that are there."""
    try:
        files = datasets.files_of(spec, root)
    except datasets.Unusable:
        return []
    return [root / file.path for file in files if (root / file.path).is_file()]


def _size(spec: DataSpec, root: Path) -> str:
    """MiB of the files that are there."""
    here = _here(spec, root)
    return f"{sum(path.stat().st_size for path in here) / 2**20:,.1f}" if here else "–"
