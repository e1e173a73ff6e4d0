"""The text tower of `task=contrastive`: its shape, and the tokens that it reads. Pure."""

from typing import Annotated

from launchers.checked import Ge, Le, checked
from launchers.profile import Count

BEGIN, END = 256, 257
"""Tokens beside the 256 bytes; END also fills up a short caption, behind which nothing looks."""
VOCABULARY = 258
"""Captions are read byte by byte of their UTF-8: no vocabulary has to be fetched, and every language has one."""


@checked
class TextSpec:
    """A causal transformer as CLIP's (Radford et al. 2021, arXiv:2103.00020, section 2.4), read at a caption's end."""

    layers: Count = 2
    """Blocks."""
    heads: Count = 4
    """Attention heads of a block; they divide `width`."""
    width: Count = 128
    """Hidden dimension."""
    mlp_width: Count = 512
    """Hidden dimension of a block's MLP."""
    length: Annotated[int, Ge(3), Le(10**6)] = 32
    """Tokens of a caption, BEGIN and END among them; a longer one is cut."""
    embedding: Count = 64
    """Numbers of a point of the space that both towers share."""
