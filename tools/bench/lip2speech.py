"""Lip-to-speech: Griffin-Lim beside the published convolutional one and librosa, inference and a training
step of both systems beside plain ports, and how long a test set takes to be evaluated.

Quality of Griffin-Lim is the spectral convergence reached (smaller is better): compare rows of like convergence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tools.bench.published_lip2speech import (
    ConvolutionalStft,
    plain,
    plain_multitask,
    plain_multitask_step,
    plain_step,
)
from tools.bench.registry import Work, case
from torch import Tensor

from viseme.core.cli.config import compose
from viseme.core.data import Manifest, ManifestRow
from viseme.core.files import scratch_folder
from viseme.core.media import write_audio, write_video
from viseme.core.signal import MULTITASK_MEL, VCA_LRS_MEL, GriffinLim, peak_normalise, spectral_convergence
from viseme.core.types import Audio, Video
from viseme.lip2speech.batches import MultitaskBatch
from viseme.lip2speech.evaluate import evaluate_split
from viseme.lip2speech.models import VCAGAN, MultitaskConfig, MultitaskModel, VCAConfig, for_inference
from viseme.lip2speech.objective import MultitaskObjective, MultitaskStep, VCAObjective, VCAStep
from viseme.lip2speech.optim import multitask_optimizer, vca_optimizers
from viseme.lip2speech.pipeline import Lip2Speech
from viseme.lip2speech.sound import Inverter, mel_to_magnitude

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

    @case("Griffin-Lim", _size, "librosa", items=_clips, runs=3)
    def _(clips: int = _clips) -> Work:
        return by_librosa(clips, 60, 0.0)

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


def ready(model: Any, *, port: bool, bf16: bool) -> Any:
    """As the pipeline has it."""
    return model if port else for_inference(model, bf16=bf16)


def half(on: bool) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=on)


def inference(*, port: bool, bf16: bool = False) -> Work:
    model = ready(gan(port=port).eval(), port=port, bf16=bf16)
    frames = 25 * SECONDS
    video = torch.randn(1, 1, frames, 112, 112)
    layer = ConvolutionalStft(SPEC.n_fft, SPEC.hop, SPEC.win)
    solver = GriffinLim(SPEC.n_fft, SPEC.hop, SPEC.win, iterations=32, momentum=0.99)

    def work() -> str:
        with torch.inference_mode():
            with half(bf16):
                spectrogram = model.speak(video).spectrogram[:, 0].float()
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


@case("VCA-GAN, inference", f"base, 1 x {SECONDS} s, 2 passes, bf16", runs=2)
def _() -> Work:
    return inference(port=False, bf16=True)


def multitask_inference(*, port: bool, bf16: bool = False) -> Work:
    torch.manual_seed(0)
    model = MultitaskModel(MultitaskConfig()).eval()
    if port:
        plain_multitask(model)
    model = ready(model, port=port, bf16=bf16)
    spec = MULTITASK_MEL
    video, prompt = torch.randn(1, 1, 25 * SECONDS, 112, 112), torch.rand(1, 1, 80, 50) * 2 - 1
    layer = ConvolutionalStft(spec.n_fft, spec.hop, spec.win)
    inverter = Inverter(spec)

    def work() -> str:
        with torch.inference_mode():
            with half(bf16):
                mel = model.speak(video, prompt)[:, 0].float()
            if port:
                magnitude = mel_to_magnitude(mel, spec, "transpose")
                x = layer.griffin_lim(magnitude, 60, torch.zeros_like(magnitude))
            else:
                x = inverter.of_mel(mel)
        return f"{x.shape[-1] / 16000:.2f} s of speech"

    return work


@case("Multi-task, inference", f"base, 1 x {SECONDS} s", "plain port", runs=3)
def _() -> Work:
    return multitask_inference(port=True)


@case("Multi-task, inference", f"base, 1 x {SECONDS} s", runs=3)
def _() -> Work:
    return multitask_inference(port=False)


@case("Multi-task, inference", f"base, 1 x {SECONDS} s, bf16", runs=3)
def _() -> Work:
    return multitask_inference(port=False, bf16=True)


def step(*, port: bool, clips: int, frames: int, bf16: bool = False) -> Work:
    model = gan(port=port).train()
    optimizers: list[torch.optim.Optimizer] = list(vca_optimizers(model))
    if port:  # as published: the library's default
        optimizers = [
            torch.optim.Adam([p for part in parts for p in part.parameters()], lr=1e-4, weight_decay=1e-5)
            for parts in (model.speaking(), model.judging())
        ]
    video = torch.randn(clips, 1, frames, 112, 112)
    mel = torch.rand(clips, 1, 80, 4 * frames) * 2 - 1
    spectrogram = torch.rand(clips, 1, 321, 4 * frames) * 2 - 1

    def work() -> str:
        if port:
            return f"recon {plain_step(model, video, mel, spectrogram, optimizers):.3f}"
        speaking, judging = optimizers
        with half(bf16):
            made = VCAStep(model, VCAObjective(), video, mel, spectrogram)
            losses = made.discriminators()
        judging.zero_grad()
        losses["d_loss"].backward()
        judging.step()
        with half(bf16):
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


@case("VCA-GAN, training step", "base, 2 x 50 frames, bf16-mixed", items=2, runs=2)
def _() -> Work:
    return step(port=False, clips=2, frames=50, bf16=True)


def multitask_step(*, port: bool, clips: int, frames: int, bf16: bool = False) -> Work:
    torch.manual_seed(0)
    model = MultitaskModel(MultitaskConfig(dropout=0.0, conformer_dropout=0.0)).train()
    if port:
        plain_multitask(model)
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, amsgrad=True)
    else:
        optimizer = multitask_optimizer([model])
    units = 12
    lengths = torch.full((clips,), frames)
    batch = MultitaskBatch(
        torch.randn(clips, 1, frames, 112, 112),
        torch.rand(clips, 1, 80, 4 * frames) * 2 - 1,
        torch.rand(clips, 1, 80, 100) * 2 - 1,
        lengths,
        4 * lengths,
        torch.randint(1, 4000, (clips, units)),
        torch.full((clips,), units),
        torch.zeros(clips, dtype=torch.long),
        lengths,
        [],
        [],
        [],
    )

    def work() -> str:
        if port:
            return f"recon {plain_multitask_step(model, batch, optimizer):.3f}"
        with half(bf16):
            losses = MultitaskStep.run(model, MultitaskObjective(), batch).losses
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        return f"recon {float(losses['recon_loss'].detach()):.3f}"

    return work


@case("Multi-task, training step", "base, 2 x 50 frames", "plain port", items=2, runs=2)
def _() -> Work:
    return multitask_step(port=True, clips=2, frames=50)


@case("Multi-task, training step", "base, 2 x 50 frames", items=2, runs=2)
def _() -> Work:
    return multitask_step(port=False, clips=2, frames=50)


@case("Multi-task, training step", "base, 2 x 50 frames, bf16-mixed", items=2, runs=2)
def _() -> Work:
    return multitask_step(port=False, clips=2, frames=50, bf16=True)


def evaluation(system: str, clips: int, *, bf16: bool) -> Work:
    """`lip2speech evaluate` of a base model with the published two passes: speech, the real speech's way back, and
    STOI, ESTOI and PESQ of three kinds of speech of every clip."""
    folder = scratch_folder("bench")
    rows, frames = [], 25 * SECONDS
    drawn = np.random.default_rng(0)
    for number in range(clips):
        pictures = np.kron(drawn.integers(0, 255, (frames, 12, 12), dtype=np.uint8), np.ones((1, 8, 8), np.uint8))
        write_video(folder / f"{number}.mp4", Video(np.repeat(pictures[..., None], 3, -1), 25.0))
        write_audio(folder / f"{number}.flac", Audio(voiced(seed=number).numpy(), 16000))
        files = (f"{number}.mp4", f"{number}.flac")
        rows.append(ManifestRow(str(number), *files, frames, 25.0, 640 * frames, 16000, split="test"))
    Manifest(rows, folder).write(folder / "manifest.csv")
    torch.manual_seed(0)
    model: Any = VCAGAN(VCAConfig()) if system == "vca" else MultitaskModel(MultitaskConfig())
    Lip2Speech(model, device="cpu").save(folder / "model")
    options = [f"recipe={system}_demo", "data.size=112", f"data.data={folder}", f"evaluate.model={folder / 'model'}"]
    options += [f"evaluate.out={folder / 'out'}", "evaluate.samples=0", "evaluate.device=cpu", f"evaluate.bf16={bf16}"]
    cfg = compose("viseme.lip2speech", options)
    return lambda: f"{evaluate_split(cfg).rows[0].clips} clips scored"


for _system in ("vca", "multitask"):
    for _bf16 in (False, True):
        _size = f"{_system} base, 48 x {SECONDS} s{', bf16' if _bf16 else ''}"

        @case("Lip-to-speech, evaluation", _size, items=48, runs=1, full_only=True)
        def _(system: str = _system, bf16: bool = _bf16) -> Work:
            return evaluation(system, 48, bf16=bf16)
