"""The ViT that reads maps of code vectors (SeiT, Park et al. 2023), with timm's names: what stands in the place of
pixels' ViT in the image-token captioner.

As published, the forward pass stops after the last block: the final norm and the classifier are in the weights (they
come with the ImageNet classifier that training may start from) and are not used.

B images, Q code dimension, S side of the map, N tokens (patches + 1), D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["TokenViT"]

STRIDE = 2


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x_BND).chunk(3, dim=-1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_BND)))


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), _Attention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=1e-6), _MLP(dim, mlp_dim)

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.attn(self.norm1(x_BND))
        return x_BND + self.mlp(self.norm2(x_BND))


class _PatchEmbedding(nn.Module):
    def __init__(self, code_dim: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(code_dim, dim, 4, stride=STRIDE, padding=1)

    def forward(self, map_BQSS: Tensor) -> Tensor:
        return self.proj(map_BQSS).flatten(2).transpose(1, 2)


class TokenViT(nn.Module):
    """Code vectors (B, Q, S, S) -> (B, N, D), class token first.

    Args:
        code_dim: Q.
        side: S.
        dim, layers, heads, mlp_dim: of the transformer.
        classes: of the unused classifier; 0 leaves it and the final norm out.
    """

    def __init__(
        self, code_dim: int, side: int, dim: int, layers: int, heads: int, mlp_dim: int, classes: int = 1000
    ) -> None:
        super().__init__()
        self.tokens = (side // STRIDE) ** 2 + 1
        self.patch_embed = _PatchEmbedding(code_dim, dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, self.tokens, dim))
        self.blocks = nn.ModuleList(_Block(dim, heads, mlp_dim) for _ in range(layers))
        if classes:
            self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, classes)
            for unused in (*self.norm.parameters(), *self.head.parameters()):
                unused.requires_grad_(False)  # DDP waits for the gradient of every parameter that wants one
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, map_BQSS: Tensor) -> Tensor:
        x_BND = self.patch_embed(map_BQSS)
        x_BND = torch.cat([self.cls_token.expand(len(x_BND), -1, -1), x_BND], dim=1) + self.pos_embed
        for block in self.blocks:
            x_BND = block(x_BND)
        return x_BND
