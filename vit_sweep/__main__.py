"""`python -m vit_sweep`: a verb (`collect`, `status`, ...), or Hydra with a grid. An edge.

A user's mistake ends as one sentence on stderr, exit code 2 (`cli/terminal/user_errors.py`); anything else is a bug.
"""

import gc
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from shutil import get_terminal_size
from typing import Any

from launchers.errors import UserError, closest
from launchers.invocation import SCRIPT, called
from vit_sweep import __version__
from vit_sweep.cli.terminal.user_errors import reported
from vit_sweep.cli.verbs import VERBS
from vit_sweep.config import shorthand, spelling
from vit_sweep.submit import interrupt

_OURS = ("vit_sweep", "launchers")
_AS_KEYS = {"--quiet": "quiet=true", "--all": "plan=all"}
"""Options of a sweep that people expect; Hydra knows its own ones only."""
_FOR_TYPER = {"--help", "-h", "--"}
"""Of `plan`, what typer reads."""
COLLECTED_AT = (50_000, 20, 20)
"""When garbage is looked for: what a command imports and plans is none, and to look through it a hundred times is a
tenth of a dry run."""
COMPLETES = "_VIT_SWEEP_COMPLETE"
"""Set by a shell whose user has pressed the tab key."""
_OF_A_PIPE = (100, 24)
"""Columns and lines of help that goes to no terminal."""
_HELP = ("--help",)
"""Under which the whole help is kept."""
_MEANT = {"help": "--help", "version": "--version", "run": "-m gpus=1,2", "sweep": "-m gpus=1,2", "ls": "list"}
"""Words that people try for a verb."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (0 all done, 1 some cell failed, 2 user mistake)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal without our dashes, or a path that is no text, shall not end a command in the middle.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
    if COMPLETES in os.environ:
        from vit_sweep.cli.app import app_with
        from vit_sweep.cli.terminal.options.completing import begin

        begin()
        return _code_of(app_with(), [], SCRIPT)
    if words == ["--version"]:
        print(f"vit_sweep {__version__}")
        return 0
    with interrupt.handled():
        return reported(lambda: _command(words), words)


def _command(words: list[str]) -> int:
    if words[:1] == ["plan"] and not _FOR_TYPER.intersection(words):
        return _plan(words[1:])
    if words and words[0] in VERBS:
        from vit_sweep.cli.app import app_with

        return _code_of(app_with(words[:1]), words)
    return _sweep(words)


def _plan(words: list[str]) -> int:
    """Show what a sweep would do; typer reads its help alone, to import it takes a fifth of the time."""
    mode = "json" if "--json" in words else "true"
    return _sweep([*(word for word in words if word != "--json"), f"dry_run={mode}"])


def _sweep(words: list[str]) -> int:
    """Run a grid, or one cell."""
    words = [_AS_KEYS.get(word, word) for word in words]
    _refuse_unknown_verb(words)
    spelling.check(words, known_keys=_known_keys)
    return _read(words)


def _read(words: list[str]) -> int:
    """Let the words of a sweep be read and run them; by Hydra, unless they and what it would compose are known."""
    from vit_sweep.config.folders import SITE_VARIABLE
    from vit_sweep.config.quick import composed_by_hydra, quick
    from vit_sweep.config.quick.cache import user_cache

    if not {"--help", "-h"} & set(words):
        words = shorthand.with_default_partition(shorthand.expanded(words), os.environ)
    words = shorthand.options_first(shorthand.question_quoted(words))
    kept, own_files = user_cache(os.environ), SITE_VARIABLE in os.environ
    if words in (["--help"], ["-h"]) and kept.known:
        if there := kept.read(_HELP):
            _print_help(str(there["text"]))
            return 0
        return _hydra(words, own_files=own_files, keep_help=lambda text: kept.write(_HELP, {"text": text}))
    known = quick(words, kept, composed_by_hydra)
    if known is None:
        return _hydra(words, own_files=own_files)
    from vit_sweep.cli.sweep import run

    sys.argv = [sys.argv[0], *words]
    return run(known.configurations, overrides=known.overrides)


def _hydra(words: list[str], *, own_files: bool, keep_help: Callable[[str], object] = bool) -> int:
    """Let Hydra read the command line; the sweep's exit code comes back as SystemExit.

    `keep_help` takes the help that was printed, as Hydra made it.
    """
    # With it Hydra hands its exceptions on, so that we can tell a user's mistake from a bug.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    import hydra
    from omegaconf import DictConfig

    from vit_sweep.config.compose import readable_errors
    from vit_sweep.config.folders import conf_dir

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    def one_cell(config: DictConfig) -> None:
        from vit_sweep.cli.sweep import run
        from vit_sweep.config.compose import single, words_of_command

        def sweep() -> int:
            with readable_errors():
                asked = single(config)
            return run([asked], overrides=task)

        # Hydra would print a line of its own about an exception that leaves this function.
        task = words_of_command()
        sys.exit(reported(sweep, words))

    sys.argv = [sys.argv[0], *words]
    try:
        with readable_errors(), _mode_by_flag_alone(words, own_files=own_files), _help_for_people(words, keep_help):
            one_cell()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except RecursionError as error:
        packages = [
            frame.f_globals["__name__"].partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
        ]
        if [name for name in packages if name in (*_OURS, "yaml", "omegaconf", "hydra", "antlr4")][-1] in _OURS:
            raise
        raise UserError(
            "a word or a configuration file has values too deep inside each other, or one inside itself; a partition's "
            f"is named by: {called()} profiles check, with the same --config-dir"
        ) from None
    return 0


@contextmanager
def _mode_by_flag_alone(words: Sequence[str], *, own_files: bool) -> Iterator[None]:
    """Spare Hydra the composition that only asks for `hydra.mode`, where neither a word nor a user's file can say it.

    It composes everything a second time for that, which is a third of a dry run once Python has started.
    """
    from hydra._internal.hydra import Hydra

    asked = Hydra.get_mode
    if not own_files and not any("hydra" in word or word.startswith(("-c", "--config")) for word in words):
        Hydra.get_mode = lambda *_args, **_words: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = asked  # type: ignore[method-assign]


@contextmanager
def _help_for_people(words: Sequence[str], keep: Callable[[str], object]) -> Iterator[None]:
    """Print Hydra's help in the words that called us, as wide as the terminal; other commands print as they go."""
    if not {"--help", "-h"} & {*words}:
        yield
        return
    whole = io.StringIO()
    try:
        with redirect_stdout(whole):
            yield
    finally:
        _print_help(whole.getvalue())
        error = sys.exc_info()[1]
        if error is None or (isinstance(error, SystemExit) and not error.code):
            keep(whole.getvalue())


