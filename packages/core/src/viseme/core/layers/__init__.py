"""Layers that the task packages share: 3-D and 1-D ResNet front-ends, attention in its published variants, conformer
and transformer blocks, the decoder with its key/value cache, and masks.

State-dict keys are those of the published models, misspelt ones included, so that converters are renames.
"""

from __future__ import annotations

from viseme.core.layers.attention import MultiHeadAttention
from viseme.core.layers.conformer import AttentionKind, ConformerBlock, ConformerEncoder, ConvolutionModule
from viseme.core.layers.ctc import CTCHead
from viseme.core.layers.feed_forward import FeedForward
from viseme.core.layers.frontends import SAMPLES_PER_FRAME, AudioFrontend, VisualFrontend
from viseme.core.layers.hifigan import HiFiGANConfig, HiFiGANGenerator, UnitVocoder, UnitVocoderConfig
from viseme.core.layers.language_model import TransformerLM
from viseme.core.layers.masks import causal_mask, padding_mask
from viseme.core.layers.positions import AbsolutePositions, RelativePositions, ReversedPositions
from viseme.core.layers.relative_attention import LegacyRelativeAttention, RelativeAttention
from viseme.core.layers.resnet import Activation, BasicBlock, ResNetTrunk
from viseme.core.layers.transformer import DecoderBlock, TransformerBlock, TransformerDecoder

__all__ = [
    "SAMPLES_PER_FRAME",
    "AbsolutePositions",
    "Activation",
    "AttentionKind",
    "AudioFrontend",
    "BasicBlock",
    "CTCHead",
    "ConformerBlock",
    "ConformerEncoder",
    "ConvolutionModule",
    "DecoderBlock",
    "FeedForward",
    "HiFiGANConfig",
    "HiFiGANGenerator",
    "LegacyRelativeAttention",
    "MultiHeadAttention",
    "RelativeAttention",
    "RelativePositions",
    "ResNetTrunk",
    "ReversedPositions",
    "TransformerBlock",
    "TransformerDecoder",
    "TransformerLM",
    "UnitVocoder",
    "UnitVocoderConfig",
    "VisualFrontend",
    "causal_mask",
    "padding_mask",
]
