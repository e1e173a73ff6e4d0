"""From override strings to plain configurations: Hydra's grammar, composed once per choice of groups. An edge.

Stock Hydra composes every cell twice at 0.1-0.25 s. Here a combination of config-group choices, and of overrides
beyond plain values (`+`, `++`, `~`, packages), is composed once and the plain values are applied to a copy; a command
with one such choice needs no more than what Hydra composed for the command itself. The result equals Hydra's own, which
a property test holds; where both kinds touch one key, their order counts and Hydra composes.
A named grid (`grid=NAME`) becomes words of the same grammar; zipped axes advance together instead of multiplying.
"""

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from launchers.checked import parse
from launchers.errors import UserError, closest
from launchers.invocation import called
from vit_sweep.config.algebra import NO_GRID, GridSpec, columns, combinations, read_zips, require_few
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.plain_yaml import known_keys, plain
from vit_sweep.config.spelling import GROUPS, likely_key, likely_name
from vit_sweep.config.words import Plain, grid_words, replaced, require_one_stage_key


def expand(overrides: list[str], *, loader: ConfigLoader, master: DictConfig) -> Iterator[Plain]:
    """Yield the resolved configuration of every combination, in the order of the grid.

    `master` is the configuration that Hydra composed for the command; its `hydra` overrides are kept.
    Raises `UserError` for a wrong name, a wrong value, or a grid without a single combination.
    """
    composer = _Composer(loader, master)
    parsed = composer.parser.parse_overrides(overrides)
    composer.take_from_master(parsed)
    with readable_errors():
        words = _words_of_grid(parsed, composer.grid)
    require_one_stage_key({override.key_or_group for override in parsed if override.value() is not None})
    parsed = [*composer.parser.parse_overrides(words), *parsed]
    lists = [_choices(override) for override in parsed]
    for override, choices in zip(parsed, lists, strict=True):
        if not choices:
            raise UserError(f"{override.input_line}: the grid is empty – no value is left; give at least one")
    composed = [composer.is_composed(override) for override in parsed]
    is_separable = _are_separable(parsed, composed)
    counts = [(override.key_or_group, len(choices)) for override, choices in zip(parsed, lists, strict=True)]
    for combination in combinations(lists, columns(counts, _zips(parsed))):
        with readable_errors():
            values = composer.values(combination, composed) if is_separable else plain(composer.base(combination))
        yield values


class _Composer:
    """Composes every choice of groups once, and parses every word once."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.parser = OverridesParser.create(config_loader=loader)
        self._loader, self._master = loader, master
        # Remembered by this composer and not by the class: nothing outlives the grid.
        self.base, self._resolved, self._change = cache(self._compose), cache(self._resolve), cache(self._parse)
        self._of_master: tuple[str, ...] | None = None

    def is_composed(self, override: Override) -> bool:
        """Whether it takes a composition: a group's choice, and what is more than a new value."""
        group = any(source.is_group(override.key_or_group) for source in self._loader.get_sources())
        return group or not _is_simple(override)

    def take_from_master(self, parsed: Sequence[Override]) -> None:
        """Keep which of these words took a composition in the master, unless that knows others or left a group open."""
        hydra = self._master.hydra
        if set(hydra.overrides.task) <= {override.input_line for override in parsed}:
            stated = [o for o in parsed if o.input_line in hydra.overrides.task and not o.is_sweep_override()]
            words = tuple(text for override in stated if self.is_composed(override) for text in _choices(override))
            self._of_master = None if OmegaConf.missing_keys(hydra.runtime.choices) else words

    def grid(self, name: str) -> DictConfig:
        """The named grid of this name."""
        known = self._master.hydra.runtime.choices.get("grid") == name
        grid = whole(self._master if known else self.base((f"grid={name}",))).grid
        assert isinstance(grid, DictConfig)
        return grid

    def values(self, combination: Sequence[str], composed: Sequence[bool]) -> Plain:
        """The configuration of these words; those that are not `composed` change one value each."""
        chosen = tuple(text for text, first in zip(combination, composed, strict=True) if first)
        changes = [self._change(text) for text, first in zip(combination, composed, strict=True) if not first]
        start = self._resolved(chosen)
        values = replaced(start, changes) if start is not None else None
        if values is not None:
            return values
        config = copy.deepcopy(self.base(chosen))
        for key, value in changes:
            OmegaConf.update(config, key, value, merge=True)
        return plain(config)

    def _compose(self, chosen: tuple[str, ...]) -> DictConfig:
        if chosen == self._of_master:
            config = copy.deepcopy(self._master)
        else:
            config = self._loader.load_sweep_config(self._master, list(chosen))
        with open_dict(config):
            del config["hydra"]
        return whole(config)

    def _resolve(self, chosen: tuple[str, ...]) -> Plain | None:
        return _independent(self.base(chosen))

    def _parse(self, text: str) -> tuple[str, Any]:
        override = self.parser.parse_override(text)
        return override.key_or_group, override.value()


