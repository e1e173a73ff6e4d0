"""A sweep said in Python: values to the words of a command, and these composed to the grid that they span. An edge."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from numbers import Number
from pathlib import Path
from typing import Any, get_origin

from launchers.errors import UserError
from vit_sweep.config.algebra import MOST_POINTS
from vit_sweep.config.compose import expand, readable_errors
from vit_sweep.config.data_catalog import GROUP as DATA
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.settings import Settings
from vit_sweep.config.shorthand import expanded
from vit_sweep.config.words import Plain, word

_KEY = re.compile(r"(\+\+?)?[\w.]+")
_SETTINGS: Mapping[str, Any] = getattr(Settings, "__dataclass_fields__", {})


def words_of(values: Mapping[str, object], config_dir: Path | None = None) -> list[str]:
    """`gpus=[1, 2]` as the word `gpus=1,2`: a list is swept, but where the key takes a list; a list in it is a value.

    `config_dir`: a folder of one's own groups. Numbers of numpy, ranges, arrays and paths are taken for what they hold.
    Raises `UserError` for anything else that is no number, text, mapping or list.
    """
    for key in values:
        if not _KEY.fullmatch(key):
            raise UserError(f"{key!r}: there is no such key; a key is like optimizer.learning_rate")
    return expanded([_word_of(key, _plain(key, value)) for key, value in values.items()], config_dir)


def grid(words: Sequence[str], *, config_dir: Path | None = None) -> list[Plain]:
    """Every configuration of a grid, as `-m` with these words has them; leaves a program's own Hydra alone.

    `config_dir`: a folder of one's own groups, as `--config-dir`. Raises `UserError` for a wrong word.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.types import RunMode

    places = create_config_search_path(search_path_dir=str(conf_dir()))
    if config_dir is not None:
        if not config_dir.is_dir():
            raise UserError(f"config_dir={config_dir}: there is no such folder; it holds groups such as partition/")
        places.prepend("command-line", f"file://{config_dir.absolute()}", SearchPathQuery(provider="schema"))
    with readable_errors():
        loader = ConfigLoaderImpl(config_search_path=places)
        master = loader.load_configuration("config", overrides=list(words), run_mode=RunMode.MULTIRUN, from_shell=False)
        return list(expand(list(words), loader=loader, master=master))


def _word_of(key: str, value: object) -> str:
    listed = isinstance(value, list) and not _takes_a_list(key)
    if listed and not value:
        raise UserError(f"{key}=[]: an axis without a value spans no grid; give at least one")
    values = value if listed and isinstance(value, list) else [value]
    if several := next((text for text in values if isinstance(text, str) and "," in text and _is_axis(key)), None):
        raise UserError(f"{key}={several!r}: a text is one value, and several are a list: {key}={_as_list(several)}")
    if key == DATA and all(isinstance(path, str) and "/" in path for path in values):
        return f"{key}={','.join(map(str, values))}"
    return f"{key}={','.join(word(item) for item in values)}"


def _takes_a_list(key: str) -> bool:
    return key.lstrip("+") in _SETTINGS and get_origin(_SETTINGS[key.lstrip("+")].type) is tuple


def _is_axis(key: str) -> bool:
    """Whether no value of it has a comma: it is none of a setting, nor inside a group, where paths and texts are."""
    return key not in _SETTINGS and key.isidentifier()


def _as_list(text: str) -> str:
    """How Python writes the values that a text joins, as far as that is plain."""
    parts = [part.strip() for part in text.strip("[]() ").split(",")]
    if not all(re.fullmatch(r"[\w./+-]+", part) for part in parts):
        return "[VALUE, VALUE]"
    return f"[{', '.join(part if part.isdigit() else repr(part) for part in parts)}]"


def _plain(key: str, value: object) -> object:
    """Python's own numbers, texts, lists and mappings in place of numpy's, pandas', ranges and paths."""
    to_list = getattr(value, "tolist", None)
    if callable(to_list):
        value = to_list()
    match value:
        case os.PathLike():
            path = os.fsdecode(value)
            return path if "/" in path or key != DATA else f"./{path}"
        case None | bool() | str():
            return value
        case Number() if not isinstance(value, complex):
            return value
        case Mapping():
            return {str(name): _plain(key, part) for name, part in value.items()}
        case set() | frozenset():
            raise UserError(f"{key}={value}: a set has no order; give a list")
        case Iterable() if not isinstance(value, bytes):
            parts = [_plain(key, part) for part in islice(value, MOST_POINTS + 1)]
            if len(parts) > MOST_POINTS:
                raise UserError(f"{key}: more than {MOST_POINTS:,} values, which are more points than a study holds")
            return parts
        case _:
            raise UserError(
                f"{key}={value!r}: {type(value).__name__} is no value of a sweep; give a number, a text or a list"
            )
