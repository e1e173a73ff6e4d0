"""Configuration files as plain values, and the keys that they have: OmegaConf without Hydra. An edge.

To import Hydra takes as long as everything else that `explain` and `profiles list` do.
"""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf, _utils, resolvers

from launchers.checked import field_names
from launchers.references import reference
from vit_sweep.config.folders import conf_dir
from vit_sweep.config.words import Plain
from vit_sweep.data.request import Request
from vit_sweep.plan.point import Point

_INT = "tag:yaml.org,2002:int"
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0b[0-1_]+|0x[0-9a-fA-F_]+)$")
_made_by_omegaconf = _utils.get_yaml_loader


def _loader() -> Any:
    """What reads whole numbers as people write them, digits alone.

    PyYAML follows YAML 1.1, where `24:00:00` is 86400, a number to the base 60, and `010` is 8: values that nobody
    meant, and that pass every check. YAML 1.2 has neither; here both are text, and whoever reads the key says what it
    is.
    """
    loader = _made_by_omegaconf()
    loader.yaml_implicit_resolvers = {
        first: [(tag, _WHOLE if tag == _INT else pattern) for tag, pattern in resolvers]
        for first, resolvers in loader.yaml_implicit_resolvers.items()
    }
    return loader


# For every YAML file of this process, Hydra's too; OmegaConf has no other place to say it.
_utils.get_yaml_loader = _loader


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
    return list(dict.fromkeys([*class_keys, *set_here, *(field_names(Request) if group == "data" else []), *inside]))


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