def composed_groups(chosen: Sequence[str]) -> Plain | None:
    """The configuration of these groups alone; None where it takes more to compose it, or is a mistake."""
    try:
        with readable_errors(), initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            return _independent(compose("config", overrides=list(chosen)))
    except (UserError, RecursionError):
        return None


def _independent(config: DictConfig) -> Plain | None:
    """The same as plain values, unless a value is missing or depends on another one."""
    raw = str(OmegaConf.to_container(config, resolve=False))
    return None if "???" in raw or re.search(r"\$\{(?!oc\.env:)", raw) else plain(config)


def whole(config: DictConfig) -> DictConfig:
    """A composition, if all groups are in it; raises `UserError` where a file has put its keys elsewhere."""
    for group in sorted(GROUPS - config.keys()):
        raise UserError(
            f"{group}: the file that is chosen puts its keys elsewhere – leave out its line `# @package`, and write "
            f"its keys as the files of conf/{group}/ do"
        )
    return config


def single(config: DictConfig) -> Plain:
    """Resolve the one configuration of a command without -m; raises `UserError` for what only a grid can have."""
    values = plain(whole(config))
    name = values["grid"]["name"]
    if name != NO_GRID:
        raise UserError(f"grid={name}: a named grid has several cells and needs -m: {called()} -m grid={name}")
    columns([], read_zips(values["zip"]))
    if HydraConfig.initialized():
        overrides = (override.partition("=") for override in words_of_command())
        require_one_stage_key({key.lstrip("+") for key, _, value in overrides if value != "null"})
    return values


def words_of_command() -> list[str]:
    """The overrides that Hydra was given, as they were typed: `${oc.env:NAME}` stays so."""
    words = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(words, list)
    return [str(word) for word in words]


def _words_of_grid(parsed: list[Override], grid: Callable[[str], DictConfig]) -> list[str]:
    """The overrides that a named grid stands for, without the keys that the command line gives itself."""
    inside = next((o for o in parsed if o.key_or_group.startswith("grid.")), None)
    if inside is not None:
        key = inside.key_or_group.rpartition(".")[2]
        raise UserError(
            f"{inside.input_line}: a word of a named grid is replaced by its own key; write {key}=VALUE,VALUE"
        )
    chosen = next((o for o in parsed if o.key_or_group == "grid"), None)
    if chosen is None:
        return []
    if chosen.is_sweep_override():
        raise UserError(f"{chosen.input_line}: one command runs one named grid; give a command for each")
    name = str(chosen.value())
    spec = parse(GridSpec, plain(grid(name)), source=f"grid {name}")
    return grid_words(spec, {override.key_or_group for override in parsed})


def _zips(parsed: list[Override]) -> list[list[str]]:
    """What the last `zip=` says; axes are multiplied before settings are read, so it is read here."""
    zips = [override for override in parsed if override.key_or_group == "zip" and not override.is_delete()]
    if not zips:
        return []
    if zips[-1].is_sweep_override():
        raise UserError(f"{zips[-1].input_line}: zip cannot be swept; write zip=[[gpus,batch]]")
    return read_zips(zips[-1].value())


