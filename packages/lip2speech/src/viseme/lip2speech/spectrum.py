"""A neural way from mels to linear magnitudes, whose phases Griffin-Lim then finds: the vocoder for small means.

A pseudo-inverse spreads a mel band's energy evenly, and blurs the harmonics of the upper bands, which decides how good
Griffin-Lim can sound. The network corrects it, starting from it: what the CBHG after Tacotron's mels is for (Wang et
al. 2017), learnt in minutes on one CPU core, where a waveform network takes GPU days.

B clips, F linear bins, T mel columns at 100 Hz, C channels, S = 160 T samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from viseme.core.checkpoint import save_model_dir
from viseme.lip2speech.models.config import SpectrumConfig
from viseme.lip2speech.sound import Inverter, mel_to_magnitude
from viseme.lip2speech.streaming import in_pieces

__all__ = ["SpectrumNet", "SpectrumTask", "SpectrumVocoder", "spectrum_loss"]

_SOFT = 0.3  # the power at which magnitudes are compared: about how loudness grows


class _Block(nn.Module):
    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LeakyReLU(0.1),
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2 * dilation, dilation=dilation),
            nn.LeakyReLU(0.1),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, x_BCT: Tensor) -> Tensor:
        return x_BCT + self.layers(x_BCT)


class SpectrumNet(nn.Module):
    """Normalised mel (B, 80, T) -> linear magnitudes (B, F, T): the pseudo-inverse times a correction, 1 at first."""

    def __init__(self, config: SpectrumConfig) -> None:
        super().__init__()
        self.config = config
        spec, channels = config.mel_spec, config.channels
        bins = spec.n_fft // 2 + 1
        self.enter = nn.Conv1d(spec.n_mels + bins, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(channels, config.kernel, dilation) for dilation in config.dilations))
        self.leave = nn.Conv1d(channels, bins, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, mel_BMT: Tensor) -> Tensor:
        compression: Any = self.config.mel_spec.compression
        rough_BFT = mel_to_magnitude(mel_BMT, self.config.mel_spec)
        seen = torch.cat([mel_BMT, compression(rough_BFT)], dim=1)
        correction_BFT = self.leave(self.blocks(self.enter(seen)))
        return rough_BFT.clamp(min=compression.floor) * correction_BFT.clamp(-8, 8).exp()


def spectrum_loss(generated_BFT: Tensor, target_BFT: Tensor) -> Tensor:
    """L1 of magnitudes to the power 0.3, relative to the target's mean, plus spectral convergence (mean of clips)."""
    soft = [x.clamp(min=1e-7).pow(_SOFT) for x in (generated_BFT, target_BFT)]
    apart = (soft[0] - soft[1]).abs().mean((1, 2)) / soft[1].mean((1, 2))
    distance = (generated_BFT - target_BFT).flatten(1).norm(dim=1) / target_BFT.flatten(1).norm(dim=1).clamp(min=1e-7)
    return (apart + distance).mean()


class SpectrumVocoder:
    """The network and Griffin-Lim behind it, ready to use.

    Args:
        network: trained.
        device: where it runs.
    """

    def __init__(self, network: SpectrumNet, device: str | torch.device = "cpu") -> None:
        self.network, self.config, self.device = network.eval().to(device), network.config, torch.device(device)
        config = network.config
        self.inverter = Inverter(config.mel_spec, iterations=config.iterations, momentum=config.momentum)

    def save(self, directory: str | Path, *, card: str = "") -> Path:
        """Write a model directory."""
        content = {"package": "lip2speech", "model": self.config.to_dict()}
        return save_model_dir(directory, content, self.network.state_dict(), card=card)

    @torch.inference_mode()
    def magnitude(self, mel: Tensor) -> Tensor:
        """(80, T) normalised mel -> (F, T) linear magnitudes."""
        return self.network(mel[None].to(self.device))[0].float().cpu()

    def stream(self, pieces: Iterable[Tensor], *, seed: int = 0) -> Iterator[Tensor]:
        """Samples of mels that come in pieces (80, t)."""
        magnitudes = in_pieces(self.magnitude, pieces, context=self.config.context)
        yield from self.inverter.stream(magnitudes, generator=torch.Generator().manual_seed(seed))


class SpectrumTask(lightning.LightningModule):
    """Trains the network on segments of real speech (`vocoder_loader`)."""

    def __init__(self, config: SpectrumConfig, *, lr: float = 1e-3, decay: float = 0.0) -> None:
        super().__init__()
        self.network, self.lr, self.decay = SpectrumNet(config), lr, decay

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        loss = spectrum_loss(self.network(batch["mel"]), batch["magnitude"])
        self.log("loss", loss.detach(), batch_size=len(batch["mel"]), prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        loss = spectrum_loss(self.network(batch["mel"]), batch["magnitude"])
        self.log("val/recon_loss", loss, batch_size=len(batch["mel"]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), self.lr, betas=(0.8, 0.99), weight_decay=self.decay)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=int(self.trainer.estimated_stepping_batches), pct_start=0.1
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def finished(self) -> SpectrumVocoder:
        """What there is to use."""
        return SpectrumVocoder(self.network)
