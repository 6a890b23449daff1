"""The hybrid objective: CTC on the encoder's frames, label-smoothed cross-entropy on the decoder's tokens.

loss = ctc_weight * CTC + (1 - ctc_weight) * attention   (paper, section 2.2; Watanabe et al. 2017)

B clips, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from viseme.avsr.model import AVSRModel
from viseme.core.errors import ConfigError
from viseme.core.losses import IGNORE, decoder_targets
from viseme.core.losses.hybrid import HybridLosses, hybrid_losses

__all__ = ["HybridLosses", "HybridObjective"]


@dataclass(frozen=True)
class HybridObjective:
    """The objective with its weights; called with a model and a batch.

    Attributes:
        ctc_weight: share of CTC, 0 to 1 (published: 0.1).
        label_smoothing: mass that the attention loss spreads over the wrong units.
        normalize: divide the attention loss by clips (`batch`, published) or by tokens (`length`).
        path_weight: weight of a cross-entropy, frame by frame, of the CTC posteriors against the path that the corpus'
            word times draw, where it has them: what CTC else has to find out by itself, and small models slowly.
    """

    ctc_weight: float = 0.1
    label_smoothing: float = 0.1
    normalize: Literal["batch", "length"] = "batch"
    path_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.ctc_weight <= 1:
            raise ConfigError("ctc_weight out of range", expected="0 to 1", got=self.ctc_weight)

    def __call__(
        self,
        model: torch.nn.Module,
        targets_BL: Tensor,
        target_lengths_B: Tensor,
        *,
        paths_BT: Tensor | None = None,
        every_way: bool = False,
        **inputs: Tensor | None,
    ) -> HybridLosses:
        """Run the model teacher-forced and score it.

        Args:
            model: an `AVSRModel`, possibly wrapped (DDP, compile): only its call is used for the forward pass.
            targets_BL: (B, L) labels padded with -1.
            target_lengths_B: (B,) labels of each clip.
            paths_BT: (B, T) unit of each frame by word times, -1 where they are not known.
            every_way: read every clip from video, from audio and from both; all three count alike.
            inputs: as `AVSRModel.encode`.
        """
        network = _unwrap(model)
        eos = network.config.eos
        tokens_BL, wanted_BL = decoder_targets(targets_BL, eos, eos, IGNORE)
        encoded, hidden_BLD = model(tokens_BL, every_way=every_way, **inputs)
        if every_way:
            targets_BL, wanted_BL = targets_BL.repeat(3, 1), wanted_BL.repeat(3, 1)
            target_lengths_B = target_lengths_B.repeat(3)
        head = network.ctc
        losses = hybrid_losses(
            encoded.memory,
            encoded.lengths,
            hidden_BLD,
            wanted_BL,
            targets_BL,
            target_lengths_B,
            head,
            network.decoder.output_layer,
            ctc_weight=self.ctc_weight,
            label_smoothing=self.label_smoothing,
            normalize=self.normalize,
            blank=network.config.blank,
        )
        losses = losses._replace(ctc=losses.ctc.detach(), att=losses.att.detach())
        if self.path_weight and paths_BT is not None:
            path = _against_path(head.ctc_lo(head.dropout(encoded.memory)), paths_BT)
            losses = losses._replace(loss=losses.loss + self.path_weight * path)
        return losses


def _against_path(logits_BTV: Tensor, paths_BT: Tensor) -> Tensor:
    """Cross-entropy summed over the frames whose unit is known, mean over readings (one or three a clip)."""
    paths_BT = paths_BT.repeat(len(logits_BTV) // len(paths_BT), 1)
    flat = functional.cross_entropy(
        logits_BTV.float().flatten(0, 1), paths_BT.flatten(), ignore_index=IGNORE, reduction="sum"
    )
    return flat / len(paths_BT)


def _unwrap(model: torch.nn.Module) -> AVSRModel:
    """The network below DDP's and compile's wrappers."""
    while not isinstance(model, AVSRModel):
        inner = getattr(model, "module", None) or getattr(model, "_orig_mod", None)
        if inner is None:
            raise TypeError(f"no AVSRModel inside {type(model).__name__}")
        model = inner
    return model
