"""Pre-training as a LightningModule: losses, optimiser, teachers, what is logged. Fine-tuning is in `finetune`.

Logged each step: `loss`, `loss_v2a`, `loss_a2a`, `loss_a2v` (`loss_v2v`), `momentum`, and per modality `target_std_*`,
`target_cosine_*`, `prediction_std_*` (see `collapse.spread`); with a probe `loss_ctc_*`, `loss_att_*`, `acc_*`; at
validation the same with `_val`. A batch is a `data.Batch` with both streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from viseme.core.losses import IGNORE, HybridLosses
from viseme.core.training import shard
from viseme.raven.collapse import similarity_picture, spread
from viseme.raven.data import Batch
from viseme.raven.masking import span_mask
from viseme.raven.models.pretraining import Pretrained, Pretrainer
from viseme.raven.objective import PretrainLosses, pretrain_losses, probe_losses
from viseme.raven.schedules import learning_rate, teacher_momentum

__all__ = ["Masking", "PretrainOptim", "PretrainTask", "fused_steps", "run_steps", "scheduler"]

VALIDATION_SEED = 0
PICTURE_FRAMES = 100


@dataclass
class PretrainOptim:
    """The Hydra group `optim` of `raven pretrain`: AdamW, warm-up and cosine, moving-average teachers.

    Attributes:
        base_lr_video, base_lr_audio: peak rates; the audio student has the video's where null.
        min_lr: where the cosine ends.
        warmup_epochs: fractions allowed.
        betas, weight_decay: of AdamW; the decay is on all parameters, as published.
        base_momentum: of the teachers at the start; rises to 1 along a cosine.
        momentum_warmup_epochs, momentum_cosine: see `teacher_momentum`.
        unit_start: start with residual streams of unit scale (see `Encoder.start_at_unit_scale`): small models learn
            sooner; published training does without.
        published_defects: train as the published code did where it was wrong: the momentum runs twice as fast (and
            back), the probe's gradient shares the student's clip, the rate comes one step late.
    """

    base_lr_video: float = 3e-3
    base_lr_audio: float | None = None
    min_lr: float = 1e-5
    warmup_epochs: float = 40.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.04
    base_momentum: float = 0.999
    momentum_warmup_epochs: float = 0.0
    momentum_cosine: bool = True
    unit_start: bool = False
    published_defects: bool = False


@dataclass(frozen=True)
class Masking:
    """Options of `span_mask` for both students."""

    prob_video: float = 0.2
    prob_audio: float = 0.2
    length: int = 3
    equal_counts: bool = True

    def draw(self, lengths: list[int], frames: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Independent masks of video and audio, (B, T) bool on the CPU, True where masked."""
        video, audio = (
            span_mask(lengths, prob, self.length, frames=frames, equal_counts=self.equal_counts, generator=generator)
            for prob in (self.prob_video, self.prob_audio)
        )
        return video, audio


