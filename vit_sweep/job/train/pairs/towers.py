"""An image tower and a text tower that give a picture and its caption points of one space (CLIP)."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vit_sweep.outcome.ending import Cause
from vit_sweep.outcome.failure import JobError, one_line
from vit_sweep.plan.specs import BEGIN, END, VOCABULARY, TextSpec

_FIRST_SCALE, _MOST_SCALE = 1 / 0.07, 100.0
"""Of the products of two points: CLIP's, where it is learnt as well."""


class Towers(nn.Module):
    """Answers pairs: images (n, channels, rows, columns) and tokens (n, length)."""

    def __init__(self, image: nn.Module, text: nn.Module) -> None:
        """`image` answers with (n, embedding), `text` tokens likewise."""
        super().__init__()
        self.image, self.text = image, text
        # Not without a dimension, which DeepSpeed refuses.
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(_FIRST_SCALE)))

    def forward(self, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """float32 (n, 2 x embedding): points of the images, scaled, beside those of the captions, of length 1.

        So the products of the first with the second are the logits, and an engine has one tensor to carry.
        """
        images, tokens = pairs
        points = functional.normalize(self.image(images).float(), dim=1)
        captions = functional.normalize(self.text(tokens).float(), dim=1)
        scale = self.logit_scale.float().clamp(max=math.log(_MOST_SCALE)).exp()
        return torch.cat([scale * points, captions], dim=1)


class TextTower(nn.Module):
    """transformers' CLIP text model, its weights drawn anew."""

    def __init__(self, spec: TextSpec) -> None:
        """Raises `JobError` without transformers."""
        super().__init__()
        try:
            from transformers import CLIPTextConfig, CLIPTextModelWithProjection
        except ImportError as error:
            raise JobError(
                Cause.CONFIGURATION,
                f"task=contrastive: its text tower is transformers', which cannot be imported ({one_line(error)}); "
                "pip install 'vit_sweep[contrastive]'",
            ) from error
        make: Any = CLIPTextConfig  # its types know no kernel of attention
        self.model: Any = CLIPTextModelWithProjection(
            make(
                vocab_size=VOCABULARY,
                max_position_embeddings=spec.length,
                num_hidden_layers=spec.layers,
                num_attention_heads=spec.heads,
                hidden_size=spec.width,
                intermediate_size=spec.mlp_width,
                projection_dim=spec.embedding,
                hidden_act="gelu",  # one kernel, and what ViTs have; CLIP's own keeps three tensors for backward
                bos_token_id=BEGIN,
                eos_token_id=END,
                pad_token_id=END,
                attn_implementation="sdpa",
            )
        )
        inner = self.model.text_model
        inner.embeddings = _Embeddings(inner.embeddings.token_embedding, inner.embeddings.position_embedding)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, embedding) of tokens (n, length)."""
        points: Tensor = self.model(input_ids=tokens).text_embeds
        return points


class _Embeddings(nn.Module):
    """transformers' with its names, but without its buffer, which DDP would send round in every step, and without its
    look at the shape of a weight, of which ZeRO 3 has only a part there."""

    def __init__(self, token_embedding: nn.Embedding, position_embedding: nn.Embedding) -> None:
        super().__init__()
        self.token_embedding, self.position_embedding = token_embedding, position_embedding

    def forward(self, input_ids: Tensor, position_ids: None = None) -> Tensor:  # noqa: ARG002 - their signature
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        # (captions, length) to (captions, length, width); the positions are added as (length, width).
        embedded: Tensor = self.token_embedding(input_ids) + self.position_embedding(places)
        return embedded


def with_text_tower(image: nn.Module, spec: TextSpec) -> Towers:
    """Put a text tower beside an image tower.

    A head of zeros, which classifies nothing before it has learnt, would give all images one point without a direction:
    such a matrix is drawn, as CLIP's projections are.
    """
    for weight in image.parameters():
        if weight.ndim == 2 and not weight.any():
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    return Towers(image, TextTower(spec))


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Encoder blocks of a model that is built here; of two towers those of both."""
    if isinstance(model, Towers):
        return [*blocks_of(model.image), *text_blocks(model)]
    return [*model.get_submodule("encoder.layers").children()]


def text_blocks(model: Towers) -> list[nn.Module]:
    """Those of the text tower."""
    return [*model.text.get_submodule("model.text_model.encoder.layers").children()]