def _print_help(text: str) -> None:
    from vit_sweep.cli.terminal.help_text import as_called, fitted

    sys.stdout.write(fitted(as_called(text), get_terminal_size(_OF_A_PIPE).columns))


def _code_of(app: Any, words: list[str], program: str = "") -> int:
    """Run the typer app, which calls itself what was typed; its exit code may come back as SystemExit."""
    from vit_sweep.cli.terminal.help_text import verbs_of
    from vit_sweep.cli.terminal.options.usage import run

    try:
        return run(verbs_of(app), words, program=program or called(), plan=_plan)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


def _refuse_unknown_verb(words: list[str]) -> None:
    first = words[0] if words else "-"
    if first.strip() and first[0] not in "-+~" and not re.search(r"[=:]", first) and words[1:2] != ["="]:
        if first in _MEANT:
            raise UserError(f"{first}: there is no such verb – write {called()} {_MEANT[first]}")
        if first in _known_keys():
            raise UserError(f"{first}: a key is followed by its value: {first}=VALUE; {called()} explain {first}")
        raise UserError(
            f"{first}: neither a verb nor an override like gpus=1,2 – {closest(first, VERBS)}; see {called()} --help"
        )


def _known_keys() -> list[str]:
    """The keys of a sweep; heavy, and only for a mistake."""
    from vit_sweep.config.plain_yaml import known_keys

    return known_keys()


def in_utf8() -> None:
    """Begin again where a locale has other letters than UTF-8 (ISO 8859-1): files and paths of a study are in UTF-8.

    Queues and jobs inherit that.
    """
    if sys.getfilesystemencoding() != "utf-8" and "PYTHONUTF8" not in os.environ:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def script() -> None:
    """What `vit_sweep` starts; `python -m vit_sweep` is the same."""
    in_utf8()
    gc.set_threshold(*COLLECTED_AT)
    try:
        sys.exit(main())
    finally:
        # At its end Python would look through all that is left for garbage: a seventh of a `collect`. What torch
        # imports (Triton, by nanobind) calls whatever is left then a leak, in two hundred lines.
        if "torch" not in sys.modules:
            gc.freeze()


if __name__ == "__main__":
    script()
