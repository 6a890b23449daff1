"""The LightningModules: the GAN (manual optimisation, two optimisers), the multi-task system, and its recogniser.

Logged each step under the published names: `train/recon_loss`, `train/gen_loss`, `train/dis_loss`, `train/d_sync_loss`,
`train/g_sync_loss` (GAN), `train/ctc_loss`, `train/g_ctc_loss` (multi-task); at validation `val/recon_loss` and
`val/mel_stoi`, with pictures and sound of the first clip in TensorBoard.
"""

from __future__ import annotations

import logging
from typing import Any

import lightning
import torch
from torch import Tensor

from viseme.core.decoding import ctc_greedy
from viseme.core.errors import DataError, DependencyError
from viseme.core.losses import linear_ctc_loss
from viseme.core.metrics import stoi, word_error_rate
from viseme.lip2speech.batches import MultitaskBatch, VCABatch, mask_spans
from viseme.lip2speech.models import VCAGAN, ContentRecogniser, MultitaskModel
from viseme.lip2speech.objective import MultitaskObjective, MultitaskStep, VCAObjective, VCAStep, reconstruction
from viseme.lip2speech.optim import OptimConfig, multitask_optimizer, schedule, vca_optimizers
from viseme.lip2speech.sound import Inverter

__all__ = ["ContentTask", "MultitaskTask", "VCATask"]

SCORED_CLIPS = 8
"""Clips of a validation whose sound is made and scored; `evaluate` scores whole test sets."""

_log = logging.getLogger(__name__)


class _SpeechTask(lightning.LightningModule):
    """What both systems log of their speech."""

    def __init__(self, inverter: Inverter) -> None:
        super().__init__()
        self.inverter = inverter
        self._scores: list[float] = []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device, non_blocking=True)

    def on_validation_epoch_start(self) -> None:
        self._scores = []

    def on_validation_epoch_end(self) -> None:
        if self._scores:
            self.log("val/mel_stoi", sum(self._scores) / len(self._scores), sync_dist=True, prog_bar=True)

    def _score(self, mel_BFS: Tensor, target_BFS: Tensor, audio: list[Tensor]) -> None:
        """STOI of the first clips, and their picture and sound."""
        for row in range(min(len(audio), SCORED_CLIPS - len(self._scores))):
            heard = self.inverter.of_mel(mel_BFS[row].float().cpu(), generator=torch.Generator().manual_seed(0))
            reference = audio[row].cpu()
            length = min(len(heard), len(reference))
            try:
                self._scores.append(stoi(reference[:length].numpy(), heard[:length].numpy()))
            except (DataError, DependencyError) as error:
                _log.warning("a validation clip is not scored: %s", error)
            if row == 0 and len(self._scores) <= 1 and hasattr(self.logger, "experiment"):
                self._show(mel_BFS[row], target_BFS[row], heard, reference)

    def _show(self, mel: Tensor, target: Tensor, heard: Tensor, reference: Tensor) -> None:
        board: Any = self.logger.experiment  # type: ignore[union-attr]
        if not hasattr(board, "add_image"):
            return
        for name, picture in (("gen", mel), ("gt", target)):
            shade = ((picture.float().cpu().clamp(-1, 1) + 1) / 2).flip(0)
            board.add_image(f"val_mel/{name}", shade[None], self.global_step)
        for name, sound in (("mel", heard), ("gt", reference)):
            board.add_audio(f"val_aud/{name}", sound[None], self.global_step, self.inverter.spec.rate)


