"""What tests of data formats share: packing what is asked for, and what a job then reads of it."""

import pytest

from launchers.errors import UserError
from vit_sweep.data import datasets
from vit_sweep.plan.choices import Task


def pack(data, root, workers=0):
    """Pack, and return what is told meanwhile."""
    from vit_sweep.data.prepare.pack import pack

    lines = []
    pack(data, root, lines.append, workers=workers)
    return lines


def loaded(data, root, task=Task.CLASSIFICATION):
    """Both splits, as a job reads them."""
    from vit_sweep.job.train.images.data import load

    return load(datasets.packed_spec(data, root), root, task=task)


def refusal(data, root):
    """Why it is not packed; nothing half-written is left."""
    with pytest.raises(UserError) as raised:
        pack(data, root)
    assert not list(root.glob("[!.]*-packed-*")), "nothing half-written"
    return str(raised.value)
