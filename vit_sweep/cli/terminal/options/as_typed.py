"""Words that typer need not judge: text stays text, and what was not given stays nothing. An edge.

To say so typer 0.29 imports all of pydantic, a quarter of a verb's start. It goes on judging numbers, paths and menus.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import typer.core


def take_text_as_typed() -> None:
    """From now on typer judges a parameter once it has a value that is no text; other releases are left as they are."""
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
        is_text = self._descriptor.annotation in (str, list[str]) and self._descriptor.parameter_info.parser is None
        if is_text and several and isinstance(value, tuple) and all(isinstance(one, str) for one in value):
            return [*value]
        if is_text and not several and isinstance(value, str):
            return value
        return self._judge(self._descriptor).coerce(value, param=param, ctx=ctx)
