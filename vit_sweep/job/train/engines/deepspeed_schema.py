"""What DeepSpeed itself knows of its configuration: the keys that it reads, by section."""

import inspect
import re

from deepspeed.runtime import config
from deepspeed.runtime.config_utils import DeepSpeedConfigModel
from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
from deepspeed.runtime.swap_tensor.aio_config import AIO_DEFAULT_DICT
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from deepspeed.runtime.zero.offload_config import DeepSpeedZeroOffloadOptimizerConfig, DeepSpeedZeroOffloadParamConfig

_MODELS: dict[str, type[DeepSpeedConfigModel]] = {
    "bf16": DeepSpeedBF16Config,
    "fp16": DeepSpeedFP16Config,
    "zero_optimization": DeepSpeedZeroConfig,
    "zero_optimization.offload_optimizer": DeepSpeedZeroOffloadOptimizerConfig,
    "zero_optimization.offload_param": DeepSpeedZeroOffloadParamConfig,
}


def keys_read() -> dict[str, frozenset[str]]:
    """Keys of each section; of the topmost one, whose unknown keys DeepSpeed ignores, those that its code reads."""
    scalars = re.findall(r"get_scalar_param\(param_dict,\s*([A-Z_0-9]+)", inspect.getsource(config))
    keys = {section: frozenset(_names(model)) for section, model in _MODELS.items()}
    return keys | {"": frozenset(getattr(config, name) for name in scalars), "aio": frozenset(AIO_DEFAULT_DICT)}


def _names(model: type[DeepSpeedConfigModel]) -> set[str]:
    """As they are written: by their alias where they have one, without those that are out of use."""
    fields = model.model_fields.items()
    return {f.alias or name for name, f in fields if not (f.json_schema_extra or {}).get("deprecated")}
