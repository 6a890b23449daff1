"""Layer-wise learning rates of fine-tuning (ELECTRA-style decay; RAVEn, appendix)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from viseme.raven.models.recogniser import Recogniser

__all__ = ["ParameterGroup", "parameter_groups"]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a learning rate."""

    name: str
    lr: float
    parameters: list[nn.Parameter]


def parameter_groups(
    model: Recogniser,
    *,
    lr: float,
    lr_other: float,
    lr_decay_rate: float = 1.0,
    ctc_equals_other: bool = True,
    min_lr: float = 1e-5,
) -> list[ParameterGroup]:
    """Groups in parameter order: frontend, embed, block_0 ..., after_norm, ctc, other.

    Args:
        model: the recogniser.
        lr: of the encoder's last block and final norm; block i of L gets lr * decay^(L-1-i), front-end and projection
            what the first block gets.
        lr_other: of the decoder, and of the CTC head where `ctc_equals_other` (which otherwise has `lr`).
        lr_decay_rate: decay per block, going down.
        min_lr: no group has less.
    """
    blocks = len(model.encoder.encoders)
    lowest = lr * lr_decay_rate ** (blocks - 1)
    encoder = model.encoder
    parts: list[tuple[str, float, nn.Module]] = [
        ("frontend", lowest, encoder.frontend),
        ("embed", lowest, encoder.embed),
    ]
    parts += [
        (f"block_{number}", lr * lr_decay_rate ** (blocks - 1 - number), block)
        for number, block in enumerate(encoder.encoders)
    ]
    parts += [
        ("after_norm", lr, encoder.after_norm),
        ("ctc", lr_other if ctc_equals_other else lr, model.ctc),
        ("other", lr_other, model.decoder),
    ]
    return [ParameterGroup(name, max(rate, min_lr), list(part.parameters())) for name, rate, part in parts]
