"""YAML's whole numbers as people write them: digits alone. Called once, by what composes.

PyYAML follows YAML 1.1, where `24:00:00` is 86400, a number to the base 60, and `010` is 8: values that nobody meant,
and that pass every check. YAML 1.2 has neither; here both are text, and whoever reads the key says what it is.
"""

import re
from typing import Any

from omegaconf import _utils

_INT = "tag:yaml.org,2002:int"
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0b[0-1_]+|0x[0-9a-fA-F_]+)$")
_made_by_omegaconf = _utils.get_yaml_loader


def _loader() -> Any:
    loader = _made_by_omegaconf()
    loader.yaml_implicit_resolvers = {
        first: [(tag, _WHOLE if tag == _INT else pattern) for tag, pattern in resolvers]
        for first, resolvers in loader.yaml_implicit_resolvers.items()
    }
    return loader


def read_digits_alone() -> None:
    """Read every YAML file of this process that OmegaConf reads so, Hydra's too; it has no other place to say it."""
    _utils.get_yaml_loader = _loader
