"""Between waveforms and what the networks see of them: mels, linear spectrograms, and the published ways back.

S samples at 16 kHz, F linear bins, T columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from viseme.core.signal import GriffinLim, LogRange, MelSpec, inverse_preemphasis, peak_normalise

__all__ = ["MEL_GAIN", "SPECTROGRAM_GAIN", "Inverter", "MelInverse", "analyse", "log_spectrogram", "mel_to_magnitude"]

MEL_GAIN = 1000.0
"""Published mels become linear magnitudes by the transposed mel matrix times this."""

SPECTROGRAM_GAIN = 14.0
"""The scaling of a log spectrogram to [0, 1] loses its level; this one is put back."""

MelInverse = Literal["pseudo", "transpose"]

_SCALE = LogRange()


def analyse(x: Tensor, spec: MelSpec) -> tuple[Tensor, Tensor]:
    """Mel features (..., 80, T) and linear magnitudes (..., F, T) of a waveform (..., S) with its peak put at 0.9."""
    magnitude = spec.magnitude(peak_normalise(x))
    return spec.compression(spec.basis().to(magnitude) @ magnitude), magnitude


def log_spectrogram(magnitude: Tensor) -> Tensor:
    """Linear magnitudes (..., F, T) with their minimum and maximum at 0 and 1, on the scale of mels."""
    low, high = magnitude.amin((-2, -1), keepdim=True), magnitude.amax((-2, -1), keepdim=True)
    return _SCALE((magnitude - low) / (high - low).clamp(min=torch.finfo(magnitude.dtype).tiny))


def mel_to_magnitude(mel: Tensor, spec: MelSpec, inverse: MelInverse = "pseudo") -> Tensor:
    """Normalised mel (..., 80, T) to linear magnitudes (..., F, T).

    Args:
        inverse: of the mel matrix: `pseudo` (its pseudo-inverse, negative magnitudes cut), or `transpose` as published,
            which smears bands over one another.
    """
    back = _inverse_basis(spec, inverse).to(mel)
    return (back @ spec.compression.inverse(mel)).clamp(min=0)


@lru_cache(maxsize=8)
def _inverse_basis(spec: MelSpec, inverse: MelInverse) -> Tensor:
    if inverse == "transpose":
        return MEL_GAIN * spec.basis().T
    return torch.linalg.pinv(spec.basis().double()).float()


class Inverter:
    """Waveforms of generated mels or spectrograms by Griffin-Lim.

    Args:
        spec: the front-end that the mels are of.
        iterations, momentum: see `GriffinLim`; published are 60 and 0.
        mel_inverse: see `mel_to_magnitude`; published is `transpose`.
    """

    def __init__(
        self, spec: MelSpec, *, iterations: int = 32, momentum: float = 0.99, mel_inverse: MelInverse = "pseudo"
    ) -> None:
        self.spec, self.mel_inverse = spec, mel_inverse
        self.solver = GriffinLim(spec.n_fft, spec.hop, spec.win, iterations=iterations, momentum=momentum)

    def of_mel(
        self, mel: Tensor, *, phase_uniform: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """(..., 80, T) normalised mel -> (..., hop * (T - 1)) in [-1, 1]."""
        return self.of_magnitude(
            mel_to_magnitude(mel, self.spec, self.mel_inverse), phase_uniform=phase_uniform, generator=generator
        )

    def of_log_spectrogram(
        self, spectrogram: Tensor, *, phase_uniform: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """(..., F, T) log spectrogram -> (..., hop * (T - 1)) in [-1, 1]."""
        magnitude = SPECTROGRAM_GAIN * _SCALE.inverse(spectrogram)
        return self.of_magnitude(magnitude, phase_uniform=phase_uniform, generator=generator)

    def of_magnitude(
        self, magnitude: Tensor, *, phase_uniform: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """(..., F, T) magnitudes -> (..., hop * (T - 1)) in [-1, 1]; negative ones flip the phase."""
        x = self.solver(magnitude, phase_uniform=phase_uniform, generator=generator)
        return inverse_preemphasis(x, self.spec.preemphasis).clamp(-1, 1)

    def stream(self, magnitudes: Iterable[Tensor], *, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """Samples of magnitudes that come in pieces (F, t), in one stream without seams."""
        before = torch.zeros(1)  # what de-emphasis carries from piece to piece
        for piece in self.solver.stream(magnitudes, generator=generator):
            piece = inverse_preemphasis(torch.cat([before, piece]), self.spec.preemphasis)[1:]
            before = piece[-1:] if len(piece) else before
            yield piece.clamp(-1, 1)
