"""torch's compiler, left out of processes that compile nothing: of all that a rank imports it is about a third.

torch itself asks for its tracer where no graph is ever traced: an optimizer says at each step that a graph would break
there, torchvision marks functions that are not to be compiled, a process group forgets rules that nobody has read, the
profiler asks whether the compiler makes CUDA graphs, a checkpoint of plain torch whether a module was compiled. Each of
these loads a thousand modules, the compiler and what it computes with. So something stands in for both that answers
these few questions as an untraced process would. Whatever else is asked of it loads the real ones.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

TRACER, COMPILER = "torch._dynamo", "torch._inductor"
_UTILS, _RULES, _FRAMES = f"{TRACER}.utils", f"{TRACER}.trace_rules", f"{TRACER}.eval_frame"
_CONFIG = f"{COMPILER}.config"


class _StandIn(ModuleType):
    """What is known of a module without loading it; the rest is the real one's."""

    def __init__(self, name: str, **names: Any) -> None:
        super().__init__(name)
        vars(self).update(names, __path__=[])  # else nothing below it could be imported

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # who looks through all modules for a file, as `inspect` does, wants nothing of it
            raise AttributeError(name)
        bring_in()
        return getattr(importlib.import_module(self.__name__), name)


class _Finder:
    """Asked for a module below one that is stood in for, it loads the real ones first."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG004 - of the protocol
        if not name.startswith((f"{TRACER}.", f"{COMPILER}.")):
            return None
        bring_in()
        real = sys.modules.get(name)  # loaded meanwhile: it must not be loaded twice
        return importlib.util.find_spec(name) if real is None else ModuleSpec(name, _Loaded(real))


class _Loaded(Loader):
    """Gives a module that is there already."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002 - of the protocol
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def leave_out() -> None:
    """Stand in for tracer and compiler from now on, unless one of them is loaded already."""
    if TRACER in sys.modules or COMPILER in sys.modules:
        return
    utils = _StandIn(
        _UTILS, is_compile_supported=_is_compile_supported, get_optimize_ddp_mode=lambda: "no_optimization"
    )
    rules = _StandIn(_RULES, clear_lru_cache=_nothing)
    frames = _StandIn(_FRAMES, OptimizedModule=_CompiledModule)
    tracer = _StandIn(
        TRACER, utils=utils, trace_rules=rules, eval_frame=frames, graph_break=_nothing, disable=_untraced
    )
    config = _StandIn(_CONFIG, triton=SimpleNamespace(cudagraphs=False))
    compiler = _StandIn(COMPILER, config=config)
    sys.modules |= {module.__name__: module for module in (tracer, utils, rules, frames, compiler, config)}
    torch._dynamo, torch._inductor = tracer, compiler
    sys.meta_path.insert(0, _Finder)


def bring_in() -> None:
    """Load the real ones; what was marked as not to be compiled before then is not marked."""
    if _Finder in sys.meta_path:
        sys.meta_path.remove(_Finder)
        for name in (TRACER, _UTILS, _RULES, _FRAMES, COMPILER, _CONFIG):
            del sys.modules[name]
        del torch._dynamo, torch._inductor
    importlib.import_module(TRACER)


def is_loaded() -> bool:
    """Whether this process has the real tracer."""
    return TRACER in sys.modules and not isinstance(sys.modules[TRACER], _StandIn)


class _CompiledModule:
    """What no module is where nothing is compiled."""


def _nothing(*_: Any, **__: Any) -> None:
    """What a break of a graph is that nobody traces."""


def _untraced(fn: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    """A function is not traced as it is."""
    return (lambda given: given) if fn is None else fn


def _is_compile_supported(device: str) -> bool:
    """Asked when torchvision would compile an operator of its own."""
    bring_in()
    return bool(sys.modules[_UTILS].is_compile_supported(device))
