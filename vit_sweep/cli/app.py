"""The verbs: look at a study, rebuild its tables, end its jobs, fetch data. An edge; typer reads the words."""

from typing import Annotated

import typer

from launchers.text import plural
from vit_sweep.cli.audit import audit
from vit_sweep.cli.check import check
from vit_sweep.cli.collect import collect
from vit_sweep.cli.compare import compare
from vit_sweep.cli.completion import app as completion_app
from vit_sweep.cli.data import app as data_app
from vit_sweep.cli.doctor import doctor
from vit_sweep.cli.explain import EPILOG as EXPLAIN_EPILOG
from vit_sweep.cli.explain import explain
from vit_sweep.cli.next import next_cells
from vit_sweep.cli.profiles import app as profiles_app
from vit_sweep.cli.render_diff import render_diff
from vit_sweep.cli.report import report
from vit_sweep.cli.simulate import EPILOG as SIMULATE_EPILOG
from vit_sweep.cli.simulate import simulate
from vit_sweep.cli.studies import list_studies, open_page, status
from vit_sweep.cli.terminal import show
from vit_sweep.cli.terminal.completing import Root, sweep_words
from vit_sweep.cli.terminal.help_text import examples
from vit_sweep.cli.terminal.study_options import Quiet, StudyName, Trust
from vit_sweep.outcome.selection import Rerun, Retry
from vit_sweep.study.store import open_study

app = typer.Typer(
    cls=Root,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Scaling studies of Vision Transformers. A grid runs with: vit_sweep -m gpus=1,2 batch=16,32",
)
app.add_typer(completion_app, name="completion")
app.add_typer(data_app, name="data")
app.add_typer(profiles_app, name="profiles")
app.command(
    epilog=examples(
        "audit outputs/vit_b_16-cifar100-vector_t4v2",
        "audit --csv 'runs/*.csv' --map gpus=num_gpus",
        "audit --reference paper_cifar100",
    )
)(audit)
app.command(
    epilog=examples(
        "check outputs/vit_tiny_32-digits-local",
        "check vit_tiny_32-digits-local && tar -cf study.tar outputs/vit_tiny_32-digits-local",
    )
)(check)
app.command(
    epilog=examples(
        "collect outputs/vit_tiny_32-digits-local",
        "collect vit_tiny_32-digits-local --json",
        "collect --csv results.csv --output outputs/theirs",
    )
)(collect)
app.command(
    epilog=examples(
        "compare outputs/before outputs/after",
        "compare outputs/ddp outputs/zero1 --across engine",
        "compare outputs/mine --reference paper_cifar100 --across partition",
    )
)(compare)
app.command(
    epilog=examples(
        "report outputs/vit_tiny_32-digits-local",
        "report vit_tiny_32-digits-local --proposal",
        "report vit_tiny_32-digits-local --reference paper_cifar100",
    )
)(report)
app.command(epilog=SIMULATE_EPILOG)(simulate)
app.command(epilog=EXPLAIN_EPILOG)(explain)
app.command(
    epilog=examples("status outputs/vit_tiny_32-digits-local --watch", "status vit_tiny_32-digits-local --json")
)(status)
app.command(
    "next",
    epilog=examples(
        "next vit_b_16-cifar100-vector_t4v2",
        "next outputs/mine --until 'efficiency(64) +- 3 %' --budget 50",
    ),
)(next_cells)
app.command("list", epilog=examples("list", "list /scratch/me/outputs"))(list_studies)
app.command("open", epilog=examples("open vit_tiny_32-digits-local", "open vit_tiny_32-digits-local --path"))(open_page)
app.command(epilog=examples("doctor"))(doctor)


@app.callback()
def _root() -> None:
    """Scaling studies of Vision Transformers."""


