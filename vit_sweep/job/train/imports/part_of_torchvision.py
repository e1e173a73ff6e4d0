"""torchvision's VisionTransformer and functions of images, without the rest of it: half of its modules.

Whoever imports a module of torchvision has it run what all its packages begin with: every model, every data set, its
operations. So these packages begin when something of theirs is asked for that is no module.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

_WHOLE = "torchvision"
_PACKAGES = {_WHOLE, *(f"{_WHOLE}.{part}" for part in ("datasets", "models", "ops", "transforms", "transforms.v2"))}
_OF_MODULES = {_WHOLE, f"{_WHOLE}.transforms", f"{_WHOLE}.transforms.v2"}
"""Those in which no function has the name of a module."""


class _Package(ModuleType):
    """A package that has not begun."""

    def __getattr__(self, name: str) -> Any:
        inner = f"{self.__name__}.{name}"
        if self.__name__ in _OF_MODULES and importlib.util.find_spec(inner) is not None:
            return importlib.import_module(inner)
        assert self.__spec__ is not None and self.__spec__.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]  # it begins, and is as any other
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def leave_out() -> None:
    """Let torchvision's packages begin when they are needed, from now on; not where it is imported already."""
    if _WHOLE in sys.modules:
        return
    for name in sorted(_PACKAGES):  # a package before those in it
        spec = importlib.util.find_spec(name)
        if spec is None:  # another release's packages
            continue
        package = importlib.util.module_from_spec(spec)
        package.__class__ = _Package
        sys.modules[name] = package
        above, _, last = name.rpartition(".")
        if above:
            setattr(sys.modules[above], last, package)


def began() -> set[str]:
    """The packages that this process has let begin."""
    return {name for name in _PACKAGES & sys.modules.keys() if not isinstance(sys.modules[name], _Package)}
