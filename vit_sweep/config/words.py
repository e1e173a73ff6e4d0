"""The words of a sweep as text, and the values that they change, without Hydra: it takes long to import."""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from launchers.errors import UserError
from vit_sweep.config.spelling import check_of_hydra

if TYPE_CHECKING:
    from vit_sweep.config.algebra import GridSpec

Plain = dict[str, Any]
_STAGE = {"zero", "engine"}
"""Two words for one thing."""


def replaced(start: Plain, changes: Sequence[tuple[str, Any]]) -> Plain | None:
    """Set plain values in a copy of the touched branches; None where OmegaConf must judge (and word the error)."""
    values = dict(start)
    for key, value in changes:
        *path, last = key.split(".")
        if isinstance(value, dict) or "${" in str(value) or "???" in str(value) or not re.fullmatch(r"[\w.]+", key):
            return None
        node = values
        for part in path:
            if not isinstance(node.get(part), dict):
                return None
            node[part] = dict(node[part])
            node = node[part]
        if last not in node or isinstance(node[last], dict):
            return None
        node[last] = value
    return values


def require_one_stage_key(keys: Collection[str]) -> None:
    """`zero=2` and `engine=zero2` are two words for one thing; raises `UserError` where a command says both."""
    engine = next((key for key in ("engine", "engine.zero_stage") if key in keys), None)
    if "zero" in keys and engine is not None:
        raise UserError(f"zero and {engine} both say the ZeRO stage; give one of them, for example zero=0,1,2,3")


def grid_words(spec: "GridSpec", stated: Collection[str]) -> list[str]:
    """A named grid in Hydra's grammar; what is `stated` elsewhere is left out. Raises `UserError` for an empty axis.

    A stage that is stated by its other word is stated: the command line's wins.
    """
    left_out = {*stated, *(_STAGE if _STAGE & set(stated) else ())}
    if both := sorted(spec.axes.keys() & spec.set.keys()):
        raise UserError(f"grid {spec.name}: {both[0]} is in axes and in set; keep one")
    for key in (*spec.axes, *spec.set):
        if key.lstrip("+").partition(".")[0] == "grid":
            raise UserError(f"grid {spec.name}: {key} names a grid inside a grid; write its axes out")
        if key in spec.axes and not spec.axes[key]:
            raise UserError(f"grid {spec.name}: axes.{key} has no value; give at least one")
    axes = {key: ",".join(word(value) for value in values) for key, values in spec.axes.items()}
    fixed = {key: word(value) for key, value in spec.set.items()}
    words = [f"{key}={text}" for key, text in (axes | fixed).items() if key.lstrip("+") not in left_out]
    for each in words:
        check_of_hydra(each, source=f"grid {spec.name}: ")
    return words


def word(value: Any) -> str:
    """A YAML value in Hydra's grammar; text that is no plain name is quoted."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{','.join(word(part) for part in value)}]"
        case dict():
            return f"{{{','.join(f'{key}:{word(part)}' for key, part in value.items())}}}"
        case str():
            return quoted(value)
        case _:
            return str(value)


def quoted(text: str) -> str:
    """Text in Hydra's grammar: in quotes unless it is a plain name."""
    if _NAME.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=text, quote=Quote.single).with_quotes()


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = {"null", "true", "false", "nan", "inf"}
