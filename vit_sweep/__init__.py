"""vit_sweep: Slurm-native scaling studies of Vision Transformers.

From Python (docs/python.md): `open` a study, `sweep` a grid, `read_csv` and `published` for others' results, `compare`,
`gate`, `capsule`, `reproduce`, `simulate`. What they need is imported when a name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launchers.errors import UserError
    from vit_sweep.api.capsules import capsule, reproduce
    from vit_sweep.api.comparing import compare
    from vit_sweep.api.elsewhere import published, read_csv
    from vit_sweep.api.gating import gate
    from vit_sweep.api.results import Results
    from vit_sweep.api.simulating import simulate
    from vit_sweep.api.study import Study, open
    from vit_sweep.api.sweeping import sweep

__version__ = "0.1.0"

_HOMES = {
    "Results": "vit_sweep.api.results",
    "Study": "vit_sweep.api.study",
    "UserError": "launchers.errors",
    "capsule": "vit_sweep.api.capsules",
    "compare": "vit_sweep.api.comparing",
    "gate": "vit_sweep.api.gating",
    "open": "vit_sweep.api.study",
    "published": "vit_sweep.api.elsewhere",
    "read_csv": "vit_sweep.api.elsewhere",
    "reproduce": "vit_sweep.api.capsules",
    "simulate": "vit_sweep.api.simulating",
    "sweep": "vit_sweep.api.sweeping",
}

__all__ = [
    "Results",
    "Study",
    "UserError",
    "capsule",
    "compare",
    "gate",
    "open",
    "published",
    "read_csv",
    "reproduce",
    "simulate",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vit_sweep' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
