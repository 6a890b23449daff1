"""A whole pre-training step: targets, predictions, losses, gradients, batch-norm statistics, teacher updates."""

from __future__ import annotations

import harness
import pytest
import torch
from raven_answers import SYSTEM, converted, given
from torch import Tensor, nn

from viseme.core.layers.masks import padding_mask
from viseme.raven.models.block import DropPath
from viseme.raven.models.pretraining import Pretrained, Pretrainer, block_mean, instance_normalise
from viseme.raven.objective import PretrainLosses, pretrain_losses, probe_losses

pytestmark = pytest.mark.heavy


def without_dropout(model: nn.Module, rate: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(module, DropPath):
            module.rate = rate
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = rate


class Step:
    """One pass of an entry's model, and what it gives under the names of the stored answers."""

    def __init__(self, model: Pretrainer, entry: dict) -> None:
        self.masks = (given(entry, "mask_video"), given(entry, "mask_audio"))
        self.made: Pretrained = model(
            given(entry, "video"), given(entry, "audio"), given(entry, "lengths"), *self.masks
        )
        self.losses: PretrainLosses = pretrain_losses(self.made, model.config, *self.masks)
        labels, smoothing = given(entry, "labels"), entry["config"]["label_smoothing"]
        self.probes = {
            name: probe_losses(student, features, self.made.mask, labels, label_smoothing=smoothing)
            for name, student, features in (
                ("video", model.model_video, self.made.video),
                ("audio", model.model_audio, self.made.audio),
            )
        }

    def check(self, compare: harness.Comparison, mode: str) -> None:
        made = self.made
        for name, value in {
            "target_video": made.target_video,
            "target_audio": made.target_audio,
            **{f"pred_{name}": getattr(made, name) for name in ("v2a", "a2a", "a2v")},
            **self.losses.named(),
            **{f"probe_ctc_{name}": probe.ctc for name, probe in self.probes.items()},
            **{f"probe_att_{name}": probe.att for name, probe in self.probes.items()},
        }.items():
            compare.check(f"{mode}.{name}", value)


def norm_of(gradients: list[Tensor]) -> Tensor:
    return torch.stack([gradient.double().square().sum() for gradient in gradients]).sum().sqrt()


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "pretraining"))
def test_pretraining_step(name: str, entry: dict) -> None:
    compare, config = harness.Comparison(SYSTEM, entry), entry["config"]
    model = converted(entry).build()
    with torch.no_grad():
        Step(model, entry).check(compare, "eval")
        mask = padding_mask(given(entry, "lengths"))
        for modality, student in (("video", model.model_video), ("audio", model.model_audio)):
            mean = block_mean(student.target_backbone.layers(given(entry, modality), mask))
            compare.check(f"eval.blockmean_{modality}", mean)
            compare.check(f"eval.blockmean_instnorm_{modality}", instance_normalise(mean))
    del model

    model = converted(entry).build().train()
    without_dropout(model, config["dropout"])
    for student in (model.model_video, model.model_audio):
        student.target_backbone.requires_grad_(False)
    step = Step(model, entry)
    step.check(compare, "train")
    (step.losses.video + step.losses.audio + step.probes["video"].loss + step.probes["audio"].loss).backward()
    leaves = dict(model.named_parameters())
    for array, spec in entry["arrays"].items():
        if "wrt" in spec:
            compare.check(array, leaves[spec["wrt"]].grad)
    for modality in ("video", "audio"):
        own = {k: p.grad for k, p in leaves.items() if k.startswith(f"model_{modality}.") and p.grad is not None}
        probe = (f"model_{modality}.backbone.ctc.", f"model_{modality}.backbone.decoder.")
        compare.check(f"gradnorm_{modality}_total", norm_of(list(own.values())))
        compare.check(
            f"gradnorm_{modality}_without_probe", norm_of([g for k, g in own.items() if not k.startswith(probe)])
        )
    check_state(compare, entry, model, "after_train.")
    with torch.no_grad():
        model.update_teachers(config["ema"]["video"], config["ema"]["audio"])
    check_state(compare, entry, model, "after_ema.")
    compare.finish()


def check_state(compare: harness.Comparison, entry: dict, model: nn.Module, prefix: str) -> None:
    state = model.state_dict()
    for array, spec in entry["arrays"].items():
        if array.startswith(prefix):
            compare.check(array, state[spec["of"].removeprefix("weights/model/")])
