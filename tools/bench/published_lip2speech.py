"""Lip-to-speech as the published code computes it, written plainly from its description: for comparison.

Griffin-Lim through convolutions with the Fourier basis; VCA-GAN's blocks with the 1x1 shortcut after upsampling and
before averaging, picture by picture in memory order (B, C, H, W), and a step that runs backwards through the visual
front twice and computes gradients that it throws away.
"""

from __future__ import annotations

import math
from types import MethodType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from viseme.lip2speech.models import VCAGAN, MultitaskModel
from viseme.lip2speech.models.discriminators import DownBlock
from viseme.lip2speech.models.generator import UpBlock
from viseme.lip2speech.models.multitask import MultitaskVisualFront
from viseme.lip2speech.models.visual import VisualFront
from viseme.lip2speech.objective import VCAObjective, adversarial_loss, gradient_penalty, mel_targets

__all__ = ["ConvolutionalStft", "plain", "plain_multitask", "plain_step"]


class ConvolutionalStft:
    """STFT and its inverse as convolutions (P. Seetharaman's layer, as published systems use it)."""

    def __init__(self, n_fft: int, hop: int, win: int) -> None:
        self.n_fft, self.hop, self.bins = n_fft, hop, n_fft // 2 + 1
        basis = np.fft.fft(np.eye(n_fft))[: self.bins]
        stacked = np.vstack([basis.real, basis.imag])
        window = torch.hann_window(win, periodic=True)
        self.window = F.pad(window, ((n_fft - win) // 2, n_fft - win - (n_fft - win) // 2))
        self.forward_basis = torch.from_numpy(stacked[:, None]).float() * self.window
        self.inverse_basis = torch.from_numpy(np.linalg.pinv(n_fft / hop * stacked).T[:, None]).float() * self.window

    def transform(self, x_BS: Tensor) -> tuple[Tensor, Tensor]:
        x = F.pad(x_BS[:, None], (self.n_fft // 2, self.n_fft // 2), mode="reflect")
        y = F.conv1d(x, self.forward_basis, stride=self.hop)
        real, imaginary = y[:, : self.bins], y[:, self.bins :]
        return (real**2 + imaginary**2).sqrt(), torch.atan2(imaginary, real)

    def inverse(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        joined = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)
        x = F.conv_transpose1d(joined, self.inverse_basis, stride=self.hop)
        total = torch.zeros(x.shape[-1])
        squares = self.window**2
        for column in range(magnitude.shape[-1]):
            total[column * self.hop : column * self.hop + self.n_fft] += squares
        x = torch.where(total > 1e-11, x / total.clamp(min=1e-11), x) * (self.n_fft / self.hop)
        return x[:, 0, self.n_fft // 2 : -(self.n_fft // 2)]

    def griffin_lim(self, magnitude: Tensor, iterations: int, phase: Tensor) -> Tensor:
        x = self.inverse(magnitude, phase)
        for _ in range(iterations):
            _, phase = self.transform(x)
            x = self.inverse(magnitude, phase)
        return x


def plain(model: VCAGAN) -> None:
    """Change a model's forward passes in place; weights and keys stay."""
    for module in model.modules():
        if isinstance(module, UpBlock):
            module.forward = MethodType(_up, module)  # type: ignore[method-assign]
        elif isinstance(module, DownBlock):
            module.forward = MethodType(_down, module)  # type: ignore[method-assign]
        elif isinstance(module, VisualFront):
            module.forward = MethodType(_front, module)  # type: ignore[method-assign]


def _up(self: UpBlock, x: Tensor) -> Tensor:
    y, shortcut = F.leaky_relu(self.norm1(x), 0.2), x
    if self.up:
        y, shortcut = (F.interpolate(z, scale_factor=2, mode="nearest") for z in (y, shortcut))
    if self.conv1x1 is not None:
        shortcut = self.conv1x1(shortcut)
    return (self.conv2(F.leaky_relu(self.norm2(self.conv1(y)), 0.2)) + shortcut) / math.sqrt(2)


def _down(self: DownBlock, x: Tensor) -> Tensor:
    shortcut = x if self.conv1x1 is None else self.conv1x1(x)
    y = F.avg_pool2d(self.conv1(F.leaky_relu(x, 0.2)), 2)
    return (self.conv2(F.leaky_relu(y, 0.2)) + F.avg_pool2d(shortcut, 2)) / math.sqrt(2)


def _front(self: VisualFront, video: Tensor) -> tuple[Tensor, Tensor]:
    batch, _, frames = video.shape[:3]
    pictures = self.resnet(self.frontend(video).transpose(1, 2).contiguous().flatten(0, 1))
    local = self.dropout(F.avg_pool2d(pictures, pictures.shape[-1]).view(batch, frames, self.features))
    context, _ = self.sentence_encoder(local.transpose(0, 1))
    return local, self.fc(context).permute(1, 2, 0)


def plain_multitask(model: MultitaskModel) -> None:
    """The same for the multi-task system: its pictures in memory order (B, C, H, W)."""
    front = model.visual_front
    front.forward = MethodType(_multitask_front, front)  # type: ignore[method-assign]


def _multitask_front(self: MultitaskVisualFront, video: Tensor, lengths: Tensor | None = None) -> Tensor:
    batch, _, frames = video.shape[:3]
    pictures = self.frontend(video).transpose(1, 2).contiguous().flatten(0, 1)
    return self.conformer(self.dropout(self.resnet(pictures).view(batch, frames, self.dim)), lengths)


def plain_step(
    model: VCAGAN, video: Tensor, mel: Tensor, spectrogram: Tensor, optimizers: list[torch.optim.Optimizer]
) -> float:
    """One published training step."""
    speaking, judging = optimizers
    speaking.zero_grad()
    targets = mel_targets(mel)
    local, context = model.visual_front(video)
    mels = model.generator(local, context)
    real = fake = torch.zeros(())
    for critic, mine, theirs in zip(model.discriminators, mels, targets):
        theirs = theirs.detach().requires_grad_()
        alone, given = critic(theirs, context.detach())
        real = real + (adversarial_loss(alone, real=True) + adversarial_loss(given, real=True)) / 3
        real = real + gradient_penalty(alone, theirs).mean() / 3
        alone, given = critic(mine.detach(), context.detach())
        fake = fake + (adversarial_loss(alone, real=False) + adversarial_loss(given, real=False)) / 3
    sync = model.sync_discriminator.contrastive(local, targets.fine).mean()
    judging.zero_grad()
    (real + fake + 0.5 * sync).backward(retain_graph=True)
    judging.step()
    made = model.postnet(mels.fine)
    adversarial = torch.zeros(())
    for critic, mine in zip(model.discriminators, mels):
        alone, given = critic(mine, context.detach())
        adversarial = adversarial + (adversarial_loss(alone, real=True) + adversarial_loss(given, real=True)) / 3
    sync = model.sync_discriminator.generator_loss(local.detach(), mels.fine).mean()
    recon = VCAObjective().reconstruct(mels, targets, made, spectrogram)
    judging.zero_grad()
    (adversarial + sync + 50 * recon).backward()
    speaking.step()
    return float(recon)
