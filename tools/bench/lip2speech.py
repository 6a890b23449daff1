"""Lip-to-speech: Griffin-Lim beside the published convolutional one and librosa, inference and a training step beside
plain ports, and how long a clip takes to be evaluated.

Quality of Griffin-Lim is the spectral convergence reached (smaller is better): compare rows of like convergence.
"""

from __future__ import annotations

import numpy as np
import torch
from tools.bench.published_lip2speech import ConvolutionalStft, plain, plain_step
from tools.bench.registry import Work, case
from torch import Tensor

from viseme.core.signal import VCA_LRS_MEL, GriffinLim, peak_normalise, spectral_convergence
from viseme.lip2speech.models import VCAGAN, VCAConfig
from viseme.lip2speech.objective import VCAObjective, VCAStep
from viseme.lip2speech.optim import vca_optimizers

SPEC = VCA_LRS_MEL
SECONDS = 3


def voiced(seconds: float = SECONDS, seed: int = 0) -> Tensor:
    """Harmonics under syllables and breath, at 16 kHz."""
    t = torch.arange(int(16000 * seconds)) / 16000
    pitch = 120 + 30 * torch.sin(2 * torch.pi * 2.1 * t + seed)
    phase = 2 * torch.pi * torch.cumsum(pitch, 0) / 16000
    x = sum(torch.sin(k * phase) / k for k in range(1, 40))
    noise = torch.randn(len(t), generator=torch.Generator().manual_seed(seed))
    return peak_normalise((0.2 * x + 0.05 * noise) * torch.sin(2 * torch.pi * 2.3 * t).clamp(min=0.02))


def magnitudes(clips: int) -> tuple[Tensor, Tensor]:
    magnitude = torch.stack([SPEC.magnitude(voiced(seed=seed)) for seed in range(clips)])
    turns = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0))
    return magnitude, turns


def convergence(x: Tensor, magnitude: Tensor) -> str:
    return f"convergence {float(spectral_convergence(x, magnitude, SPEC.n_fft, SPEC.hop, SPEC.win).mean()):.3f}"


def ours(clips: int, iterations: int, momentum: float) -> Work:
    magnitude, turns = magnitudes(clips)
    solver = GriffinLim(SPEC.n_fft, SPEC.hop, SPEC.win, iterations=iterations, momentum=momentum)
    return lambda: convergence(solver(magnitude, phase_uniform=turns), magnitude)


def convolutional(clips: int) -> Work:
    magnitude, turns = magnitudes(clips)
    layer = ConvolutionalStft(SPEC.n_fft, SPEC.hop, SPEC.win)
    phase = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).angle()
    return lambda: convergence(layer.griffin_lim(magnitude, 60, phase), magnitude)


def by_librosa(clips: int, iterations: int, momentum: float) -> Work:
    import librosa

    magnitude, _ = magnitudes(clips)
    arrays = magnitude.numpy()

    def work() -> str:
        options = {"n_iter": iterations, "hop_length": SPEC.hop, "win_length": SPEC.win, "n_fft": SPEC.n_fft}
        x = librosa.griffinlim(arrays, momentum=momentum, pad_mode="reflect", random_state=0, **options)
        return convergence(torch.from_numpy(np.ascontiguousarray(x)), magnitude)

    return work


for _clips in (1, 16):
    _size = f"{_clips} x {SECONDS} s, 60 iterations"

    @case("Griffin-Lim", _size, "published convolutions", items=_clips, runs=3)
    def _(clips: int = _clips) -> Work:
        return convolutional(clips)

    @case("Griffin-Lim", _size, items=_clips, runs=3)
    def _(clips: int = _clips) -> Work:
        return ours(clips, 60, 0.0)

    _size = f"{_clips} x {SECONDS} s, momentum"

    @case("Griffin-Lim, momentum", _size, "librosa, 32 iterations", items=_clips, runs=3)
    def _(clips: int = _clips) -> Work:
        return by_librosa(clips, 32, 0.99)

    @case("Griffin-Lim, momentum", _size, items=_clips, runs=3)
    def _(clips: int = _clips) -> Work:
        return ours(clips, 32, 0.99)


def gan(*, port: bool) -> VCAGAN:
    torch.manual_seed(0)
    model = VCAGAN(VCAConfig(dropout=0.0))
    if port:
        plain(model)
    return model


def inference(*, port: bool) -> Work:
    model = gan(port=port).eval()
    frames = 25 * SECONDS
    video = torch.randn(1, 1, frames, 112, 112)
    layer = ConvolutionalStft(SPEC.n_fft, SPEC.hop, SPEC.win)
    solver = GriffinLim(SPEC.n_fft, SPEC.hop, SPEC.win, iterations=32, momentum=0.99)

    def work() -> str:
        with torch.inference_mode():
            spectrogram = model.speak(video).spectrogram[:, 0]
            magnitude = 14 * SPEC.compression.inverse(spectrogram)
            x = layer.griffin_lim(magnitude, 60, torch.zeros_like(magnitude)) if port else solver(magnitude)
        return f"{x.shape[-1] / 16000:.2f} s of speech"

    return work


@case("VCA-GAN, inference", f"base, 1 x {SECONDS} s, 2 passes", "plain port", runs=2)
def _() -> Work:
    return inference(port=True)


@case("VCA-GAN, inference", f"base, 1 x {SECONDS} s, 2 passes", runs=2)
def _() -> Work:
    return inference(port=False)


def step(*, port: bool, clips: int, frames: int) -> Work:
    model = gan(port=port).train()
    optimizers = list(vca_optimizers(model))
    video = torch.randn(clips, 1, frames, 112, 112)
    mel = torch.rand(clips, 1, 80, 4 * frames) * 2 - 1
    spectrogram = torch.rand(clips, 1, 321, 4 * frames) * 2 - 1

    def work() -> str:
        if port:
            return f"recon {plain_step(model, video, mel, spectrogram, optimizers):.3f}"
        speaking, judging = optimizers
        made = VCAStep(model, VCAObjective(), video, mel, spectrogram)
        losses = made.discriminators()
        judging.zero_grad()
        losses["d_loss"].backward()
        judging.step()
        losses = made.generator()
        speaking.zero_grad()
        losses["g_loss"].backward()
        made.visual().backward()
        speaking.step()
        return f"recon {float(losses['recon_loss']):.3f}"

    return work


@case("VCA-GAN, training step", "base, 2 x 50 frames", "plain port", items=2, runs=2)
def _() -> Work:
    return step(port=True, clips=2, frames=50)


@case("VCA-GAN, training step", "base, 2 x 50 frames", items=2, runs=2)
def _() -> Work:
    return step(port=False, clips=2, frames=50)