@app.command(
    epilog=examples("plan -m gpus=1,2,4 batch=16,32 partition=vector_t4v2", "plan -m gpus=1,2 --json"),
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def plan(
    context: typer.Context,
    words: Annotated[list[str] | None, typer.Argument(autocompletion=sweep_words, help="The sweep's words.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for programs: dry_run=json.")] = False,
    whole: Annotated[bool, typer.Option("--all", help="A row for each cell of a long grid too: plan=all.")] = False,
) -> None:
    """Show what a sweep would do: its words follow, and nothing is submitted. The same as dry_run=true among them."""
    words = [
        *(words or ()),
        *context.args,
        f"dry_run={'json' if as_json else 'true'}",
        *(["plan=all"] if whole else []),
    ]
    raise typer.Exit(context.obj(words))


def _retry(name: str) -> Retry:
    """Not typer's own choice of an enum, which would refuse the words of earlier versions."""
    try:
        return Retry(name)
    except ValueError:
        raise typer.BadParameter(f"{name} is not one of {', '.join(Retry)}") from None


@app.command(
    epilog=examples(
        "resume outputs/vit_b_16-cifar100-vector_t4v2",
        "resume vit_b_16-cifar100-vector_t4v2 --retry time_limit --minutes 240",
    )
)
def resume(
    study: StudyName,
    *,
    retry: Annotated[
        Retry | None,
        typer.Option(parser=_retry, metavar=f"[{'|'.join(Retry)}]", help="Ended cells that run again too."),
    ] = None,
    rerun: Annotated[Rerun | None, typer.Option(help="Finished cells that run again too.")] = None,
    minutes: Annotated[int | None, typer.Option(min=1, help="Time limit of the new jobs.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until all cells have ended.")] = True,
    quiet: Quiet = False,
    trust: Trust = False,
) -> None:
    """Run what a study still lacks, from its own files: nothing that is done or under way runs twice."""
    from vit_sweep.cli.sweep import resume as resume_study

    opened = open_study(study)
    code = resume_study(opened, retry=retry, rerun=rerun, minutes=minutes, wait=wait, quiet=quiet, trust=trust)
    raise typer.Exit(code)


@app.command(
    epilog=examples("cancel vit_tiny_32-digits-local", "cancel outputs/vit_tiny_32-digits-local --cells 'n1-g2-*'")
)
def cancel(
    study: StudyName,
    cells: Annotated[
        list[str] | None, typer.Option(help="Cell ids or patterns like 'n1-g8-*'; several times. Default: all.")
    ] = None,
) -> None:
    """End queued and running jobs of a study; what has finished is kept."""
    from vit_sweep.submit.cancel import cancel as cancel_cells

    opened = open_study(study)
    count = cancel_cells(opened, cells)
    show.console().print(f"{plural(count, 'cell')} of study {opened.name} cancelled")


@app.command(
    epilog=examples(
        "drop vit_tiny_32-digits-local 'gpus==8'",
        "drop vit_tiny_32-digits-local 'gpus==8 and batch==128' 'scaling==weak'",
    )
)
def drop(
    study: StudyName,
    where: Annotated[list[str], typer.Argument(help="Conditions over axes, as exclude= takes them: 'gpus==8'.")],
) -> None:
    """Take points out of a study: its tables and resume know them no more. Records and journal stay; the sweep's own
    command brings them back."""
    from vit_sweep.submit.dropping import drop as drop_points

    opened = open_study(study)
    gone = drop_points(opened, where)
    kept = f", {gone.records} of them with a record, which its folder keeps" if gone.records else ""
    show.console().print(
        f"taken out of study {opened.name}: {plural(gone.points, 'point')}, {plural(gone.cells, 'cell')}{kept}",
        soft_wrap=True,
    )


app.command(
    "render-diff",
    epilog=examples(
        "render-diff outputs/before outputs/after",
        "render-diff main HEAD -m gpus=1,8 partition=vector_t4v2",
        "render-diff main HEAD --partitions -m gpus=1,8",
    ),
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(render_diff)