class PretrainTask(lightning.LightningModule):
    """Pre-trains a `Pretrainer`.

    The two students share no parameter and the teachers have no gradient, so that one optimiser with a group for each
    does what the published two did, and its steps count batches.

    Args:
        model: the pair.
        optim: optimiser, schedules.
        masking: what the students are not to see.
    """

    def __init__(self, model: Pretrainer, optim: PretrainOptim | None = None, masking: Masking | None = None) -> None:
        super().__init__()
        self.model = model
        self.optim, self.masking = optim or PretrainOptim(), masking or Masking()
        self._momentum_steps = (1.0, 0.0)
        self._last_momentum = self.optim.base_momentum
        self._pictured = False

    # ------------------------------------------------------------------------------------------------- steps

    def configure_model(self) -> None:
        shard(self.model, self.device_mesh)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        made, losses, probes = self._pass(batch)
        total = losses.video + losses.audio
        for probe in probes.values():
            total = total + probe.loss
        self._log(made, losses, probes, "", len(batch["ids"]))
        self.log("momentum", self._last_momentum)
        return total

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        generator = torch.Generator().manual_seed(VALIDATION_SEED + batch_index)
        made, losses, _ = self._pass(batch, generator, probe=False)
        unmasked = {}
        if self.model.config.probe_vocabulary and batch["targets"].numel():
            for name, student in self._students():
                features = student.backbone.encoder(batch[name], made.mask)  # type: ignore[literal-required]
                unmasked[name] = probe_losses(student, features, made.mask, batch["targets"])
        self._log(made, losses, unmasked, "_val", len(batch["ids"]))
        if not self._pictured:
            self._pictured = True
            self._picture(made)

    def on_validation_epoch_end(self) -> None:
        self._pictured = False

    def _students(self) -> list[tuple[str, Any]]:
        return [("video", self.model.model_video), ("audio", self.model.model_audio)]

    def _pass(
        self, batch: Batch, generator: torch.Generator | None = None, *, probe: bool = True
    ) -> tuple[Pretrained, PretrainLosses, dict[str, HybridLosses]]:
        video, audio, lengths_B = batch["video"], batch["audio"], batch["lengths"]
        drawn = self.masking.draw(lengths_B.tolist(), video.shape[1], generator)
        masked_video, masked_audio = (mask.to(self.device) for mask in drawn)
        made: Pretrained = self.model(video, audio, lengths_B, masked_video, masked_audio)
        losses = pretrain_losses(made, self.model.config, masked_video, masked_audio)
        probes: dict[str, HybridLosses] = {}
        if probe and self.model.config.probe_vocabulary:
            targets = batch["targets"]
            if not targets.numel():  # nobody has labels: the probe's parameters still need their gradient, which is 0
                targets = torch.full((len(lengths_B), 1), IGNORE, device=self.device)
            for name, student in self._students():
                features = made.video if name == "video" else made.audio
                probes[name] = probe_losses(student, features, made.mask, targets)
        return made, losses, probes

    def _log(
        self, made: Pretrained, losses: PretrainLosses, probes: dict[str, HybridLosses], suffix: str, clips: int
    ) -> None:
        named = {name: value.detach() for name, value in losses.named().items()}
        named["loss"] = (losses.video + losses.audio).detach()
        for name, target, prediction in (
            ("video", made.target_video, made.v2a if made.v2a is not None else made.v2v),
            ("audio", made.target_audio, made.a2a if made.a2a is not None else made.a2v),
        ):
            named[f"target_std_{name}"], named[f"target_cosine_{name}"] = spread(target, made.mask)
            assert prediction is not None
            named[f"prediction_std_{name}"] = spread(prediction.detach(), made.mask)[0]
        for name, probe in probes.items():
            named[f"loss_ctc_{name}"], named[f"loss_att_{name}"] = probe.ctc.detach(), probe.att.detach()
            named[f"acc_{name}"] = probe.accuracy.float()
        for name, value in named.items():
            self.log(f"{name}{suffix}", value, batch_size=clips, prog_bar=name == "loss", sync_dist=bool(suffix))

    def _picture(self, made: Pretrained) -> None:
        """Similarities of target and prediction frames of the first clip, to TensorBoard."""
        writer = getattr(self.logger, "experiment", None)
        if not hasattr(writer, "add_image") or not self.trainer.is_global_zero:
            return
        frames = min(PICTURE_FRAMES, int(made.mask[0].sum()))
        for name, prediction, target in (
            ("v2a", made.v2a, made.target_audio),
            ("a2a", made.a2a, made.target_audio),
            ("a2v", made.a2v, made.target_video),
        ):
            if prediction is not None:
                picture = similarity_picture(prediction[0, :frames], target[0, :frames])
                writer.add_image(f"similarity_{name}", picture.cpu(), self.global_step)

    # ------------------------------------------------------------------------------------- optimiser and teachers

    def configure_optimizers(self) -> dict[str, Any]:
        options = self.optim
        rates = {"video": options.base_lr_video, "audio": options.base_lr_audio or options.base_lr_video}
        groups = [
            {"params": parameters, "lr": rates[name.removesuffix("_probe")], "name": name}
            for name, parameters in self.model.parameter_groups().items()
        ]
        optimizer = torch.optim.AdamW(
            groups,
            betas=(options.betas[0], options.betas[1]),
            weight_decay=options.weight_decay,
            fused=fused_steps(self),
        )
        total, per_epoch = run_steps(self)
        self._momentum_steps = (total, options.momentum_warmup_epochs * per_epoch)
        warmup = options.warmup_epochs * per_epoch
        made = scheduler(optimizer, options.min_lr, warmup, total, late=options.published_defects)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": made, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Each student by its own norm, each probe by its own (published: together with its student)."""
        if not gradient_clip_val:
            return
        together: dict[str, list[nn.Parameter]] = {}
        for group in optimizer.param_groups:
            name = group["name"].removesuffix("_probe") if self.optim.published_defects else group["name"]
            together.setdefault(name, []).extend(group["params"])
        for parameters in together.values():
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val, foreach=True)

    def momentum(self, step: int) -> float:
        """Of the teachers' update after optimiser step `step` (from 0)."""
        total, warmup = self._momentum_steps
        if self.optim.published_defects:
            step *= 2
        return teacher_momentum(
            step,
            base=self.optim.base_momentum,
            total_steps=total,
            warmup_steps=warmup,
            cosine=self.optim.momentum_cosine,
        )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimiser's step and the teachers' update, so that no checkpoint can lie between the two."""
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        momentum = self.momentum(step)
        self.model.update_teachers(momentum)
        self._last_momentum = momentum


def fused_steps(task: lightning.LightningModule) -> bool:
    """Whether the optimiser's step is one pass over memory (a sixth of the time on CPUs). Not with float16, where a
    fused step takes the loss's scale out itself, after gradients have been clipped."""
    return str(task.trainer.precision) != "16-mixed"


def run_steps(task: lightning.LightningModule) -> tuple[float, float]:
    """Optimiser steps of the run, and of one of its `max_epochs`; a run cut by `max_steps` has shorter ones, and so a
    shorter warm-up."""
    total, epochs = float(task.trainer.estimated_stepping_batches), task.trainer.max_epochs
    return total, total / (epochs if epochs and epochs > 0 else 1)


def scheduler(
    optimizer: torch.optim.Optimizer, min_lr: float, warmup_steps: float, total_steps: float, *, late: bool = False
) -> torch.optim.lr_scheduler.LambdaLR:
    """Warm-up and cosine for every group on its own base rate.

    Args:
        late: the published rates, one step late: the first two steps have rate 0.
    """

    def factor(base: float) -> Any:
        def at(step: int) -> float:
            place = max(step - 1, 0) if late else step + 1
            floor = min(min_lr, base)
            return (
                learning_rate(place, base=base, min_lr=floor, warmup_steps=warmup_steps, total_steps=total_steps) / base
            )

        return at

    return torch.optim.lr_scheduler.LambdaLR(optimizer, [factor(group["lr"]) for group in optimizer.param_groups])
