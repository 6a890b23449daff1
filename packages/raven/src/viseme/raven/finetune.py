"""Fine-tuning as a LightningModule: objective, layer-wise optimiser, what is logged.

Logged each step: `loss`, `loss_ctc`, `loss_att`, `decoder_acc`; at validation the same with `_val`, and `wer_val` from
greedy CTC. A batch is a `data.Batch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor

from viseme.core.decoding import ctc_greedy
from viseme.core.losses import HybridLosses
from viseme.core.metrics import word_error_rate
from viseme.core.text import Tokenizer
from viseme.core.training import shard
from viseme.raven.data import Batch
from viseme.raven.groups import parameter_groups
from viseme.raven.models.recogniser import Recogniser
from viseme.raven.objective import RecognitionObjective
from viseme.raven.task import fused_steps, run_steps, scheduler

__all__ = ["FinetuneOptim", "FinetuneTask"]


@dataclass
class FinetuneOptim:
    """The Hydra group `optim` of `raven train`: AdamW with a rate per layer, warm-up and cosine, and the loss.

    Attributes:
        lr, lr_other, ctc_equals_other, lr_decay_rate, min_lr: see `parameter_groups`; `lr_other` is `lr` where null.
        warmup_epochs: fractions allowed.
        betas, weight_decay: of AdamW; plain Adam where the decay is 0.
        ctc_weight, label_smoothing, normalize: see `RecognitionObjective`.
        unit_start: start with residual streams of unit scale (see `Encoder.start_at_unit_scale`): small models learn
            sooner; published training does without.
        published_defects: schedule the first group (the front-end) only, one step late, as the published code did.
    """

    lr: float = 2e-3
    lr_other: float | None = None
    ctc_equals_other: bool = True
    lr_decay_rate: float = 1.0
    min_lr: float = 1e-5
    warmup_epochs: float = 5.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-2
    ctc_weight: float = 0.1
    label_smoothing: float = 0.1
    normalize: str = "batch"
    unit_start: bool = False
    published_defects: bool = False

    @property
    def objective(self) -> RecognitionObjective:
        return RecognitionObjective(self.ctc_weight, self.label_smoothing, self.normalize)


class FinetuneTask(lightning.LightningModule):
    """Trains a `Recogniser`.

    Args:
        model: the network.
        tokenizer: turns ids into text, for validation's WER.
        optim: optimiser, schedule and loss.
    """

    def __init__(self, model: Recogniser, tokenizer: Tokenizer, optim: FinetuneOptim | None = None) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.optim = optim or FinetuneOptim()
        self.objective = self.optim.objective
        self._references: list[str] = []
        self._hypotheses: list[str] = []

    def configure_model(self) -> None:
        shard(self.model, self.device_mesh)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        losses = self._losses(batch)
        self._log(losses, "", len(batch["ids"]))
        return losses.loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._log(self._losses(batch), "_val", len(batch["ids"]))
        encoded = self.model.encode(self._input(batch), batch["lengths"])
        found = ctc_greedy(self.model.ctc(encoded.memory), encoded.lengths)
        self._hypotheses += [self.tokenizer.decode(ids) for ids in found]
        self._references += batch["texts"]

    def on_validation_epoch_end(self) -> None:
        if any(text.split() for text in self._references):
            rate = word_error_rate(self._references, self._hypotheses).rate
            self.log("wer_val", rate, prog_bar=True, sync_dist=True)
        self._references, self._hypotheses = [], []

    def _losses(self, batch: Batch) -> HybridLosses:
        return self.objective(
            self.model, self._input(batch), batch["lengths"], batch["targets"], batch["target_lengths"]
        )

    def _input(self, batch: Batch) -> Tensor:
        return batch["video"] if self.model.config.modality == "video" else batch["audio"]

    def _log(self, losses: HybridLosses, suffix: str, clips: int) -> None:
        named = {"loss": losses.loss.detach(), "loss_ctc": losses.ctc.detach(), "loss_att": losses.att.detach()}
        named["decoder_acc"] = losses.accuracy.float()
        for name, value in named.items():
            self.log(f"{name}{suffix}", value, batch_size=clips, prog_bar=name == "loss", sync_dist=bool(suffix))

    def configure_optimizers(self) -> dict[str, Any]:
        options = self.optim
        made = parameter_groups(
            self.model,
            lr=options.lr,
            lr_other=options.lr if options.lr_other is None else options.lr_other,
            lr_decay_rate=options.lr_decay_rate,
            ctc_equals_other=options.ctc_equals_other,
            min_lr=options.min_lr,
        )
        groups = [{"params": group.parameters, "lr": group.lr, "name": group.name} for group in made]
        kind = torch.optim.AdamW if options.weight_decay else torch.optim.Adam
        optimizer = kind(
            groups,
            betas=(options.betas[0], options.betas[1]),
            weight_decay=options.weight_decay,
            fused=fused_steps(self),
        )
        total, per_epoch = run_steps(self)
        warmup = options.warmup_epochs * per_epoch
        rates = scheduler(optimizer, options.min_lr, warmup, total, late=options.published_defects)
        if options.published_defects:
            rates.lr_lambdas[1:] = [lambda step: 1.0] * (len(groups) - 1)
            for group in optimizer.param_groups[1:]:
                group["lr"] = group["initial_lr"]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}
