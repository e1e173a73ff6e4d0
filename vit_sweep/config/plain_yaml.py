"""Configuration files as plain values, and the keys that they have: OmegaConf without Hydra. An edge.

To import Hydra takes as long as everything else that `explain` and `profiles list` do.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf, resolvers

from launchers.checked import field_names
from launchers.references import reference
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.words import Plain
from vit_sweep.config.yaml_numbers import read_digits_alone
from vit_sweep.data.request import Request
from vit_sweep.plan.point import Point

read_digits_alone()


def known_keys(group: str = "") -> list[str]:
    """The words that a command line may set, in full (`model.layers`): all of them, or those of one group."""
    shipped = OmegaConf.load(conf_dir() / "config.yaml")
    assert isinstance(shipped, DictConfig)
    config = plain(shipped, resolve=False)
    groups = sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir() and folder.name != "hydra")
    inside = [f"{name}.{key}" for name in groups for key in _keys_of(name, config)]
    if group:
        return [key for key in inside if key.startswith(f"{group}.")]
    return [*groups, *(key for key in config if key not in {"defaults", "hydra", *groups}), *inside]


def _keys_of(group: str, config: Plain) -> list[str]:
    """The keys of one group: those of its class, and those that `config` sets beside."""
    field = getattr(Point, "__dataclass_fields__", {}).get(group)
    set_here = config[group] if isinstance(config.get(group), dict) else {}
    inside = [f"{key}.{name}" for key, value in set_here.items() if isinstance(value, dict) for name in value]
    class_keys = field_names(field.type) if field is not None else []
    return list(dict.fromkeys([*class_keys, *set_here, *_request_keys(group), *inside]))


def _request_keys(group: str) -> list[str]:
    """The keys of data of somebody's own, which become a data set's."""
    return field_names(Request) if group == "data" else []


def plain(config: DictConfig, *, resolve: bool = True) -> Plain:
    """Resolve a composed configuration; Hydra's own node is left out."""
    values = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=True)
    assert isinstance(values, dict)
    if resolve and isinstance(values.get("partition"), dict):
        keep_references(values["partition"], config.get("partition"))
    return {str(key): value for key, value in values.items() if key != "hydra"}


def keep_references(profile: Plain, node: Any) -> None:
    """Put back into a resolved profile's `environment` what it takes from whoever submits: only the job resolves it.

    `node` is what the profile was resolved from. A search path of Python is resolved: ours is added to it.
    """
    environment = node.get("environment") if isinstance(node, DictConfig) else None
    if not isinstance(environment, DictConfig) or "${" not in str(OmegaConf.to_yaml(environment)):
        return
    OmegaConf.register_new_resolver("oc.env", reference, replace=True)
    try:
        resolved = OmegaConf.to_container(environment, resolve=True)
    finally:
        OmegaConf.register_new_resolver("oc.env", resolvers.oc.env, replace=True)
    assert isinstance(resolved, dict)
    profile["environment"] |= {
        name: value for name, value in resolved.items() if "${oc.env:" in str(value) and name != "PYTHONPATH"
    }
