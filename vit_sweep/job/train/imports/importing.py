"""How a process imports what it will keep: no torch here, which is among it."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_collector() -> Iterator[None]:
    """Within it Python does not look for garbage, and afterwards never at what is there then.

    Of a rank's imports, hundreds of thousands of objects that stay, these looks were an eighth (2026-11-30), and one
    in a timed step takes a third of a second.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextmanager
def instead_of(module: str, stand_in: ModuleType | None) -> Iterator[None]:
    """Let `import module` find another meanwhile, or none as if not installed, unless it is imported already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = stand_in  # type: ignore[assignment]  # None is Python's own mark of what cannot be imported
    try:
        yield
    finally:
        del sys.modules[module]
