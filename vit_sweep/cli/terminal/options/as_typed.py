"""Words that typer need not judge: text stays text, a path is one, what nobody gave stays as it is. An edge.

To say so typer 0.29 imports all of pydantic, a quarter of a verb's start. It goes on judging numbers and menus that
were typed, and paths that are there and cannot be read.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import typer.core


def take_text_as_typed() -> None:
    """From now on typer judges a parameter once it has a value that it may refuse; other releases are left alone."""
    core: Any = typer.core
    real = getattr(core, "build_runtime_param", None)
    if real is not None and not isinstance(real, partial):
        core.build_runtime_param = partial(_AsTyped, real)


class _AsTyped:
    """What typer asks for the value of a parameter, in the place of what `judge` makes of its description."""

    def __init__(self, judge: Callable[[Any], Any], descriptor: Any) -> None:
        self._judge, self._descriptor = judge, descriptor

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value that the verb gets."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        kind, info = self._descriptor.annotation, self._descriptor.parameter_info
        is_list = get_origin(kind) is list
        of = get_args(kind)[0] if is_list else kind
        values = value if several and isinstance(value, tuple) else (value,)
        if info.parser is None and several == is_list and all(_cannot_be_refused(of, item, info) for item in values):
            converted = [Path(item) if of is Path else item for item in values]
            return converted if several else converted[0]
        return self._judge(self._descriptor).coerce(value, param=param, ctx=ctx)


def _cannot_be_refused(kind: Any, value: object, info: Any) -> bool:
    """Whether typer would take a value as it is: of this type already, or a path of which no more is asked."""
    if kind is Path and isinstance(value, str | Path):
        asks = (info.exists, info.writable, info.resolve_path, info.path_type, not info.file_okay, not info.dir_okay)
        return not any(asks) and (os.access(value, os.R_OK) or not Path(value).exists())
    return isinstance(kind, type) and type(value) is kind
