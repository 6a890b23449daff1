"""The fine-tuned recogniser: RAVEn's encoder, a CTC head and an attention decoder over sub-word units.

State-dict keys are the published ones: `encoder.*`, `ctc.ctc_lo.*`, `decoder.*` (`decoder.proj_decoder` only where the
decoder has another width than the encoder).

B clips, T frames at 25 Hz, D channels, L tokens, V units.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from viseme.core.errors import ConfigError
from viseme.core.layers.ctc import CTCHead
from viseme.core.layers.transformer import TransformerDecoder
from viseme.raven.models.encoder import Encoded, Encoder, EncoderConfig, Modality, from_fields

__all__ = ["DECODER_PRESETS", "Recogniser", "RecogniserConfig", "build_heads"]


@dataclass(frozen=True)
class RecogniserConfig:
    """All that shapes a recogniser.

    Attributes:
        encoder: of the one modality it reads.
        vocabulary: V (published: 1049); blank is 0, and the last unit is both sos and eos.
        decoder_dim, decoder_heads, decoder_units, decoder_blocks: of the attention decoder; the defaults are the
            narrow one of the low-resource models.
    """

    encoder: EncoderConfig
    vocabulary: int = 1049
    decoder_dim: int = 256
    decoder_heads: int = 4
    decoder_units: int = 2048
    decoder_blocks: int = 6

    def __post_init__(self) -> None:
        if isinstance(self.encoder, dict):  # from a file
            object.__setattr__(self, "encoder", from_fields(EncoderConfig, self.encoder))
        if self.decoder_dim % self.decoder_heads:
            raise ConfigError("heads must divide the width", got=f"decoder {self.decoder_dim} / {self.decoder_heads}")
        if self.vocabulary < 2:
            raise ConfigError("a vocabulary has at least blank and eos", got=self.vocabulary)

    @property
    def blank(self) -> int:
        return 0

    @property
    def eos(self) -> int:
        """Also the start symbol."""
        return self.vocabulary - 1

    @property
    def modality(self) -> Modality:
        return self.encoder.modality

    @classmethod
    def preset(
        cls, name: str, modality: Modality, decoder: str = "narrow", *, vocabulary: int = 1049, **changes: Any
    ) -> RecogniserConfig:
        """An encoder's geometry with a decoder: `narrow` (low-resource), `wide` (high-resource, self-training), or
        `small` and `tiny` beside such encoders. `changes` are fields of the encoder or, named `decoder_*`, of the
        decoder."""
        own = {key: changes.pop(key) for key in list(changes) if key.startswith("decoder_")}
        encoder = EncoderConfig.preset(name, modality, **changes)
        return cls(encoder, vocabulary, **{**decoder_preset(decoder, encoder), **own})

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> RecogniserConfig:
        """The inverse of `to_dict`. Raises `ConfigError` for unknown or missing fields."""
        return from_fields(cls, fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a configuration file."""
        return {**dataclasses.asdict(self), "encoder": self.encoder.to_dict()}


def decoder_preset(name: str | tuple[int, ...], encoder: EncoderConfig) -> dict[str, int]:
    """The `decoder_*` fields of a decoder beside an encoder, by its name or its four sizes."""
    if not isinstance(name, str):
        return dict(zip(DECODER_FIELDS, name, strict=True))
    if name == "wide":  # as wide as the encoder; nine blocks beside Large (published), six otherwise
        blocks = 9 if encoder.blocks > 12 else 6
        sizes = (encoder.dim, encoder.heads, encoder.units, blocks)
    elif name in DECODER_PRESETS:
        sizes = DECODER_PRESETS[name]
    else:
        raise ConfigError("unknown decoder", expected=" or ".join(["wide", *DECODER_PRESETS]), got=repr(name))
    return dict(zip(DECODER_FIELDS, sizes, strict=True))


DECODER_FIELDS = ("decoder_dim", "decoder_heads", "decoder_units", "decoder_blocks")
DECODER_PRESETS = {"narrow": (256, 4, 2048, 6), "small": (128, 4, 512, 2), "tiny": (32, 2, 64, 1)}


def build_heads(config: RecogniserConfig) -> tuple[CTCHead, TransformerDecoder]:
    """The CTC head and the decoder of a recogniser (also of pre-training's probes)."""
    dropout = config.encoder.dropout
    decoder = TransformerDecoder(
        config.vocabulary,
        config.decoder_dim,
        config.decoder_heads,
        config.decoder_units,
        config.decoder_blocks,
        dropout,
        memory_dim=config.encoder.dim,
    )
    return CTCHead(config.encoder.dim, config.vocabulary, dropout), decoder


class Recogniser(nn.Module):
    """A recogniser of one configuration.

    Attributes:
        config: its configuration.
        decoder: full scorer of the beam search, and teacher-forced decoder of training.
        ctc: the CTC head.
    """

    def __init__(self, config: RecogniserConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder)
        self.ctc, self.decoder = build_heads(config)

    @torch.no_grad()
    def start_at_unit_scale(self) -> None:
        """As `Encoder.start_at_unit_scale`, and the decoder's word embedding likewise; before any training."""
        self.encoder.start_at_unit_scale()
        self.decoder.embed[0].weight.div_(self.config.decoder_dim**0.5)

    def encode(self, x: Tensor, lengths_B: Tensor | None = None) -> Encoded:
        """As `Encoder.encode`."""
        return self.encoder.encode(x, lengths_B)

    def forward(self, tokens_BL: Tensor, x: Tensor, lengths_B: Tensor | None = None) -> tuple[Encoded, Tensor]:
        """Encode, and decode teacher-forced: what training needs, in one call (so that DDP and `compile` see it).

        Args:
            tokens_BL: (B, L) sos and labels, padded with eos.
            x, lengths_B: as `encode`.

        Returns:
            What `encode` returns, and the decoder's output before `decoder.output_layer` (B, L, D).
        """
        encoded = self.encode(x, lengths_B)
        return encoded, self.decoder.hidden(tokens_BL, encoded.memory, encoded.mask)