class VCATask(_SpeechTask):
    """Trains VCA-GAN.

    Args:
        model, objective, optim: what, to what end, and how.
    """

    def __init__(self, model: VCAGAN, objective: VCAObjective | None = None, optim: OptimConfig | None = None) -> None:
        super().__init__(Inverter(model.config.mel_spec))
        self.automatic_optimization = False
        self.model, self.objective, self.optim = model, objective or VCAObjective(), optim or OptimConfig()

    def training_step(self, batch: VCABatch, batch_index: int) -> dict[str, Tensor]:
        speaking, judging = self.optimizers()  # type: ignore[misc]
        number = self.global_step // 2
        _warm_up((speaking, judging), self.optim, number)
        step = VCAStep(
            self.model,
            self.objective,
            batch.video,
            batch.mel,
            batch.spectrogram,
            batch.lengths,
            batch.columns,
            adversarial=self.objective.adversarial(number),
        )
        judged = step.discriminators()
        judging.zero_grad()
        self.manual_backward(judged["d_loss"])
        judging.step()
        spoken = step.generator()
        speaking.zero_grad()
        self.manual_backward(spoken["g_loss"])
        self.manual_backward(step.visual())
        speaking.step()
        named = {
            "train/recon_loss": spoken["recon_loss"],
            "train/gen_loss": spoken["adv_loss"],
            "train/dis_loss": judged["real_loss"] + judged["fake_loss"],
            "train/d_sync_loss": judged["d_sync_loss"],
            "train/g_sync_loss": spoken["g_sync_loss"],
        }
        self.log_dict({name: value.detach() for name, value in named.items()}, batch_size=len(batch.names))
        loss = spoken["recon_loss"].detach()
        self.log("loss", loss, batch_size=len(batch.names), prog_bar=True)
        return {"loss": loss}

    def on_train_epoch_end(self) -> None:
        for scheduler in self.lr_schedulers():  # type: ignore[union-attr]
            scheduler.step()

    def validation_step(self, batch: VCABatch, batch_index: int) -> None:
        local, context = self.model.visual_front(batch.video)
        noise = self.model.generator.draw_noise(len(local), local.shape[1], torch.Generator().manual_seed(batch_index))
        mel = self.model.generator(local, context, batch.lengths, noise).fine
        columns = min(mel.shape[-1], batch.mel.shape[-1])
        mel, target = mel[..., :columns], batch.mel[..., :columns]
        loss = reconstruction(mel, target, batch.columns.clamp(max=columns))
        self.log("val/recon_loss", loss, batch_size=len(batch.names), sync_dist=True)
        self._score(mel[:, 0], target[:, 0], batch.audio)

    def configure_optimizers(self) -> Any:
        options = self.optim
        made = vca_optimizers(self.model, options.lr, options.weight_decay, amsgrad=options.amsgrad)
        return list(made), [schedule(optimizer, options) for optimizer in made]


class MultitaskTask(_SpeechTask):
    """Trains the multi-task system.

    Args:
        model, objective, optim: what, to what end, and how.
        recogniser: for content supervision; without one there is none.
        decode: units to text, for the word error rate of the CTC branch.
    """

    def __init__(
        self,
        model: MultitaskModel,
        objective: MultitaskObjective | None = None,
        optim: OptimConfig | None = None,
        recogniser: ContentRecogniser | None = None,
        decode: Any = None,
    ) -> None:
        super().__init__(Inverter(model.config.mel_spec))
        self.model, self.objective, self.optim = model, objective or MultitaskObjective(), optim or OptimConfig()
        self.decode = decode
        # Not a sub-module: it is not trained, not saved, and never in train mode.
        self._recogniser = [recogniser.eval().requires_grad_(False)] if recogniser is not None else []
        self.register_buffer("content_on", torch.tensor(bool(self.objective.output_content_loss)))
        self._epoch_losses: list[Tensor] = []
        self._references: list[str] = []
        self._hypotheses: list[str] = []

    def on_fit_start(self) -> None:
        for recogniser in self._recogniser:
            recogniser.to(self.device)

    def training_step(self, batch: MultitaskBatch, batch_index: int) -> Tensor:
        _warm_up((self.optimizers(),), self.optim, self.global_step)
        batch = mask_spans(batch, self.objective.mask_probability)
        recogniser = self._recogniser[0] if self._recogniser and bool(self.content_on) else None
        losses = MultitaskStep.run(self.model, self.objective, batch, recogniser).losses
        named = {"train/recon_loss": losses["recon_loss"], "train/ctc_loss": losses["ctc_loss"]}
        if "content_loss" in losses:
            named["train/g_ctc_loss"] = losses["content_loss"]
        self.log_dict({name: value.detach() for name, value in named.items()}, batch_size=len(batch.names))
        self.log("loss", losses["total"].detach(), batch_size=len(batch.names), prog_bar=True)
        self._epoch_losses.append(losses["recon_loss"].detach())
        return losses["total"]

    def on_train_epoch_end(self) -> None:
        if self._epoch_losses:
            mean = torch.stack(self._epoch_losses).mean()
            mean = self.all_gather(mean).mean()
            late = self.current_epoch > self.objective.output_content_after
            self.content_on |= torch.tensor(bool(late and mean < self.objective.output_content_on), device=self.device)
        self._epoch_losses = []

    def validation_step(self, batch: MultitaskBatch, batch_index: int) -> None:
        features = self.model.visual_front(batch.video, batch.lengths)
        mel = self.model.mel_head(features, self.model.speaker(batch.prompt))
        columns = min(mel.shape[-1], batch.mel.shape[-1])
        mel, target = mel[..., :columns], batch.mel[..., :columns]
        scale = self.inverter.spec.compression.unscale  # type: ignore[attr-defined]
        loss = reconstruction(scale(mel), scale(target), batch.columns.clamp(max=columns))
        self.log("val/recon_loss", loss, batch_size=len(batch.names), sync_dist=True)
        self._score(mel[:, 0], target[:, 0], batch.audio)
        if self.decode is not None:
            self._hypotheses += map(self.decode, ctc_greedy(self.model.ctc(features), batch.lengths))
            self._references += batch.texts

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if any(text.split() for text in self._references):
            self.log("val/wer", word_error_rate(self._references, self._hypotheses).rate, sync_dist=True, prog_bar=True)
        self._references, self._hypotheses = [], []

    def configure_optimizers(self) -> Any:
        options = self.optim
        optimizer = multitask_optimizer([self.model], options.lr, options.weight_decay, amsgrad=options.amsgrad)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule(optimizer, options), "interval": "epoch"},
        }


