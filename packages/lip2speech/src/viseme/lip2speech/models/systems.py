"""Both systems whole: what a model directory holds, and one pass from lips to mel
(Kim, Hong and Ro: VCA-GAN, NeurIPS 2021; multi-task, ICASSP 2023).

B clips, T frames at 25 Hz, D features, S = 4T mel columns at 100 Hz.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from viseme.lip2speech.models.config import ContentConfig, ModelConfig, MultitaskConfig, VCAConfig
from viseme.lip2speech.models.discriminators import Discriminator, SyncDiscriminator
from viseme.lip2speech.models.generator import Generator, Postnet
from viseme.lip2speech.models.multitask import (
    ContentRecogniser,
    CTCLayer,
    MelHead,
    MultitaskVisualFront,
    SpeakerEncoder,
)
from viseme.lip2speech.models.visual import VisualFront

__all__ = ["MultitaskModel", "VCAGAN", "VCASpeech", "build_model", "build_recogniser"]


class VCASpeech(NamedTuple):
    """What VCA-GAN's inference gives: mel (B, 1, 80, S) and linear spectrogram (B, 1, bins, S), and both passes."""

    mel: Tensor
    spectrogram: Tensor
    direct: Tensor
    flipped: Tensor | None


class VCAGAN(nn.Module):
    """VCA-GAN with its critics.

    Attributes:
        config: its configuration.
        visual_front, generator, postnet: what speaks.
        discriminators: coarse, middle, fine.
        sync_discriminator: lips against mel.
    """

    def __init__(self, config: VCAConfig) -> None:
        super().__init__()
        self.config = config
        self.visual_front = VisualFront(config.widths, config.gru_layers, config.dropout)
        self.generator = Generator(config.features, config.generator, config.noise, config.attention)
        self.postnet = Postnet(config.mel_spec.n_mels, config.bins, config.postnet)
        self.discriminators = nn.ModuleList(
            Discriminator(blocks, config.features, config.discriminator, config.discriminator_limit)
            for blocks in (2, 3, 4)
        )
        self.sync_discriminator = SyncDiscriminator(config.sync, config.features, config.temperature)

    def speaking(self) -> list[nn.Module]:
        """The parts that the generator's optimiser moves, and that inference needs."""
        return [self.visual_front, self.generator, self.postnet]

    def judging(self) -> list[nn.Module]:
        """The parts that the discriminators' optimiser moves."""
        return [*self.discriminators, self.sync_discriminator]

    @torch.no_grad()
    def speak(
        self,
        video_B1THW: Tensor,
        lengths_B: Tensor | None = None,
        *,
        noise: Tensor | None = None,
        flipped_noise: Tensor | None = None,
        flip: bool = True,
    ) -> VCASpeech:
        """Inference as published: the mean of the mels of the lips and of their mirror image, and the postnet on it.

        Args:
            noise, flipped_noise: of the two passes, (B, channels, 20, T); drawn where None.
            flip: whether there is a second pass.
        """
        # The pictures one pass after the other, which take the memory; what follows, both at once.
        sides = [video_B1THW, video_B1THW.flip(-1)] if flip else [video_B1THW]
        local_BTD = torch.cat([self.visual_front.local(side) for side in sides])
        drawn = [
            self.generator.draw_noise(len(video_B1THW), local_BTD.shape[1]) if given is None else given
            for given in (noise, flipped_noise)[: len(sides)]
        ]
        lengths = None if lengths_B is None else lengths_B.repeat(len(sides))
        mels = self.generator(local_BTD, self.visual_front.context(local_BTD), lengths, torch.cat(drawn)).fine
        direct, flipped = mels.chunk(2) if flip else (mels, None)
        mel = direct if flipped is None else (direct + flipped) / 2
        return VCASpeech(mel, self.postnet(mel), direct, flipped)


class MultitaskModel(nn.Module):
    """The multi-task system.

    Attributes:
        config: its configuration.
        visual_front, speaker, mel_head: what speaks.
        ctc: the text branch.
    """

    def __init__(self, config: MultitaskConfig) -> None:
        super().__init__()
        self.config = config
        self.visual_front = MultitaskVisualFront(
            config.widths,
            config.dim,
            config.layers,
            config.heads,
            kernel=config.kernel,
            expansion=config.expansion,
            reduction=config.reduction,
            dropout=config.dropout,
            conformer_dropout=config.conformer_dropout,
            published_padding=config.published_padding,
        )
        self.ctc = CTCLayer(config.dim, config.vocabulary)
        one, two, three = config.speaker
        self.speaker = SpeakerEncoder(config.mel_spec.n_mels, (one, two, three), config.dim)
        self.mel_head = MelHead(config.dim, config.head, config.mel_spec.n_mels)

    @torch.no_grad()
    def speak(self, video_B1THW: Tensor, prompt_B1FP: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """Mel (B, 1, 80, S) of lips in the voice of a mel prompt (B, 1, 80, P)."""
        return self.mel_head(self.visual_front(video_B1THW, lengths_B), self.speaker(prompt_B1FP))


def build_recogniser(config: ContentConfig) -> ContentRecogniser:
    """A fresh recogniser for content supervision."""
    return ContentRecogniser(
        config.front,
        config.dim,
        config.layers,
        config.heads,
        kernel=config.kernel,
        expansion=config.expansion,
        vocabulary=config.vocabulary,
        dropout=config.dropout,
        published_padding=config.published_padding,
    )


def build_model(config: ModelConfig) -> VCAGAN | MultitaskModel | ContentRecogniser:
    """A fresh network of any configuration."""
    if isinstance(config, VCAConfig):
        return VCAGAN(config)
    return MultitaskModel(config) if isinstance(config, MultitaskConfig) else build_recogniser(config)
