"""The LightningModule: objective, optimiser, schedule, what is logged.

Logged each step: `loss`, `loss_ctc`, `loss_att`, `decoder_acc`; at validation the same with `_val`, and `wer_val` from
greedy CTC (with `wer_video_val` and `wer_audio_val` for models that also read from one modality). A batch is core's
`RecognitionBatch`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import lightning
import torch
from torch import Tensor

from viseme.avsr.model import AVSRModel, Encoded
from viseme.avsr.objective import HybridLosses, HybridObjective
from viseme.core.data.recognition import RecognitionBatch
from viseme.core.decoding import ctc_greedy
from viseme.core.errors import ConfigError
from viseme.core.metrics import word_error_rate
from viseme.core.text import Tokenizer
from viseme.core.training import shard, warmup_cosine_scheduler

__all__ = ["AVSRTask", "ModalityDropout", "OptimConfig"]


@dataclass
class OptimConfig:
    """The Hydra group `optim`: AdamW with linear warm-up and cosine decay, stepped per batch, and the loss.

    Attributes:
        lr: peak learning rate.
        betas, eps, weight_decay: of AdamW; the decay is on all parameters, as published.
        warmup_epochs: length of the warm-up; fractions allowed.
        schedule: `fixed`, `current` or `v1`; see `viseme.core.training.schedules`.
        ctc_weight, label_smoothing, normalize, path_weight: see `HybridObjective`.
        unit_start: start with residual streams of unit scale: projections and embeddings, which the model multiplies by
            the root of its width, start that much smaller, so that the first blocks are heard from the beginning.
            Small models learn sooner; published training does without.
        frame_budget: frames of one optimiser step over all devices; see `viseme.avsr.stages.budgeted`.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.03
    warmup_epochs: float = 5.0
    schedule: str = "fixed"
    ctc_weight: float = 0.1
    label_smoothing: float = 0.1
    normalize: str = "batch"
    path_weight: float = 0.0
    unit_start: bool = False
    frame_budget: int | None = None

    @property
    def objective(self) -> HybridObjective:
        normalize: Any = self.normalize
        return HybridObjective(self.ctc_weight, self.label_smoothing, normalize, self.path_weight)


@dataclass(frozen=True)
class ModalityDropout:
    """How an audio-visual model is taught to do with one modality.

    Attributes:
        video, audio, both: how often a batch shows what, relatively.
        every_way: instead of drawing, read every batch in all three ways. A branch is computed once for the two ways
            that need it, so this costs as much as showing both, and every step teaches all three.
    """

    video: float = 0.0
    audio: float = 0.0
    both: float = 1.0
    every_way: bool = False

    def __post_init__(self) -> None:
        if min(self.video, self.audio, self.both) < 0 or self.video + self.audio + self.both <= 0:
            raise ConfigError("modality frequencies must not be negative, nor all zero", got=asdict(self))

    @property
    def active(self) -> bool:
        return self.every_way or self.video > 0 or self.audio > 0

    def draw(self) -> tuple[bool, bool]:
        """(use video, use audio) of a batch, from torch's global generator, which every training step seeds."""
        choice = int(torch.multinomial(torch.tensor([self.video, self.audio, self.both]), 1))
        return choice != 1, choice != 0


