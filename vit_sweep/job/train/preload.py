"""Everything a rank imports, whatever its engine; a launcher may import it once and fork (`launchers.local.queue`).

DeepSpeed is not among it: `with_deepspeed` has that, for the cells that use it.

Nothing here may start CUDA: a forked process could not use it.
"""

import atexit
import encodings.idna  # noqa: F401 - of the first name that is looked up
import gc
from contextlib import suppress

from vit_sweep.job.train import without_compiler

without_compiler.leave_out()

from vit_sweep.job.train.run import train  # noqa: E402 - what it imports asks for torch's compiler

with suppress(ImportError):  # torch's own, for the first backward
    import torch.nested._internal.nested_tensor  # noqa: F401

# Hundreds of thousands of objects that stay: a look at them for garbage takes a third of a second each time. At the end
# of the process they are taken apart as ever, or libraries speak of leaks in the rank's log.
gc.freeze()
atexit.register(gc.unfreeze)

__all__ = ["train"]
