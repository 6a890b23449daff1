"""ViT-VQGAN (Yu et al. 2022): images to discrete codes and back. Its encoder and codes are the image tokenizer of the
image-token captioner; the decoder shows what codes keep.

Keys are the published ones (thuanz123/enhancing-transformers, MIT). Attention has no bias on queries, keys and values,
and the MLP's activation is tanh.

B images, N tokens (rows x columns, row-major), D width, K codes, Q code dimension, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.errors import CheckpointError, ConfigError

__all__ = ["Quantiser", "VQEncoder", "ViTVQ", "VitVQConfig", "nearest_codes", "sincos_table"]

HEAD_DIM = 64


@dataclass(frozen=True)
class VitVQConfig:
    """Attributes:
    dim, layers, mlp_dim: of the encoder; heads are `dim / 64`.
    decoder_dim, decoder_layers, decoder_mlp_dim: of the decoder.
    image_size, patch_size: pixels.
    codes, code_dim: of the codebook.
    """

    dim: int = 768
    layers: int = 12
    mlp_dim: int = 3072
    decoder_dim: int = 768
    decoder_layers: int = 12
    decoder_mlp_dim: int = 3072
    image_size: int = 256
    patch_size: int = 8
    codes: int = 8192
    code_dim: int = 32

    def __post_init__(self) -> None:
        if self.dim % HEAD_DIM or self.decoder_dim % HEAD_DIM:
            raise ConfigError("widths are multiples of the head's", expected=HEAD_DIM, got=(self.dim, self.decoder_dim))
        if self.image_size % self.patch_size:
            raise ConfigError("an image is a whole number of patches", got=f"{self.image_size} by {self.patch_size}")

    @property
    def side(self) -> int:
        """Tokens along a side."""
        return self.image_size // self.patch_size

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> VitVQConfig:
        """The geometry of published autoencoder weights."""
        try:
            codes, code_dim = state["quantizer.embedding.weight"].shape
            positions = state["encoder.en_pos_embedding"].shape[1]
            dim, _, patch, _ = state["encoder.to_patch_embedding.0.weight"].shape
            return cls(
                dim,
                count_layers(state, "encoder.transformer.layers."),
                state["encoder.transformer.layers.0.1.fn.net.0.weight"].shape[0],
                state["decoder.de_pos_embedding"].shape[2],
                count_layers(state, "decoder.transformer.layers."),
                state["decoder.transformer.layers.0.1.fn.net.0.weight"].shape[0],
                round(positions**0.5) * patch,
                patch,
                codes,
                code_dim,
            )
        except KeyError as error:
            raise CheckpointError("not the weights of a ViT-VQGAN", got=f"no {error}") from error


def count_layers(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered layers a state dict has below a prefix."""
    numbers = {int(key.removeprefix(prefix).partition(".")[0]) for key in state if key.startswith(prefix)}
    return len(numbers)


def sincos_table(side: int, dim: int) -> Tensor:
    """Fixed positions (1, side * side, dim): sines and cosines of the column in the first half, of the row in the
    second; computed in float64."""
    omega = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    place = torch.arange(side * side)
    halves = [axis[:, None] * omega for axis in (place % side, place // side)]
    table = torch.cat([wave(half) for half in halves for wave in (torch.sin, torch.cos)], dim=1)
    return table[None].float()


class _PreNorm(nn.Module):
    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim), fn

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.fn(self.norm(x_BND))


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        q, k, v = (part.unflatten(2, (-1, HEAD_DIM)).transpose(1, 2) for part in self.to_qkv(x_BND).chunk(3, dim=-1))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, dim))

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.net(x_BND)


