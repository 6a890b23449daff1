"""What a captioner in training says: pictures and spoken samples in TensorBoard, at each validation."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from viseme.core.layers.hifigan import UnitVocoder
from viseme.im2speech.data import CaptionBatch
from viseme.im2speech.decoding import GenerationConfig, generate
from viseme.im2speech.images import CLIP_MEAN, CLIP_STD
from viseme.im2speech.tokens import deduplicate

__all__ = ["SpokenSamples"]


class SpokenSamples(Callback):
    """Logs the first pictures of the validation list with their captions as units, and as sound where there is a voice.

    Args:
        vocoder: the voice, or None.
        count: pictures.
    """

    def __init__(self, vocoder: UnitVocoder | None, count: int = 3) -> None:
        self.vocoder, self.count = vocoder, count

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: CaptionBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        logger = trainer.logger
        if (
            batch_idx
            or trainer.sanity_checking
            or not trainer.is_global_zero
            or not isinstance(logger, TensorBoardLogger)
        ):
            return
        captioner: Any = pl_module.model
        images = batch["images"][: self.count]
        longest = min(512, captioner.config.max_tokens)
        with torch.no_grad():
            found = generate(captioner.model, captioner.encode(images), GenerationConfig(1, longest))
        for number, one in enumerate(found):
            units = deduplicate(captioner.config.tokens.parse(one.tokens))
            name, step = batch["names"][number], trainer.global_step
            logger.experiment.add_image(f"picture/{name}", self._picture(images[number], captioner), step)
            logger.experiment.add_text(f"units/{name}", " ".join(map(str, units)), step)
            if self.vocoder is not None and units:
                sound = self.vocoder.cpu().speak(torch.tensor(units), durations=self.vocoder.config.duration)
                logger.experiment.add_audio(f"spoken/{name}", sound[None].numpy(), step, self.vocoder.config.rate)

    @staticmethod
    def _picture(image: torch.Tensor, captioner: Any) -> torch.Tensor:
        """As it was before normalisation."""
        pixels = image.float().cpu()
        if captioner.config.image == "pixels":
            pixels = pixels * torch.tensor(CLIP_STD)[:, None, None] + torch.tensor(CLIP_MEAN)[:, None, None]
        return pixels.clamp(0, 1)
