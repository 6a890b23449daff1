"""A neural vocoder for both systems: HiFi-GAN (Kong et al. 2020) from their mels to sound, trained on real speech.

B clips, T mel columns at 100 Hz, S = 160 T samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.checkpoint import load_model_dir, save_model_dir
from viseme.core.data import BatchSampler, ClipDataset, ClipLoader, Item, Manifest, ManifestRow
from viseme.core.errors import CheckpointError, DataError
from viseme.core.layers import HiFiGANGenerator
from viseme.core.layers.hifigan import plain_weights
from viseme.core.layers.hifigan_discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator, judge
from viseme.core.losses import multi_resolution_stft_loss
from viseme.core.losses.vocoder import VocoderMel, adversarial_loss, discriminator_loss, feature_matching_loss
from viseme.core.signal import peak_normalise
from viseme.core.types import Clip
from viseme.lip2speech.models.config import SpectrumConfig, VocoderConfig, model_config
from viseme.lip2speech.sound import analyse
from viseme.lip2speech.spectrum import SpectrumNet, SpectrumVocoder
from viseme.lip2speech.streaming import in_pieces

__all__ = ["MelVocoder", "VocoderObjective", "VocoderTask", "load_vocoder", "vocoder_loader"]

CONTEXT = 24
"""Columns to either side of a piece that the network sees and whose sound is not used."""


class MelVocoder:
    """A vocoder ready to use.

    Args:
        generator: the network.
        config: its configuration.
        device: where it runs.
    """

    def __init__(self, generator: HiFiGANGenerator, config: VocoderConfig, device: str | torch.device = "cpu") -> None:
        self.generator, self.config, self.device = generator.eval().to(device), config, torch.device(device)

    def save(self, directory: str | Path, *, card: str = "") -> Path:
        """Write a model directory."""
        content = {"package": "lip2speech", "model": self.config.to_dict()}
        return save_model_dir(directory, content, self.generator.state_dict(), card=card)

    @torch.inference_mode()
    def __call__(self, mel: Tensor) -> Tensor:
        """(80, T) normalised mel -> (160 T,) in [-1, 1]."""
        return self.generator(mel[None].to(self.device))[0, 0].float().cpu()

    def stream(self, pieces: Iterable[Tensor], *, seed: int = 0) -> Iterator[Tensor]:
        """The same for mels that come in pieces (80, t); the sound does not depend on where they were cut, nor on
        `seed`: nothing is drawn."""
        yield from in_pieces(self, pieces, context=CONTEXT, hop=self.config.mel_spec.hop)


def load_vocoder(directory: str | Path, device: str | torch.device = "cpu") -> MelVocoder | SpectrumVocoder:
    """Load a model directory that `lip2speech train` made of a `vocoder` or `spectrum` recipe.

    Raises:
        CheckpointError: not one.
    """
    folder = load_model_dir(directory)
    config = model_config(folder.config["model"]) if "model" in folder.config else None
    if isinstance(config, SpectrumConfig):
        network = SpectrumNet(config)
        network.load_state_dict(folder.state)
        return SpectrumVocoder(network, device)
    if not isinstance(config, VocoderConfig):
        raise CheckpointError("not a vocoder of viseme-lip2speech", path=directory)
    generator = HiFiGANGenerator(config.geometry)
    generator.load_state_dict(folder.state)
    return MelVocoder(generator, config, device)


@dataclass
class VocoderObjective:
    """Attributes:
    mel_weight, feature_weight: published: 45 and 2.
    stft_weight: of a multi-resolution STFT loss, which small generators learn from sooner (published: 0).
    adversarial_after: steps without discriminators; -1: they never join.
    segment_columns: mel columns of a training segment (0.5 s).
    """

    mel_weight: float = 45.0
    feature_weight: float = 2.0
    stft_weight: float = 0.0
    adversarial_after: int = 0
    segment_columns: int = 50


class VocoderTask(lightning.LightningModule):
    """Trains a vocoder; `trainer.max_steps` counts optimiser steps, two a batch once adversarial."""

    def __init__(
        self, config: VocoderConfig, objective: VocoderObjective | None = None, *, lr: float = 2e-4, decay: float = 0.01
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.objective, self.lr, self.decay = config, objective or VocoderObjective(), lr, decay
        self.generator = HiFiGANGenerator(config.geometry, normalised=True)
        self.discriminators = nn.ModuleList()
        if self.objective.adversarial_after >= 0:
            self.discriminators.append(MultiPeriodDiscriminator(width=config.period_width))
            self.discriminators.append(MultiScaleDiscriminator(width=config.scale_width))
        spec = config.mel_spec
        self._mel = VocoderMel(spec.rate, 1024, spec.hop, 1024, spec.n_mels)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> dict[str, Tensor]:
        mel, real = batch["mel"], batch["samples"][:, None]
        made: Any = self.optimizers()
        ours, theirs = made if isinstance(made, list) else (made, None)
        fake = self.generator(mel)
        adversarial = theirs is not None and batch_index + self.current_epoch * self._batches() >= (
            self.objective.adversarial_after
        )
        parts: Any = self.discriminators
        if adversarial:
            judged = discriminator_loss(judge(parts, real)[0], judge(parts, fake.detach())[0])
            theirs.zero_grad()
            self.manual_backward(judged)
            theirs.step()
            self.log("train/dis_loss", judged.detach(), batch_size=len(mel))
        distance = F.l1_loss(self._mel(fake), self._mel(real))
        loss = self.objective.mel_weight * distance
        if self.objective.stft_weight:
            spectra = multi_resolution_stft_loss(fake[:, 0], real[:, 0])
            loss = loss + self.objective.stft_weight * spectra
        if adversarial:
            _, wanted = judge(parts, real)
            scores, features = judge(parts, fake)
            loss = loss + adversarial_loss(scores)
            loss = loss + self.objective.feature_weight * feature_matching_loss(wanted, features)
        ours.zero_grad()
        self.manual_backward(loss)
        ours.step()
        self.log("loss", distance.detach(), batch_size=len(mel), prog_bar=True)
        return {"loss": distance.detach()}

    def _batches(self) -> int:
        return max(1, int(self.trainer.num_training_batches))

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        distance = F.l1_loss(self._mel(self.generator(batch["mel"])), self._mel(batch["samples"][:, None]))
        self.log("val/recon_loss", distance, batch_size=len(batch["mel"]), sync_dist=True)

    def on_train_epoch_end(self) -> None:
        schedulers: Any = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()

    def configure_optimizers(self) -> Any:
        groups = [self.generator.parameters()]
        if len(self.discriminators):
            groups.append(self.discriminators.parameters())
        made = [torch.optim.AdamW(g, self.lr, betas=(0.8, 0.99), weight_decay=self.decay) for g in groups]
        return made, [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999) for optimizer in made]

    def finished(self) -> MelVocoder:
        """The generator with plain weights."""
        generator = HiFiGANGenerator(self.config.geometry)
        generator.load_state_dict(plain_weights(self.generator))
        return MelVocoder(generator, self.config)


class _Segment:
    """A random half second of a clip with its mel and linear magnitudes; a shorter clip is filled with silence."""

    def __init__(self, config: VocoderConfig | SpectrumConfig, columns: int, *, training: bool) -> None:
        self.spec, self.columns, self.training = config.mel_spec, columns, training

    def __call__(self, clip: Clip, row: ManifestRow, generator: torch.Generator) -> dict[str, Tensor]:
        assert clip.audio is not None
        samples = peak_normalise(torch.from_numpy(clip.audio.samples))
        hop, wanted = self.spec.hop, self.spec.hop * self.columns
        if len(samples) < self.spec.n_fft:
            raise DataError("too short to learn from", got=f"{len(samples)} samples")
        if len(samples) < wanted:
            samples = F.pad(samples, (0, wanted - len(samples)))
        mel, magnitude = analyse(samples, self.spec)
        last = (len(samples) - wanted) // hop
        start = int(torch.randint(last + 1, (), generator=generator)) if self.training else last // 2
        own = slice(start, start + self.columns)
        return {
            "mel": mel[:, own],
            "magnitude": magnitude[:, own],
            "samples": samples[hop * start : hop * start + wanted],
        }


def _collate(items: list[Item]) -> dict[str, Tensor]:
    return {key: torch.stack([item.value[key] for item in items]) for key in ("mel", "magnitude", "samples")}


def vocoder_loader(
    config: VocoderConfig | SpectrumConfig,
    clips: Manifest,
    *,
    columns: int,
    batch_size: int,
    workers: int,
    cache_bytes: int,
    seed: int,
    training: bool,
    rank: int = 0,
    world_size: int = 1,
) -> ClipLoader:
    """Segments of the sound of clips."""
    dataset: ClipDataset[dict[str, Tensor]] = ClipDataset(
        clips,
        _Segment(config, columns, training=training),
        video=False,
        seed=seed,
        on_error="replace" if training else "raise",
        cache_bytes=cache_bytes,
    )
    sampler = BatchSampler([1] * len(clips), batch_size, shuffle=training, seed=seed, rank=rank, world_size=world_size)
    return ClipLoader(dataset, sampler, _collate, workers=workers, pin_memory=torch.cuda.is_available())
