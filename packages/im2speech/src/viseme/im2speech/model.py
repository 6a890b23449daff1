"""The captioners (Kim et al. 2024): an image in, token ids of speech units out. The decoder is transformers' GIT; the
image side is its ViT on pixels (`image="pixels"`, Im-Sp), or a small ViT on codes of a frozen tokenizer
(`image="codes"`, IM-unit).

Keys are those of the published checkpoints.

B images, N image tokens, L text tokens, D width, V vocabulary, H W pixels, S side of the code map, Q code dimension.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GitConfig, GitForCausalLM
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.git.configuration_git import GitVisionConfig

from viseme.core.errors import ConfigError
from viseme.core.layers.linear import adopt
from viseme.im2speech.token_vit import STRIDE, TokenViT
from viseme.im2speech.tokens import Numbering, UnitTokens
from viseme.im2speech.vitvq import VitVQConfig, VQEncoder, nearest_codes

__all__ = ["TIED", "Captioner", "CaptionerConfig"]

TIED = "model.git.embeddings.word_embeddings.weight"
"""The same tensor as `model.output.weight`; model directories keep the latter alone."""


@dataclass(frozen=True)
class CaptionerConfig:
    """Attributes:
    image: `pixels` (ViT on pixels) or `codes` (ViT on codes of a frozen tokenizer).
    units, numbering: see `UnitTokens`.
    image_size: side of the pixels.
    patch_size: of the ViT on pixels.
    vision_dim, vision_layers, vision_heads, vision_mlp_dim: of either ViT.
    codes, code_dim: of the tokenizer's codebook.
    code_crop: side of the centre of the code map that is read.
    classes: of the ImageNet classifier that published weights of the ViT on codes carry along; 0 for none.
    tokenizer_dim, tokenizer_layers, tokenizer_mlp_dim, tokenizer_patch: of the tokenizer's encoder.
    dim, layers, heads, mlp_dim: of the decoder.
    max_tokens: longest sequence, start and end included.
    dropout: of the decoder and the text embedding, hidden and attention.
    """

    image: Literal["pixels", "codes"] = "pixels"
    units: int = 200
    numbering: Numbering = "plain"
    image_size: int = 224
    patch_size: int = 14
    vision_dim: int = 1024
    vision_layers: int = 24
    vision_heads: int = 16
    vision_mlp_dim: int = 4096
    codes: int = 391
    code_dim: int = 32
    code_crop: int = 28
    classes: int = 0
    tokenizer_dim: int = 768
    tokenizer_layers: int = 12
    tokenizer_mlp_dim: int = 3072
    tokenizer_patch: int = 8
    dim: int = 768
    layers: int = 6
    heads: int = 12
    mlp_dim: int = 3072
    max_tokens: int = 1024
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.image not in ("pixels", "codes"):
            raise ConfigError("no such image side", expected="pixels | codes", got=self.image)
        if self.dim % self.heads or self.vision_dim % self.vision_heads:
            raise ConfigError("a width is a multiple of its heads", got=(self.dim, self.heads))
        if self.image == "pixels" and self.image_size % self.patch_size:
            raise ConfigError("an image is a whole number of patches", got=f"{self.image_size} by {self.patch_size}")
        if self.image == "codes" and not 0 < self.code_crop <= self.tokenizer.side:
            raise ConfigError("the crop must fit into the code map", expected=self.tokenizer.side, got=self.code_crop)

    @property
    def tokens(self) -> UnitTokens:
        return UnitTokens(self.units, self.numbering)

    @property
    def tokenizer(self) -> VitVQConfig:
        return VitVQConfig(
            self.tokenizer_dim,
            self.tokenizer_layers,
            self.tokenizer_mlp_dim,
            image_size=self.image_size,
            patch_size=self.tokenizer_patch,
            codes=self.codes,
            code_dim=self.code_dim,
        )

    @property
    def image_tokens(self) -> int:
        """N, class token included."""
        side = self.image_size // self.patch_size if self.image == "pixels" else self.code_crop // STRIDE
        return side * side + 1

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CaptionerConfig:
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def git(self) -> GitConfig:
        """The decoder, and for pixels the image side, as transformers describes them."""
        tokens, pixels = self.tokens, self.image == "pixels"
        vision = GitVisionConfig(
            hidden_size=self.vision_dim,
            intermediate_size=self.vision_mlp_dim,
            num_hidden_layers=self.vision_layers if pixels else 0,
            num_attention_heads=self.vision_heads,
            image_size=self.image_size,
            patch_size=self.patch_size if pixels else self.image_size,
        )
        return GitConfig(
            vision_config=vision.to_dict(),
            vocab_size=tokens.vocabulary,
            hidden_size=self.dim,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.mlp_dim,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            max_position_embeddings=self.max_tokens,
            pad_token_id=tokens.pad,
            bos_token_id=tokens.bos,
            eos_token_id=tokens.eos,
            tie_word_embeddings=True,  # the library's default leaves head and embedding apart
        )


class _CodesEncoder(nn.Module):
    """In the place of GIT's image encoder: takes code vectors, gives what the ViT on them gives."""

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.vision_model = TokenViT(
            config.code_dim,
            config.code_crop,
            config.vision_dim,
            config.vision_layers,
            config.vision_heads,
            config.vision_mlp_dim,
            config.classes,
        )

    def forward(self, pixel_values: Tensor, **_: object) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.vision_model(pixel_values))


