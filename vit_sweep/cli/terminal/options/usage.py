"""Words that a verb does not take: what to write instead. An edge; typer finds them."""

import re
import shlex
from itertools import pairwise
from typing import Any

import typer

from launchers.errors import UserError
from launchers.invocation import called

_KEY_VALUE = re.compile(r"[+~]*([A-Za-z_][\w.]*)=(?!=)(.*)", re.DOTALL)
_OFF = ("false", "no", "off", "0")


def run(command: Any, words: list[str], *, program: str, plan: Any) -> int:
    """Let typer read the words and run the verb; its exit code. Raises `UserError` for words that it does not take.

    `plan` is what the verb of this name calls.
    """
    usage_error: Any = typer.BadParameter.__base__  # older releases have it elsewhere
    try:
        code = command.main(args=words, prog_name=program, obj=plan, standalone_mode=False)
    except usage_error as error:
        if not error.message and error.ctx.command.no_args_is_help:
            return 2  # its help has been printed
        raise UserError(_sentence(error, words)) from None
    return code if isinstance(code, int) else 0


def _sentence(error: Any, words: list[str]) -> str:
    verb, parameters = error.ctx.command_path, error.ctx.command.params
    takes_words = error.ctx.allow_extra_args or any(one.nargs == -1 for one in parameters)
    if not takes_words and (found := _key_value(parameters, words)):
        return f"{found[0]}: {verb.removeprefix(f'{called()} ')} takes no KEY=VALUE – {_instead(found, parameters)}"
    return f"{error.format_message().rstrip('.')} – {verb} --help says what it takes"


def _key_value(parameters: list[Any], words: list[str]) -> re.Match[str] | None:
    """The first KEY=VALUE of a verb that takes none; what belongs to an option is not one."""
    valued = {name for one in parameters if not getattr(one, "is_flag", True) for name in one.opts}
    matches = (_KEY_VALUE.match(word) for before, word in pairwise(words) if before not in valued)
    return next(filter(None, matches), None)


def _instead(found: re.Match[str], parameters: list[Any]) -> str:
    """The verb's own option for a key, or where keys belong."""
    name, value = f"--{found[1].replace('_', '-')}", found[2]
    for option in parameters:
        if name in option.opts:
            if not option.is_flag:
                return f"write {name} {shlex.quote(value) if value else 'VALUE'}"
            if value.lower() not in _OFF:
                return f"write {name}"
            return f"write {option.secondary_opts[0]}" if option.secondary_opts else "leave it out"
    return f"keys go with a sweep's own command: {called()} -m ... {found[0]}"
