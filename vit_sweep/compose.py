"""From override strings to plain configurations: Hydra's grammar, composed once per choice of groups. An edge.

Stock Hydra composes every cell twice at 0.1-0.25 s. Here a combination of config-group choices is composed
once and the value overrides are applied to a copy. The result equals Hydra's own, which a property test
holds; overrides beyond plain values and group choices (`+`, `++`, `~`, packages) take Hydra's own way.
"""

import copy
import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from launchers.errors import UserError, closest

Plain = dict[str, Any]


def conf_dir() -> Path:
    """The shipped configurations: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def expand(overrides: list[str], *, loader: ConfigLoader, master: DictConfig) -> Iterator[Plain]:
    """Yield the resolved configuration of every combination, in the order of the grid.

    `master` is the configuration that Hydra composed for the command; its `hydra` overrides are kept.
    Raises `UserError` for a wrong name, a wrong value, or a grid without a single combination.
    """
    parser = OverridesParser.create(config_loader=loader)
    parsed = parser.parse_overrides(overrides)
    lists = [_choices(override) for override in parsed]
    for override, choices in zip(parsed, lists, strict=True):
        if not choices:
            raise UserError(f"{override.input_line}: the grid is empty – no value is left; give at least one")
    groups = [_is_group(override, loader) for override in parsed]
    simple = all(_is_simple(override) for override in parsed)

    @cache
    def base(chosen: tuple[str, ...]) -> DictConfig:
        config = loader.load_sweep_config(master, list(chosen))
        with open_dict(config):
            del config["hydra"]
        return config

    @cache
    def change(text: str) -> tuple[str, Any]:
        override = parser.parse_override(text)
        return override.key_or_group, override.value()

    for combination in itertools.product(*lists):
        try:
            if not simple:
                yield plain(base(combination))
                continue
            chosen = tuple(c for c, group in zip(combination, groups, strict=True) if group)
            config = copy.deepcopy(base(chosen))
            for text, group in zip(combination, groups, strict=True):
                if not group:
                    key, value = change(text)
                    OmegaConf.update(config, key, value, merge=True)
            yield plain(config)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error)) from None


def explain(error: Exception) -> str:
    """Make one sentence of Hydra's words; a misspelt name gets the menu of right ones."""
    text = " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: there is no such {group} – {closest(name, error.options)}"
    ambiguous = re.match(r"Ambiguous value for argument '(.+?)'", text)
    if ambiguous:
        return f"{ambiguous[1]}: several values are a grid, and a grid needs -m: python -m vit_sweep -m {ambiguous[1]}"
    unknown = re.match(r"(?:Could not override|Key '.+?' is not in struct full_key:) '?([\w.]+)", text)
    if unknown:
        group, _, key = unknown[1].rpartition(".")
        return f"{unknown[1]}: there is no such key – {closest(key, _known_keys(group))}"
    return text


def _known_keys(group: str) -> list[str]:
    """The words that a command line may set: at the top, or in one group (`model.layers`)."""
    if group:
        files = sorted((conf_dir() / group).glob("*.yaml"))
        return [str(key) for key in OmegaConf.load(files[0])] if files else []
    config = OmegaConf.load(conf_dir() / "config.yaml")
    groups = [folder.name for folder in conf_dir().iterdir() if folder.is_dir() and folder.name != "hydra"]
    return [*groups, *(str(key) for key in config if key not in {"defaults", "hydra"})]


def plain(config: DictConfig) -> Plain:
    """Resolve a composed configuration; Hydra's own node is left out."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


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
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _is_group(override: Override, loader: ConfigLoader) -> bool:
    return bool(loader.get_group_options(override.key_or_group))


def _is_simple(override: Override) -> bool:
    changes = not (override.is_add() or override.is_force_add() or override.is_delete())
    return changes and override.package is None