class AVSRTask(lightning.LightningModule):
    """Trains an `AVSRModel`.

    Args:
        model: the network.
        tokenizer: turns ids into text, for validation's WER.
        optim: optimiser, schedule and loss.
        modality_dropout: for audio-visual models with `optional_modalities`.
        batches_per_epoch: of this rank, for the schedule.

    Raises:
        ConfigError: modality dropout with another model.
    """

    def __init__(
        self,
        model: AVSRModel,
        tokenizer: Tokenizer,
        optim: OptimConfig | None = None,
        modality_dropout: ModalityDropout | None = None,
        *,
        batches_per_epoch: int = 1,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.optim = optim or OptimConfig()
        self.batches_per_epoch = batches_per_epoch
        self.objective = self.optim.objective
        self.modality_dropout = modality_dropout or ModalityDropout()
        if self.modality_dropout.active and not model.config.optional_modalities:
            raise ConfigError("modality dropout needs a model with optional_modalities")
        self._references: list[str] = []
        self._hypotheses: defaultdict[str, list[str]] = defaultdict(list)

    def configure_model(self) -> None:
        shard(self.model, self.device_mesh)

    def training_step(self, batch: RecognitionBatch, batch_index: int) -> Tensor:
        losses = self._losses(batch, self._shown(batch), every_way=self.modality_dropout.every_way)
        self._log(losses, "", len(batch["ids"]))
        return losses.loss

    def validation_step(self, batch: RecognitionBatch, batch_index: int) -> None:
        inputs = model_inputs(batch)
        self._log(self._losses(batch, inputs), "_val", len(batch["ids"]))
        for way, encoded in self._ways(inputs).items():
            found = ctc_greedy(self.model.ctc(encoded.memory), encoded.lengths)
            self._hypotheses[way] += [self.tokenizer.decode(ids) for ids in found]
        self._references += batch["texts"]

    def on_validation_epoch_end(self) -> None:
        if any(text.split() for text in self._references):
            for way, hypotheses in self._hypotheses.items():
                rate = word_error_rate(self._references, hypotheses).rate
                own = way == self.model.config.modality
                self.log("wer_val" if own else f"wer_{way}_val", rate, prog_bar=own, sync_dist=True)
        self._references, self._hypotheses = [], defaultdict(list)

    def _ways(self, inputs: dict[str, Tensor | None]) -> dict[str, Encoded]:
        """A batch encoded in every way that the model reads it."""
        config = self.model.config
        if not config.optional_modalities:
            return {config.modality: self.model.encode(**inputs)}
        every = self.model.encode_every_way(**inputs)  # type: ignore[arg-type]
        parts = zip(every.memory.chunk(3), every.lengths.chunk(3), strict=True)
        return {way: Encoded(*part, None) for way, part in zip(("video", "audio", "audiovisual"), parts, strict=True)}

    def _shown(self, batch: RecognitionBatch) -> dict[str, Tensor | None]:
        """The batch's inputs after modality dropout.

        One draw for the whole batch, so that the branch that is left out need not be computed. Over several
        processes it is computed and covered all the same: DDP waits for the gradient of every parameter.
        """
        inputs = model_inputs(batch)
        if self.modality_dropout.every_way or not self.modality_dropout.active:
            return inputs
        use = dict(zip(("video", "audio"), self.modality_dropout.draw(), strict=True))
        for name, used in use.items():
            if self.trainer.world_size > 1:
                clips = len(batch["ids"])
                inputs[f"use_{name}_B"] = torch.full((clips,), used, device=self.device)
            elif not used:
                inputs[name] = inputs[f"{name}_lengths_B"] = None
        return inputs

    def _losses(
        self, batch: RecognitionBatch, inputs: dict[str, Tensor | None], *, every_way: bool = False
    ) -> HybridLosses:
        return self.objective(
            self.model,
            batch["targets"],
            batch["target_lengths"],
            paths_BT=batch["paths"],
            every_way=every_way,
            **inputs,
        )

    def _log(self, losses: HybridLosses, suffix: str, clips: int) -> None:
        named = {"loss": losses.loss.detach(), "loss_ctc": losses.ctc, "loss_att": losses.att}
        named["decoder_acc"] = losses.accuracy.float()
        for name, value in named.items():
            self.log(f"{name}{suffix}", value, batch_size=clips, prog_bar=name == "loss", sync_dist=bool(suffix))

    def configure_optimizers(self) -> Any:
        options = self.optim
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            options.lr,
            betas=(options.betas[0], options.betas[1]),
            eps=options.eps,
            weight_decay=options.weight_decay,
        )
        epochs = self.trainer.max_epochs or 1
        scheduler = warmup_cosine_scheduler(
            optimizer,
            warmup_epochs=min(options.warmup_epochs, epochs / 2),
            total_epochs=epochs,
            # Not from the trainer's estimate: asking for it opens the data before a checkpoint can say where to go on.
            # What is left over at the end of an epoch makes a step of its own.
            steps_per_epoch=math.ceil(self.batches_per_epoch / self.trainer.accumulate_grad_batches),
            variant=options.schedule,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def model_inputs(batch: RecognitionBatch) -> dict[str, Tensor | None]:
    """A batch as `AVSRModel.encode` takes it."""
    return {
        "video": batch.get("video"),
        "audio": batch.get("audio"),
        "video_lengths_B": batch.get("video_lengths"),
        "audio_lengths_B": batch.get("audio_lengths"),
    }


def start_at_unit_scale(model: AVSRModel) -> None:
    """Divide what feeds the residual streams by what it will be multiplied with; see `OptimConfig.unit_start`."""
    config = model.config
    branches: tuple[Any, ...] = (model.video, model.audio) if config.modality == "audiovisual" else (model,)
    with torch.no_grad():
        for branch in branches:
            branch.proj_encoder.weight.div_(config.dim**0.5)
            branch.proj_encoder.bias.div_(config.dim**0.5)
        model.decoder.embed[0].weight.div_(config.decoder_dim**0.5)