class _Transformer(nn.Module):
    def __init__(self, dim: int, layers: int, mlp_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([_PreNorm(dim, _Attention(dim)), _PreNorm(dim, _FeedForward(dim, mlp_dim))])
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        for layer in self.layers:
            attention, feed_forward = layer  # type: ignore[misc]
            x_BND = x_BND + attention(x_BND)
            x_BND = x_BND + feed_forward(x_BND)
        return self.norm(x_BND)


class VQEncoder(nn.Module):
    """Pixels (B, 3, H, W) -> (B, N, D)."""

    def __init__(self, config: VitVQConfig) -> None:
        super().__init__()
        patch = config.patch_size
        self.to_patch_embedding = nn.Sequential(nn.Conv2d(3, config.dim, patch, stride=patch))
        self.en_pos_embedding = nn.Parameter(sincos_table(config.side, config.dim), requires_grad=False)
        self.transformer = _Transformer(config.dim, config.layers, config.mlp_dim)

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        tokens_BND = self.to_patch_embedding(pixels_B3HW).flatten(2).transpose(1, 2)
        return self.transformer(tokens_BND + self.en_pos_embedding)


class VQDecoder(nn.Module):
    """(B, N, D) -> pixels (B, 3, H, W)."""

    def __init__(self, config: VitVQConfig) -> None:
        super().__init__()
        patch, self.side = config.patch_size, config.side
        self.de_pos_embedding = nn.Parameter(sincos_table(config.side, config.decoder_dim), requires_grad=False)
        self.transformer = _Transformer(config.decoder_dim, config.decoder_layers, config.decoder_mlp_dim)
        self.to_pixel = nn.Sequential(
            nn.Identity(), nn.ConvTranspose2d(config.decoder_dim, 3, patch, stride=patch)
        )  # the published place of the convolution is the second

    def forward(self, tokens_BND: Tensor) -> Tensor:
        hidden_BND = self.transformer(tokens_BND + self.de_pos_embedding)
        return self.to_pixel(hidden_BND.transpose(1, 2).unflatten(2, (self.side, self.side)))


def nearest_codes(features_BNQ: Tensor, codebook_KQ: Tensor) -> Tensor:
    """The code of each feature by cosine: (B, N) int64."""
    return (F.normalize(features_BNQ, dim=-1) @ F.normalize(codebook_KQ, dim=-1).T).argmax(-1)


class Quantiser(nn.Module):
    """Unit-length vector quantisation with a straight-through gradient (van den Oord et al. 2017)."""

    def __init__(self, codes: int, dim: int, commitment: float = 0.25) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, dim)
        self.commitment = commitment

    def lookup(self, codes_BN: Tensor) -> Tensor:
        """Unit-length code vectors (B, N, Q)."""
        return F.normalize(self.embedding(codes_BN), dim=-1)

    def forward(self, features_BNQ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantised unit vectors (B, N, Q), loss, codes (B, N)."""
        unit_BNQ = F.normalize(features_BNQ, dim=-1)
        codes_BN = nearest_codes(features_BNQ, self.embedding.weight)
        quantised_BNQ = self.lookup(codes_BN)
        loss = self.commitment * F.mse_loss(unit_BNQ, quantised_BNQ.detach())
        loss = loss + F.mse_loss(quantised_BNQ, unit_BNQ.detach())
        return unit_BNQ + (quantised_BNQ - unit_BNQ).detach(), loss, codes_BN


class ViTVQ(nn.Module):
    """The autoencoder."""

    def __init__(self, config: VitVQConfig, commitment: float = 0.25) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = VQEncoder(config), VQDecoder(config)
        self.quantizer = Quantiser(config.codes, config.code_dim, commitment)
        self.pre_quant = nn.Linear(config.dim, config.code_dim)
        self.post_quant = nn.Linear(config.code_dim, config.decoder_dim)

    def features(self, pixels_B3HW: Tensor) -> Tensor:
        """What is quantised: (B, N, Q)."""
        return self.pre_quant(self.encoder(pixels_B3HW))

    def codes(self, pixels_B3HW: Tensor) -> Tensor:
        """(B, N) int64."""
        return nearest_codes(self.features(pixels_B3HW), self.quantizer.embedding.weight)

    def decode(self, codes_BN: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) of codes."""
        return self.decoder(self.post_quant(self.quantizer.lookup(codes_BN)))

    def forward(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction and quantiser loss."""
        quantised_BNQ, loss, _ = self.quantizer(self.features(pixels_B3HW))
        return self.decoder(self.post_quant(quantised_BNQ)), loss
