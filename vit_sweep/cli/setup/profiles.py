"""The verbs of an admin: list, show, check, discover, drift of partition profiles. An edge; typer reads the words."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.text import Text

from launchers.errors import UserError
from vit_sweep.cli.terminal.console import console as the_console
from vit_sweep.cli.terminal.fit_width import MINOR, Column, Fitted, Role, columns_of
from vit_sweep.cli.terminal.help_text import examples
from vit_sweep.cli.terminal.options.completing import profiles as names
from vit_sweep.config.folders import SITE_VARIABLE

app = typer.Typer(no_args_is_help=True, help="Partition profiles: what a site says about its nodes and GPUs.")

ConfigDir = Annotated[
    Path | None,
    typer.Option("--config-dir", help=f"A folder with partition/*.yaml; {SITE_VARIABLE} names a site-wide one."),
]
Name = Annotated[str, typer.Argument(help="A profile: the word after partition=.", autocompletion=names)]


@app.command("list", epilog=examples("profiles list --config-dir ~/site"))
def list_profiles(config_dir: ConfigDir = None) -> None:
    """Show every profile that a sweep can name, and where its file is."""
    from vit_sweep.config.profile import files as profiles

    files = profiles.catalog(config_dir)
    rows, styles, wrong = [], [], []
    for entry in files:
        where = (entry.origin, entry.path if entry.hidden_by is None else f"{entry.path} (hidden by {entry.hidden_by})")
        try:
            profile, _ = profiles.load(entry, files)
        except UserError as error:
            rows.append((entry.name, "wrong", "", "", "", *where))
            wrong.append(f"{entry.name}: {error}")
            styles.append("red")
            continue
        memory = "–" if profile.gpu_memory_gib is None else f"{profile.gpu_memory_gib:g}"
        size = f"{profile.nodes} x {profile.gpus_per_node}"
        rows.append((entry.name, profile.scheduler.value, size, profile.gpu_model, memory, *where))
        styles.append("")
    table = Fitted(columns_of(_LISTED, rows), styles=tuple(styles), notes=tuple(wrong), frame=box.SIMPLE_HEAD)
    the_console().print(table)


_LISTED = (
    Column("name", role=Role.KEY, is_text=True),
    Column("scheduler", is_text=True, rank=1),
    Column("nodes x GPUs"),
    Column("GPU", is_text=True),
    Column("GiB", rank=2),
    Column("from", is_text=True, rank=3),
    Column("file", is_text=True, rank=MINOR),
)


@app.command("show", epilog=examples("profiles show vector_t4v2"))
def show_profile(name: Name, config_dir: ConfigDir = None) -> None:
    """Show every key of a profile: its value, whether the file gives it, and what it means."""
    from vit_sweep.config.profile import files as profiles

    files = profiles.catalog(config_dir)
    entry = profiles.of_name(files, name)[0]
    profile, stated = profiles.load(entry, files)
    listed = profiles.rows(profile, stated)
    table = Fitted(
        columns_of(_KEYS, [(row.key, row.value, "given" if row.given else "default", row.meaning) for row in listed]),
        title=f"{name}: {entry.path} ({entry.origin})",
        styles=tuple("" if row.given else "dim" for row in listed),
        frame=box.SIMPLE_HEAD,
        stacks=True,
    )
    the_console().print(table)


_KEYS = (
    Column("key", role=Role.KEY, is_text=True),
    Column("value", role=Role.REMARK),
    Column("", is_text=True),
    Column("meaning", role=Role.REMARK),
)


@app.command("check", epilog=examples("profiles check vector_t4v2"))
def check(
    name: Annotated[
        str | None, typer.Argument(help="A profile; without it, all of them.", autocompletion=names)
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Check keys, limits and contradictions, and let bash (and Slurm, where it is) look at two rendered jobs.

    Exit 1 if a profile is wrong.
    """
    from vit_sweep.config.profile import check as profile_check
    from vit_sweep.config.profile import files as profiles

    files = profiles.catalog(config_dir)
    chosen = files if name is None else profiles.of_name(files, name)
    live = None if name is not None else _partitions_here()
    verdicts = [profile_check.check(entry, files, live=live) for entry in chosen]
    console = the_console()
    for verdict in verdicts:
        heading = Text("wrong  ", style="red") if verdict.problems else Text("ok     ", style="green")
        console.print(heading + Text(verdict.name))
        for line in (*verdict.problems, *verdict.remarks):
            console.print(f"       {line}", soft_wrap=True)
    if any(verdict.problems for verdict in verdicts):
        raise typer.Exit(1)


@app.command("discover", epilog=examples("profiles discover --write ~/site"))
def discover(
    write: Annotated[
        Path | None, typer.Option("--write", help="Write FOLDER/partition/*.yaml; existing files are left alone.")
    ] = None,
) -> None:
    """Make profiles of what this machine's Slurm says of its GPU partitions; without --write they are printed."""
    from launchers.slurm import discover as live
    from vit_sweep.config.profile import files as profiles

    cluster = live.parsed(live.query())
    console = the_console()
    names = [entry.name for entry in profiles.catalog(None, environ={})]
    texts = profiles.profile_files(cluster, names)
    for partition, reason in cluster.left_out.items():
        console.print(f"left out: {partition} – {reason}", soft_wrap=True)
    if not texts:
        raise UserError(f"cluster {cluster.name} has no partition with GPUs, so there is nothing to profile")
    if write is None:
        for name, text in texts.items():
            console.print(f"# --- {name}.yaml\n{text}", soft_wrap=True)
        return
    new, existing = profiles.write_profiles(write, texts)
    for path in new:
        console.print(f"written: {path}", soft_wrap=True)
    for path in existing:
        message = f"left alone, it exists: {path} – compare: profiles drift {path.stem} --config-dir {write}"
        console.print(message, soft_wrap=True)


@app.command("drift", epilog=examples("profiles drift vector_t4v2"))
def drift(name: Name, config_dir: ConfigDir = None) -> None:
    """Compare a profile with the live cluster: exit 0 if they agree, 1 with the differences."""
    from launchers.profile import Scheduler
    from launchers.slurm import discover as live
    from vit_sweep.config.profile import files as profiles

    files = profiles.catalog(config_dir)
    profile, _ = profiles.load(profiles.of_name(files, name)[0], files)
    if profile.scheduler is not Scheduler.SLURM:
        raise UserError(f"{name} has scheduler={profile.scheduler.value}: only Slurm has a cluster to compare")
    cluster = live.parsed(live.query(profile.cluster))
    differences = live.drift(profile, cluster)
    console = the_console()
    for line in differences or [f"{name} agrees with cluster {cluster.name}"]:
        console.print(line, soft_wrap=True)
    if differences:
        raise typer.Exit(1)


def _partitions_here() -> tuple[str, ...]:
    """Partitions of this machine's Slurm; none where there is none or it does not answer."""
    from launchers.slurm import discover as live
    from launchers.slurm.scontrol import entries

    try:
        partitions = entries(live.run(live.PARTITIONS), first="PartitionName", command="`scontrol show partition`")
    except UserError:
        return ()
    return tuple(fields["PartitionName"] for fields in partitions)
