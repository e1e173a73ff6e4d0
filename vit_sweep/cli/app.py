"""The verbs: look at a study, rebuild its tables, end its jobs, fetch data. An edge; typer reads the words.

Only the file of the verb that was typed is imported: to import and inspect all of them takes three times as long.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, NamedTuple

import typer

from vit_sweep.cli.terminal.help_text import examples
from vit_sweep.cli.terminal.options.as_typed import take_text_as_typed
from vit_sweep.cli.terminal.options.completing import Root


class _Verb(NamedTuple):
    """Where a verb's function is, or its app of further verbs, and what its help shows."""

    file: str
    """In this folder, or `room.file` in one below."""
    function: str
    examples: tuple[str, ...] = ()
    takes_words: bool = False
    """Words of a sweep follow, which typer does not know."""


_APP = "app"
_VERBS = {
    "completion": _Verb("setup.completion", _APP),
    "data": _Verb("setup.data", _APP),
    "profiles": _Verb("setup.profiles", _APP),
    "audit": _Verb(
        "results.audit",
        "audit",
        (
            "audit outputs/vit_b_16-cifar100-vector_t4v2",
            "audit --csv 'runs/*.csv' --map gpus=num_gpus",
            "audit --reference paper_cifar100",
        ),
    ),
    "capsule": _Verb(
        "results.capsule",
        "capsule",
        (
            "capsule vit_tiny_32-digits-local --license CC-BY-4.0",
            "capsule outputs/mine --license CC0-1.0 --author 'Ada Lovelace' --out mine.zip --without-hosts",
        ),
    ),
    "check": _Verb(
        "check",
        "check",
        (
            "check outputs/vit_tiny_32-digits-local",
            "check vit_tiny_32-digits-local && tar -cf study.tar outputs/vit_tiny_32-digits-local",
            "check theirs-capsule.zip",
        ),
    ),
    "collect": _Verb(
        "results.collect",
        "collect",
        (
            "collect outputs/vit_tiny_32-digits-local",
            "collect vit_tiny_32-digits-local --json",
            "collect --csv results.csv --output outputs/theirs",
        ),
    ),
    "compare": _Verb(
        "results.compare",
        "compare",
        (
            "compare outputs/before outputs/after",
            "compare outputs/ddp outputs/zero1 --across engine",
            "compare outputs/mine --reference paper_cifar100 --across partition",
        ),
    ),
    "gate": _Verb(
        "results.gate",
        "gate",
        (
            "gate outputs/main --write-baseline baseline.json",
            "gate outputs/mine --against baseline.json --junit gate.xml",
            "gate outputs/mine --against outputs/main --slower 0.02 --strict",
        ),
    ),
    "report": _Verb(
        "results.report",
        "report",
        (
            "report outputs/vit_tiny_32-digits-local",
            "report vit_tiny_32-digits-local --proposal",
            "report vit_tiny_32-digits-local --reference paper_cifar100",
        ),
    ),
    "reproduce": _Verb(
        "results.reproduce",
        "reproduce",
        (
            "reproduce theirs.zip",
            "reproduce theirs.zip --run partition=local --cells 4",
            "reproduce theirs.zip outputs/mine --across partition",
            "reproduce theirs.zip mine --within 0.1 --across machine",
        ),
    ),
    "simulate": _Verb(
        "simulate",
        "simulate",
        (
            "simulate partition=vector_t4v2 model=vit_b_16 data=cifar100 batch=64",
            "simulate partition=vector_t4v2 gpus=1,8,64 scaling=weak --overlap 0.5",
            "simulate partition=vector_t4v2 --study outputs/vit_b_16-cifar100-vector_t4v2",
        ),
    ),
    "explain": _Verb("explain", "explain", ("explain batch_per", "explain zero engine", "explain")),
    "status": _Verb(
        "studies",
        "status",
        ("status outputs/vit_tiny_32-digits-local --watch", "status vit_tiny_32-digits-local --json"),
    ),
    "next": _Verb(
        "next",
        "next_cells",
        ("next vit_b_16-cifar100-vector_t4v2", "next outputs/mine --until 'efficiency(64) +- 3 %' --budget 50"),
    ),
    "list": _Verb("studies", "list_studies", ("list", "list /scratch/me/outputs")),
    "open": _Verb("studies", "open_page", ("open vit_tiny_32-digits-local", "open vit_tiny_32-digits-local --path")),
    "doctor": _Verb("setup.doctor", "doctor", ("doctor",)),
    "plan": _Verb(
        "running",
        "plan",
        ("plan -m gpus=1,2,4 batch=16,32 partition=vector_t4v2", "plan -m gpus=1,2 --json"),
        takes_words=True,
    ),
    "resume": _Verb(
        "running",
        "resume",
        (
            "resume outputs/vit_b_16-cifar100-vector_t4v2",
            "resume vit_b_16-cifar100-vector_t4v2 --retry time_limit --minutes 240",
        ),
    ),
    "cancel": _Verb(
        "running",
        "cancel",
        ("cancel vit_tiny_32-digits-local", "cancel outputs/vit_tiny_32-digits-local --cells 'n1-g2-*'"),
    ),
    "drop": _Verb(
        "running",
        "drop",
        (
            "drop vit_tiny_32-digits-local 'gpus==8'",
            "drop vit_tiny_32-digits-local 'gpus==8 and batch==128' 'scaling==weak'",
        ),
    ),
    "render-diff": _Verb(
        "render_diff",
        "render_diff",
        (
            "render-diff outputs/before outputs/after",
            "render-diff main HEAD -m gpus=1,8 partition=vector_t4v2",
            "render-diff main HEAD --partitions -m gpus=1,8",
        ),
        takes_words=True,
    ),
}


def app_with(names: Iterable[str] = tuple(_VERBS)) -> typer.Typer:
    """The command with these verbs; without `names` with all of them."""
    take_text_as_typed()
    app = typer.Typer(
        cls=Root,
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Scaling studies of Vision Transformers. A grid runs with: vit_sweep -m gpus=1,2 batch=16,32",
    )
    app.callback()(_root)
    for name in names:
        _add(app, name, _VERBS[name])
    return app


def _add(app: typer.Typer, name: str, verb: _Verb) -> None:
    function: Any = getattr(import_module(f"vit_sweep.cli.{verb.file}"), verb.function)
    if verb.function == _APP:
        app.add_typer(function, name=name)
        return
    settings = {"allow_extra_args": True, "ignore_unknown_options": True} if verb.takes_words else None
    app.command(name, epilog=examples(*verb.examples), context_settings=settings)(function)


def _root() -> None:
    """Scaling studies of Vision Transformers."""
