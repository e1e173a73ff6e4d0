"""A sweep's configurations without Hydra, where it has composed their groups before and its grammar has nothing to say.

To import Hydra, to read its grammar and to compose took half of a dry run. Words are plain almost always (`gpus=1,2`,
`partition=NAME`), and what they change is a value of a composition that depends on files alone: that one is kept.
Whatever is not plain, and every mistake, goes the long way, through Hydra, whose answers these are: a property test
holds both against each other.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from launchers.checked import parse
from vit_sweep.config.algebra import NO_GRID, GridSpec, columns, combinations
from vit_sweep.config.quick.cache import CompositionCache, user_cache
from vit_sweep.config.quick.words import Word, plain_word
from vit_sweep.config.words import Plain, grid_words, replaced, require_one_stage_key

_GRID = "-m", "--multirun"
Compose = Callable[[Sequence[str]], Plain | None]
"""What composes groups that nobody has composed yet; None where it cannot be said apart from the command."""


class Quick(NamedTuple):
    """A sweep that needs no Hydra."""

    configurations: Iterator[Plain]
    overrides: list[str]
    """The words of the command that are no options."""


def quick(words: Sequence[str], cache: CompositionCache, compose: Compose) -> Quick | None:
    """The configurations of a command; None where Hydra must read it.

    Raises `UserError` for two words that say one thing, and for a named grid that is none.
    """
    is_grid = any(word in _GRID for word in words)
    overrides = [word for word in words if word not in _GRID]
    parsed = [plain_word(word) for word in overrides]
    read = [word for word in parsed if word is not None]
    if not cache.known or len(read) < len(parsed) or not _keys_are_unique(read):
        return None
    require_one_stage_key({word.key for word in read if word.values != (None,)})
    composed = _Composed(cache, compose)
    configurations = composed.of_grid(read) if is_grid else composed.of_one(read)
    return None if configurations is None else Quick(configurations=configurations, overrides=overrides)


def configuration(words: Sequence[str], environ: Mapping[str, str]) -> Plain:
    """One configuration from override words, outside of a sweep; raises `UserError` for a wrong word."""
    known = quick(words, user_cache(environ), composed_by_hydra)
    if known is not None:
        return next(known.configurations)
    from vit_sweep.config.groups import composed_words

    return composed_words(words)


def composed_by_hydra(chosen: Sequence[str]) -> Plain | None:
    """What `quick` asks for groups that nobody has composed yet."""
    from vit_sweep.config.compose import composed_groups

    return composed_groups(chosen)


class _Composed:
    """Configurations by the groups that they choose, each looked up once."""

    def __init__(self, stored: CompositionCache, compose: Compose) -> None:
        self._kept, self._compose = stored, compose
        self._found: dict[tuple[str, ...], Plain | None] = {}
        self._inside: dict[tuple[object, ...], Plain | None] = {}
        self._is_group = functools.cache(stored.is_group)

    def of_one(self, words: Sequence[Word]) -> Iterator[Plain] | None:
        """The one configuration of a command that is no grid."""
        if any(len(word.values) > 1 for word in words):
            return None
        values = self._values([(word.key, word.values[0], word.texts[0]) for word in words])
        if values is None or values["grid"]["name"] != NO_GRID or values["zip"]:
            return None
        return iter([values])

    def of_grid(self, words: Sequence[Word]) -> Iterator[Plain] | None:
        """Those of all combinations, in their order."""
        grid_words_read = self._words_of_grid(words)
        if grid_words_read is None:
            return None
        words = [*grid_words_read, *words]
        if not _keys_are_unique(words):
            return None
        zips = columns([(word.key, len(word.values)) for word in words], [])
        lists = [list(zip(word.values, word.texts, strict=True)) for word in words]
        configurations = [
            self._values([(word.key, *pair) for word, pair in zip(words, combination, strict=True)])
            for combination in combinations(lists, zips)
        ]
        complete = [values for values in configurations if values is not None]
        return iter(complete) if len(complete) == len(configurations) else None

    def _words_of_grid(self, words: Sequence[Word]) -> list[Word] | None:
        chosen = next((word for word in words if word.key == "grid"), None)
        if chosen is None:
            return []
        base = self._base((f"grid={chosen.values[0]}",)) if len(chosen.values) == 1 else None
        if base is None:
            return None
        spec = parse(GridSpec, base["grid"], source=f"grid {chosen.values[0]}")
        read = [plain_word(word) for word in grid_words(spec, {word.key for word in words})]
        return None if None in read else [word for word in read if word is not None]

    def _values(self, stated: Sequence[tuple[str, object, str]]) -> Plain | None:
        """The configuration of these words, each with its one value."""
        groups = {key: value for key, value, _ in stated if self._is_group(key)}
        if not all(isinstance(value, str) for value in groups.values()):
            return None
        chosen = tuple(f"{key}={text}" for key, _, text in stated if key in groups)
        changes = [(key, value) for key, value, _ in stated if key not in groups]
        inside = tuple(change for change in changes if "." in change[0])
        base = self._with_group_changes(chosen, inside)
        return replaced(base, [change for change in changes if "." not in change[0]]) if base is not None else None

    def _with_group_changes(self, chosen: tuple[str, ...], changes: tuple[tuple[str, object], ...]) -> Plain | None:
        """A composition with values of its groups changed, the same objects for all that change them alike."""
        if not changes:
            return self._base(chosen)
        key = chosen, tuple((name, repr(value)) for name, value in changes)
        if key not in self._inside:
            base = self._base(chosen)
            self._inside[key] = replaced(base, changes) if base is not None else None
        return self._inside[key]

    def _base(self, chosen: tuple[str, ...]) -> Plain | None:
        if chosen not in self._found:
            config = self._kept.read(chosen)
            if config is None and (config := self._compose(chosen)) is not None:
                self._kept.write(chosen, config)
            self._found[chosen] = config
        return self._found[chosen]


def _keys_are_unique(words: Sequence[Word]) -> bool:
    keys = [word.key for word in words]
    return len(set(keys)) == len(keys)
