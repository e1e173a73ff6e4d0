"""Student's t and F, from scipy's compiled functions without what `scipy.special` imports around them.

That is three quarters of the time: half of numpy's test and build tools among them, which no verb needs.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType

_PACKAGE = "scipy.special"


def _functions() -> ModuleType:
    """The module that has them; the package itself stays to be imported by whoever wants more of it."""
    spec = find_spec(_PACKAGE)
    if spec is None or _PACKAGE in sys.modules:
        return import_module(_PACKAGE)
    sys.modules[_PACKAGE] = module_from_spec(spec)
    try:
        return import_module(f"{_PACKAGE}._ufuncs")
    finally:
        del sys.modules[_PACKAGE]


_compiled = _functions()
fdtrc, stdtr, stdtrit = _compiled.fdtrc, _compiled.stdtr, _compiled.stdtrit
