"""Everything a rank imports, for a launcher that imports once and forks: see `launchers.local.queue`.

Nothing here may start CUDA: a forked process could not use it.
"""

import deepspeed
import sklearn.datasets
import torch
import torchvision

import vit_sweep.job.train.run

__all__ = ["deepspeed", "sklearn", "torch", "torchvision", "vit_sweep"]
