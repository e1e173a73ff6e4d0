"""torchvision's packages begin when they are needed, and are then what they are elsewhere."""

import pytest

from tests.e2e.train.ranks import Program

pytestmark = pytest.mark.train

ASKS = {
    "a function named as its module": ("torchvision.models", "from torchvision.models import googlenet as asked"),
    "a name of its own": ("torchvision.datasets", "import torchvision; asked = torchvision.datasets.CIFAR10"),
    "its operations": ("torchvision.ops", "from torchvision.ops import nms as asked"),
    "its version": ("torchvision", "import torchvision; asked = torchvision.__version__.split"),
    "all names of it": ("torchvision.transforms.v2", "from torchvision.transforms.v2 import *; asked = Resize"),
}
PROBE = """
import sys
fresh = [name for name in sys.modules if name.startswith("torchvision")]
for name in fresh:
    del sys.modules[name]
from vit_sweep.job.train.imports.part_of_torchvision import began, leave_out
leave_out()
from torchvision.models.vision_transformer import VisionTransformer
from torchvision.transforms.v2 import functional
assert "{package}" not in began(), began()
{asks}
assert callable(asked)
assert "{package}" in began(), began()
import torchvision.models.vision_transformer as again
assert again.VisionTransformer is VisionTransformer
"""


@pytest.mark.parametrize(("package", "asks"), ASKS.values(), ids=ASKS)
def test_whatever_else_is_asked_of_torchvision_is_there(package, asks, tmp_path):
    program = Program(tmp_path, PROBE.replace("{package}", package).replace("{asks}", asks))
    assert program.wait() == 0, program.err
