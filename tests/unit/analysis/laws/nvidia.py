"""Published curves that no test may be fitted to: NVIDIA's ViT g/14.

NVIDIA NeMo Framework user guide, "Vision Transformer: Performance" (the two tables of samples per second on 1, 2, 4, 8
and 16 nodes of 8 GPUs): docs.nvidia.com/nemo-framework/user-guide/latest/MultimodalModels/VisionLanguageFoundation/Vit/
Perf.html. Width, layers, bf16 and 4,096 images a step are those of the same guide's table of predefined training
configurations (g/14, 1011 M parameters), the sharded ("distributed") optimizer that of its table of features.
"""

from dataclasses import replace

from tests.unit.builders import MODEL

NODE = 8
H100 = {8: 1428, 16: 2846, 32: 5737, 64: 11222, 128: 21561}
"""Images per second by GPU count, DGX H100 80GB."""
A100 = {8: 693, 16: 1347, 32: 2642, 64: 5454, 128: 10644}
"""The same of DGX A100 80GB."""
GLOBAL_BATCH = 4096
VIT_G_14 = replace(
    MODEL, name="vit_g_14", image_size=224, patch_size=14, layers=40, heads=16, width=1408, mlp_width=6144
)
IMAGES = 64 * 1024
"""Of a GPU and epoch here; the curves are rates, so any number does."""


def epoch_s(rates, gpus):
    """Seconds for `IMAGES` on each GPU at a published rate: weak scaling."""
    return IMAGES * gpus / rates[gpus]


def efficiency(rates, gpus):
    """Against one node."""
    return rates[gpus] / rates[NODE] / (gpus / NODE)
