"""DeepSpeed and the engine that it makes, imported: before anything else does, and only for cells that use it.

Three things that it does meanwhile would cost every rank seconds and serve no run of ours: its autotuner imports MLflow
where that is installed, its kernels for experts Triton, two fifths of all that it imports, and its Muon optimizer,
imported by every ZeRO engine, loads all of torch's inductor. MLflow and Triton are hidden meanwhile, so those kernels
are off as where Triton is not installed; torch's compiler finds it later. What Muon compiles is compiled when Muon is
first called.

Nothing here may start CUDA: a forked process could not use it.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from vit_sweep.job.train.imports.importing import instead_of, without_collector


@contextmanager
def _compiling_at_the_first_call() -> Iterator[None]:
    """Let `torch.compile` return at once meanwhile: what it returns loads the compiler when it is first called."""
    real = torch.compile

    def later(model: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
        if model is None:
            return functools.partial(later, **options)
        compiled = functools.cache(lambda: real(model, **options))

        @functools.wraps(model)
        def at_the_first_call(*inputs: Any, **keywords: Any) -> Any:
            return compiled()(*inputs, **keywords)

        return at_the_first_call

    torch.compile = later
    try:
        yield
    finally:
        torch.compile = real


with without_collector(), instead_of("mlflow", None), instead_of("triton", None), _compiling_at_the_first_call():
    with suppress(ImportError):  # DeepSpeed has had it here since 0.17
        import deepspeed.runtime.zero.muon.muon_optimizer
    with suppress(ImportError):  # of every engine that it makes, though it has no experts
        import deepspeed.module_inject.auto_ep_layer  # noqa: F401

    import vit_sweep.job.train.engines.deepspeed  # noqa: F401