class Captioner(nn.Module):
    """Images and units to scores of the next unit.

    Args:
        config: geometry.
    """

    codebook: Tensor

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.config = config
        self.model = GitForCausalLM(config.git())
        self.tokenizer: nn.Sequential | None = None
        if config.image == "codes":
            self.model.git.image_encoder = _CodesEncoder(config)
            for layer in self.model.git.encoder.layer:
                layer.attention.self.image_patch_tokens = config.image_tokens
            vitvq = config.tokenizer
            self.tokenizer = nn.Sequential(VQEncoder(vitvq), nn.Linear(vitvq.dim, vitvq.code_dim))
            self.tokenizer.requires_grad_(False)
            self.register_buffer("codebook", F.normalize(torch.randn(config.codes, config.code_dim), dim=-1))
        self.tie()
        adopt(self)

    def tie(self) -> None:
        """Make head and embedding one tensor (again, after loading weights by assignment)."""
        self.model.git.embeddings.word_embeddings.weight = self.model.output.weight

    # ------------------------------------------------------------------------------------------------------ image

    @torch.no_grad()
    def image_codes(self, pixels_B3HW: Tensor) -> Tensor:
        """Codes of images by the frozen tokenizer: (B, side, side) int64.

        Raises:
            ConfigError: a captioner that reads pixels.
        """
        if self.tokenizer is None:
            raise ConfigError("a captioner of pixels has no codes")
        side = self.config.tokenizer.side
        return nearest_codes(self.tokenizer(pixels_B3HW), self.codebook).unflatten(1, (side, side))

    def code_vectors(self, codes_BSS: Tensor) -> Tensor:
        """The centre of code maps as vectors, as the ViT on codes takes them: (B, Q, crop, crop)."""
        crop = self.config.code_crop
        top, left = ((size - crop) // 2 for size in codes_BSS.shape[1:])
        middle = codes_BSS[:, top : top + crop, left : left + crop]
        return self.codebook[middle].permute(0, 3, 1, 2)

    def image_input(self, images: Tensor) -> Tensor:
        """What the image encoder takes: of pixels (B, 3, H, W), of stored codes (B, side, side), or of code vectors
        (B, Q, crop, crop), which stay as they are."""
        if self.config.image == "pixels" or (images.ndim == 4 and images.shape[1] == self.config.code_dim != 3):
            return images
        return self.code_vectors(self.image_codes(images) if images.is_floating_point() else images.long())

    def encode(self, images: Tensor) -> Tensor:
        """Projected image tokens (B, N, D): what the decoder attends to, once per image."""
        git = self.model.git
        return git.visual_projection(git.image_encoder(self.image_input(images)).last_hidden_state)

    # ------------------------------------------------------------------------------------------------------- text

    def forward(self, images: Tensor, tokens_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Scores (B, L, V) of the token that follows each given one.

        Args:
            images: pixels (B, 3, H, W), or codes (B, side, side) of an integer type.
            tokens_BL: start and units, padded.
            lengths_B: tokens of each.
        """
        mask_BL = torch.arange(tokens_BL.shape[1], device=tokens_BL.device) < lengths_B[:, None]
        logits = self.model(
            input_ids=tokens_BL,
            attention_mask=mask_BL.long(),
            pixel_values=self.image_input(images),
            use_cache=False,
        ).logits
        return logits[:, self.config.image_tokens :]
