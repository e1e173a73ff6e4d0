"""Everything a rank imports, DeepSpeed first; a launcher may import it once and fork (`launchers.local.queue`).

DeepSpeed's autotuner, which no job uses, imports MLflow where it is installed: it is hidden meanwhile, since that
costs every rank seconds. Nothing here may start CUDA: a forked process could not use it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let `import module` fail meanwhile, as if it were not installed, unless it is imported already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # Python's own mark of a module that cannot be imported
    try:
        yield
    finally:
        del sys.modules[module]


with _hidden("mlflow"):
    from vit_sweep.job.train.run import train

__all__ = ["train"]
