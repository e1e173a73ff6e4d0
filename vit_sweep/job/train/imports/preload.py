"""Everything a rank imports, whatever its engine; a launcher may import it once and fork (`launchers.local.queue`).

DeepSpeed is not among it: `with_deepspeed` has that, for the cells that use it.

Nothing here may start CUDA: a forked process could not use it.
"""

import atexit
import encodings.idna  # noqa: F401 - of the first name that is looked up
import gc
from contextlib import suppress

from vit_sweep.job.train.imports.importing import without_collector

with without_collector():
    from vit_sweep.job.train.imports import part_of_torchvision, without_compiler

    without_compiler.leave_out()
    part_of_torchvision.leave_out()

    from vit_sweep.job.train.run import train  # what it imports asks for torch's compiler

    with suppress(ImportError):  # torch's own, for the first backward
        import torch.nested._internal.nested_tensor  # noqa: F401

# At the end of the process all is taken apart as ever, or libraries speak of leaks in the rank's log.
atexit.register(gc.unfreeze)

__all__ = ["train"]