@contextmanager
def readable_errors() -> Iterator[None]:
    """Hydra's and YAML's words on a mistake of a person, raised as `UserError`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from None
    except YAMLError as error:
        raise UserError(f"a configuration file is not valid YAML: {' '.join(str(error).split())}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"a configuration file is not UTF-8 (byte {error.start + 1}: {error.object[error.start]:#x}): save it as "
            f"UTF-8; a partition's is named by: {called()} profiles check, with the same --config-dir"
        ) from None
    except ValueError as error:
        if wrong := re.match(r"Invalid defaults list in '(.+?)', defaults must be a list \(got", str(error)):
            raise UserError(f"{wrong[1]}: what it builds on is a list: write defaults: [NAME]") from None
        raise


def explain(error: Exception) -> str:
    """Make one sentence of Hydra's words; a misspelt name gets the menu of right ones."""
    text = " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.partition("/")
        if group not in GROUPS:
            group, _, name = error.missing_cfg_file.rpartition("/")
        menu = closest(name, error.options, meant=likely_name(group, name))
        hint = "; yours is data=path/to/DIR" if group == "data" else ""
        return f"{group}={name}: there is no such {group} – {menu}{hint}"
    override = re.match(r"In '(\w+)/([^']+)': Could not override '([^'@]+)", text)
    if override:
        other = override[3].removeprefix(f"{override[1]}/")
        instead = "" if other.startswith("hydra/") else f"; a command says {other}=NAME"
        return (
            f"{override[1]} {override[2]}: it overrides {other} (defaults:), and a file of {override[1]}/ has no say "
            f"in that – take it out{instead}"
        )
    base = re.match(r"In '(\w+)/([^']+)': Could not load '\w+/([^']+)'", text)
    if base:
        shipped = [path.stem for path in (conf_dir() / base[1]).glob("*.yaml")]
        return (
            f"{base[1]} {base[2]}: it builds on {base[3]} (defaults:), which is not there – {closest(base[3], shipped)}"
        )
    merging = re.match(r"(?:Error merging override |Cannot merge DictConfig .* full_key: )([\w.]+)", text)
    if merging and (known := known_keys(merging[1])):
        menu = ", ".join(f"{key}=VALUE" for key in known)
        return f"{merging[1]}: it has keys of its own and is no list; set those: {menu}"
    existing = re.match(r"Could not append to config\. An item is already at '([\w.]+)'", text)
    if existing:
        return f"+{existing[1]}: the key is there already; write it without +: {existing[1]}=VALUE"
    ambiguous = re.match(r"Ambiguous value for argument '(.+?)'", text)
    if ambiguous:
        return f"{ambiguous[1]}: several values are a grid, and a grid needs -m: {called()} -m {ambiguous[1]}"
    missing = re.match(r"Missing mandatory value: \w+ full_key: ([\w.]+)", text)
    if missing:
        return f"{missing[1]}: it has no value of its own; give it: {missing[1]}=VALUE"
    unknown = re.match(r"(?:Could not override|Key '.+?' is not in struct full_key:) '?([\w.]+)", text)
    if unknown:
        key, group = unknown[1], unknown[1].rpartition(".")[0]
        known = known_keys(group)
        if group and key in known:
            return f"{key}: this {group} does not set it; add it with ++{key}=VALUE"
        return f"{key}: there is no such key – {likely_key(key, known or known_keys())}"
    if isinstance(error, OverrideParseException):
        example = 'exclude=["gpus==8"]' if error.override.startswith("exclude") else 'KEY="TEXT"'
        return (
            f"{error.override}: it cannot be read – values are separated by commas, and text with other signs than "
            f"letters, digits and ._-/ is quoted inside the shell's quotes: '{example}'"
        )
    return text


def _choices(override: Override) -> list[str]:
    """Every value of one override as an override of its own (as Hydra's BasicSweeper does)."""
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise UserError(
            f"{override.input_line}: a scaling study needs stated values, not an interval; "
            f"write for example {key}=1,2,4 or {key}=range(1,9)"
        )
    swept = override.value()
    if isinstance(swept, RangeSweep) and swept.start is not None and swept.stop is not None:
        if not swept.step:
            raise UserError(f"{override.input_line}: a step of 0 never arrives; write range(FIRST,BEYOND,STEP)")
        require_few((swept.stop - swept.start) / swept.step)
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _is_simple(override: Override) -> bool:
    changes = not (override.is_add() or override.is_force_add() or override.is_delete())
    return changes and override.package is None


def _are_separable(parsed: Sequence[Override], composed: Sequence[bool]) -> bool:
    """Whether no plain value and no added or deleted one are of one key, or one of them of a part of the other's."""
    keys = [f"{override.key_or_group}." for override in parsed]
    plain_keys = [key for key, first in zip(keys, composed, strict=True) if not first]
    others = [key for key, override in zip(keys, parsed, strict=True) if not _is_simple(override)]
    return not any(key.startswith(other) or other.startswith(key) for key in plain_keys for other in others)