class ContentTask(lightning.LightningModule):
    """Trains the recogniser of the content supervision: CTC over whole mels.

    Args:
        model, optim: what and how.
        decode: units to text.
    """

    def __init__(self, model: ContentRecogniser, optim: OptimConfig | None = None, decode: Any = None) -> None:
        super().__init__()
        self.model, self.optim, self.decode = model, optim or OptimConfig(), decode
        self._references: list[str] = []
        self._hypotheses: list[str] = []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch.to(device, non_blocking=True)

    def _loss(self, features: Tensor, batch: MultitaskBatch) -> Tensor:
        layer = self.model.classifier
        sizes = batch.window_sizes.clamp(max=features.shape[1])
        return linear_ctc_loss(features, layer.weight, layer.bias, batch.targets, sizes, batch.target_lengths)

    def training_step(self, batch: MultitaskBatch, batch_index: int) -> Tensor:
        _warm_up((self.optimizers(),), self.optim, self.global_step)
        loss = self._loss(self.model.features(batch.mel, batch.window_sizes), batch)
        self.log("loss", loss.detach(), batch_size=len(batch.names), prog_bar=True)
        return loss

    def validation_step(self, batch: MultitaskBatch, batch_index: int) -> None:
        logits, features = self.model(batch.mel, batch.window_sizes)
        self.log("val/loss", self._loss(features, batch), batch_size=len(batch.names), sync_dist=True)
        if self.decode is not None:
            self._hypotheses += map(self.decode, ctc_greedy(logits, batch.window_sizes))
            self._references += batch.texts

    def on_validation_epoch_end(self) -> None:
        if any(text.split() for text in self._references):
            self.log("val/wer", word_error_rate(self._references, self._hypotheses).rate, sync_dist=True, prog_bar=True)
        self._references, self._hypotheses = [], []

    def configure_optimizers(self) -> Any:
        options = self.optim
        optimizer = multitask_optimizer([self.model], options.lr, options.weight_decay, amsgrad=options.amsgrad)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule(optimizer, options), "interval": "epoch"},
        }


def _warm_up(optimizers: Any, options: OptimConfig, step: int) -> None:
    """The learning rate of the first steps; the epochs' schedule has it after them."""
    if step < options.warmup_steps:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = options.lr * (step + 1) / options.warmup_steps
