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
from torch import Tensor, nn
from torch.nn import functional as F

from viseme.core.layers import BasicBlock
from viseme.core.layers.frontends import VisualStem
from viseme.core.layers.linear import Linear
from viseme.core.signal.mel import LogRange
from viseme.lip2speech.batches import MultitaskBatch
from viseme.lip2speech.models import VCAGAN, GeneratedMels, Generator, MultitaskModel, VCASpeech
from viseme.lip2speech.models.discriminators import DownBlock
from viseme.lip2speech.models.generator import UpBlock
from viseme.lip2speech.models.multitask import CBAMBlock, MultitaskVisualFront
from viseme.lip2speech.models.visual import VisualFront
from viseme.lip2speech.objective import VCAObjective, adversarial_loss, gradient_penalty, mel_targets

__all__ = ["ConvolutionalStft", "plain", "plain_multitask", "plain_multitask_step", "plain_step"]


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
    model.speak = MethodType(_speak, model)  # type: ignore[method-assign]
    model.generator.forward = MethodType(_generate, model.generator)  # type: ignore[method-assign]
    _plain_trunk(model)
    for module in model.modules():
        if isinstance(module, UpBlock):
            module.forward = MethodType(_up, module)  # type: ignore[method-assign]
        elif isinstance(module, DownBlock):
            module.forward = MethodType(_down, module)  # type: ignore[method-assign]
        elif isinstance(module, VisualFront):
            module.forward = MethodType(_front, module)  # type: ignore[method-assign]


def _plain_trunk(model: nn.Module) -> None:
    """The stem as a 3-D convolution, and blocks that keep whatever PyTorch's modules keep."""
    for module in model.modules():
        if isinstance(module, VisualStem):
            module.forward = MethodType(nn.Sequential.forward, module)  # type: ignore[method-assign]
        elif isinstance(module, BasicBlock):
            module.forward = MethodType(_block, module)  # type: ignore[method-assign]


def _block(self: BasicBlock, x: Tensor) -> Tensor:
    shortcut = x if self.downsample is None else self.downsample(x)
    y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
    return self.relu2((self.cbam(y) if isinstance(self, CBAMBlock) else y) + shortcut)


@torch.no_grad()
def _speak(self: VCAGAN, video: Tensor) -> VCASpeech:
    mels = []
    for side in (video, video.flip(-1)):
        local, context = self.visual_front(side)
        mels.append(self.generator(local, context).fine)
    mel = (mels[0] + mels[1]) / 2
    return VCASpeech(mel, self.postnet(mel), *mels)


def _generate(self: Generator, local: Tensor, context: Tensor) -> GeneratedMels:
    noise = self.draw_noise(*local.shape[:2])
    x = torch.cat([local.transpose(1, 2).unsqueeze(2).repeat(1, 1, noise.shape[2], 1), noise], dim=1)
    one = self.g1(self.decode(x))
    two = self.g2(self.attconv1(torch.cat([one, self.att1(context, one)[0]], dim=1)))
    three = self.g3(self.attconv2(torch.cat([two, self.att2(context, two)[0]], dim=1)))
    return GeneratedMels(self.to_mel1(one), self.to_mel2(two), self.to_mel3(three))


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
    """The same for the multi-task system: its pictures in memory order (B, C, H, W), and PyTorch's linear layers."""
    front = model.visual_front
    _plain_trunk(model)
    for part in model.modules():
        if isinstance(part, Linear):
            part.__class__ = nn.Linear
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


def plain_multitask_step(model: MultitaskModel, batch: MultitaskBatch, optimizer: torch.optim.Optimizer) -> float:
    """One training step of the multi-task system, every window the whole clip, with PyTorch's own CTC loss."""
    speaker = model.speaker(batch.prompt)
    features = model.visual_front(batch.video, batch.lengths)
    logp = model.ctc(features).log_softmax(-1).transpose(0, 1)
    ctc = F.ctc_loss(logp, batch.targets, batch.lengths, batch.target_lengths, zero_infinity=True)
    mel = model.mel_head(features, speaker)
    levels = LogRange()  # the loss is of log magnitudes, not of what the network gives
    recon = (levels.unscale(mel) - levels.unscale(batch.mel)).abs().mean()
    optimizer.zero_grad()
    (100 * recon + ctc).backward()
    optimizer.step()
    return float(recon.detach())
