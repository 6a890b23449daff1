"""Griffin-Lim: a waveform whose short-time magnitudes are the given ones, found by going back and forth.

D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform" (1984); with momentum,
N. Perraudin, P. Balazs, P. Sondergaard, "A fast Griffin-Lim algorithm" (2013).

Frames are laid over one another as blocks of one hop, never through a transposed convolution, and only the samples
under the window are touched: that, and not a cleverer iteration, is what makes it quick.

B clips, S samples, F frequency bins (n_fft // 2 + 1), T columns, W samples of the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

__all__ = ["GriffinLim", "griffin_lim", "spectral_convergence"]

_IN_CACHE = 2**17
"""Values of a spectrum that a CPU core's cache holds through an iteration; larger batches are solved in parts."""

_TINY = 1e-18  # its square is still a normal float32: the phase of an exact zero comes out as 0, as published


class GriffinLim:
    """The iteration for one geometry of the transform (periodic Hann window centred in `n_fft`, reflected ends).

    Args:
        n_fft, hop, win: in samples; the window is a whole number of hops.
        iterations: as published, 60.
        momentum: 0 is the published iteration; 0.99 reaches the same spectral convergence in fewer.

    Raises:
        ValueError: a window that hops do not divide, or wider than the FFT.
    """

    def __init__(self, n_fft: int, hop: int, win: int | None = None, *, iterations: int = 60, momentum: float = 0.0):
        win = n_fft if win is None else win
        if win > n_fft or win % hop or win % 2:
            raise ValueError(f"win must be a whole even number of hops and at most n_fft, got {win}, {hop}, {n_fft}")
        if not 0 <= momentum < 1 or iterations < 0:
            raise ValueError(f"momentum must be in [0, 1) and iterations not negative, got {momentum}, {iterations}")
        self.n_fft, self.hop, self.win = n_fft, hop, win
        self.iterations, self.momentum = iterations, momentum

    def __call__(
        self,
        magnitude: Tensor,
        *,
        phase_uniform: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Waveforms (..., hop * (T - 1)) of magnitudes (..., F, T).

        Args:
            magnitude: float; negative values flip the phase.
            phase_uniform: (..., F, T) in [0, 1), the initial phase in turns; drawn where None.
            generator: of that draw (made on the CPU, so that a seed means the same everywhere).

        Raises:
            ValueError: too few columns for the ends to be reflected, or shapes that do not fit.
        """
        lead = magnitude.shape[:-2]
        magnitude_BTF = self._columns(magnitude)
        phase_BTF = self._phase(magnitude_BTF, phase_uniform, generator)
        size = max(1, _IN_CACHE // magnitude_BTF[0].numel()) if magnitude_BTF.device.type == "cpu" else len(phase_BTF)
        parts = zip(magnitude_BTF.split(size), phase_BTF.split(size))
        waves = [self.synthesise(self.run(magnitude, magnitude * phase)) for magnitude, phase in parts]
        return torch.cat(waves).reshape(*lead, -1)

    def stream(
        self,
        chunks: Iterable[Tensor],
        *,
        context: int = 32,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """The same for magnitudes that come in pieces: memory does not grow, and pieces join without seams.

        Each piece is solved together with `context` columns before it, whose phases stand, and the last `context`
        columns of a piece are solved again with the next one.

        Args:
            chunks: (F, T) pieces of one magnitude spectrogram, of any lengths.
            context: columns of overlap to either side.
            generator: of the initial phases.

        Yields:
            (S,) pieces; together hop * (T - 1) samples.

        Raises:
            ValueError: too few columns altogether.
        """
        held: Tensor | None = None  # (T, F) columns that are not final, with `context` final ones before them
        known: Tensor | None = None  # the spectrum of the first columns of `held`: their phases stand
        begin = 0  # the column of `held` from whose centre on samples are still to be given
        reach = self.win // 2 // self.hop + 1  # columns after a sample that reach it
        if context <= reach:
            raise ValueError(f"context must be more than {reach} columns, got {context}")
        for last, chunk in _mark_last(chunks):
            fresh = chunk.transpose(-1, -2)
            held = fresh if held is None else torch.cat([held, fresh])
            if not last and len(held) < 4 * context:
                continue
            spectrum = self._solve_after(held, known, generator)
            wave = self.synthesise(spectrum[None])[0]
            stop = len(held) - 1 if last else len(held) - 1 - context
            yield wave[begin * self.hop : stop * self.hop]
            start = stop - context
            if not last:
                held, known, begin = held[start:], spectrum[start : stop + reach], context
        if held is None:
            raise ValueError("no columns to make a waveform of")

    @torch.no_grad()
    def run(self, magnitude_BTF: Tensor, spectrum_BTF: Tensor, known_BTF: Tensor | None = None) -> Tensor:
        """All iterations, from a spectrum to one with the given magnitudes; the first columns stay as in `known`."""
        before: Tensor | None = None
        keep = self.momentum / (1 + self.momentum)
        for _ in range(self.iterations):
            rebuilt = self.analyse(self.synthesise(spectrum_BTF))
            if before is None or not keep:
                spectrum_BTF = rebuilt
            else:
                pushed = torch.sub(torch.view_as_real(rebuilt), torch.view_as_real(before), alpha=keep)
                spectrum_BTF = torch.view_as_complex(pushed)
            before = rebuilt if keep else None
            spectrum_BTF = _with_magnitude(spectrum_BTF, magnitude_BTF)
            if known_BTF is not None:
                spectrum_BTF[:, : known_BTF.shape[1]] = known_BTF
        return spectrum_BTF

    def synthesise(self, spectrum_BTF: Tensor) -> Tensor:
        """Least-squares waveform (B, hop * (T - 1)) of a complex spectrum (B, T, F)."""
        batch, columns = spectrum_BTF.shape[:2]
        offset, parts, hop = (self.n_fft - self.win) // 2, self.win // self.hop, self.hop
        window_W = self._window(spectrum_BTF)
        frames_BTW = torch.fft.irfft(spectrum_BTF, n=self.n_fft)[..., offset : offset + self.win] * window_W
        blocks = frames_BTW.view(batch, columns, parts, hop)
        laid = frames_BTW.new_zeros(batch, columns + parts - 1, hop)
        weight = frames_BTW.new_zeros(columns + parts - 1, hop)
        squares = (window_W * window_W).view(parts, hop)
        for part in range(parts):
            laid[:, part : part + columns] += blocks[:, :, part]
            weight[part : part + columns] += squares[part]
        half, samples = self.win // 2, hop * (columns - 1)
        return laid.view(batch, -1)[:, half : half + samples] / weight.view(-1)[half : half + samples]

    def analyse(self, x_BS: Tensor) -> Tensor:
        """Complex spectrum (B, T, F) of waveforms (B, S), the ends reflected."""
        half, offset = self.win // 2, (self.n_fft - self.win) // 2
        padded = torch.cat([x_BS[:, 1 : half + 1].flip(-1), x_BS, x_BS[:, -half - 1 : -1].flip(-1)], dim=-1)
        frames_BTW = padded.unfold(-1, self.win, self.hop) * self._window(x_BS)
        if offset:
            frames_BTW = torch.nn.functional.pad(frames_BTW, (offset, self.n_fft - self.win - offset))
        return torch.fft.rfft(frames_BTW)

    def _window(self, like: Tensor) -> Tensor:
        dtype = like.real.dtype if like.is_complex() else like.dtype
        return torch.hann_window(self.win, periodic=True, dtype=dtype, device=like.device)

    def _columns(self, magnitude: Tensor) -> Tensor:
        """(..., F, T) -> (B, T, F), checked."""
        bins, columns = magnitude.shape[-2:]
        if bins != self.n_fft // 2 + 1:
            raise ValueError(f"magnitudes of an FFT of {self.n_fft} have {self.n_fft // 2 + 1} bins, got {bins}")
        self._check(columns)
        return magnitude.reshape(-1, bins, columns).transpose(1, 2).contiguous()

    def _check(self, columns: int) -> None:
        if self.hop * (columns - 1) <= self.win // 2:
            least = self.win // 2 // self.hop + 2
            raise ValueError(f"Griffin-Lim needs at least {least} columns, got {columns}")

    def _phase(self, magnitude_BTF: Tensor, phase_uniform: Tensor | None, generator: torch.Generator | None) -> Tensor:
        if phase_uniform is None:
            turns = torch.rand(magnitude_BTF.shape, generator=generator).to(magnitude_BTF)
        else:
            turns = phase_uniform.to(magnitude_BTF).reshape(-1, *phase_uniform.shape[-2:]).transpose(1, 2)
            if turns.shape != magnitude_BTF.shape:
                raise ValueError(f"phases must be shaped like magnitudes, got {tuple(phase_uniform.shape)}")
        return torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)

    def _solve_after(self, magnitude_TF: Tensor, known_TF: Tensor | None, generator: torch.Generator | None) -> Tensor:
        self._check(len(magnitude_TF))
        magnitude = magnitude_TF[None].contiguous()
        spectrum = magnitude * self._phase(magnitude, None, generator)
        known = None if known_TF is None else known_TF[None]
        if known is not None:
            spectrum[:, : known.shape[1]] = known
        return self.run(magnitude, spectrum, known)[0]


def griffin_lim(
    magnitude: Tensor,
    n_fft: int,
    hop: int,
    win: int | None = None,
    *,
    iterations: int = 60,
    momentum: float = 0.0,
    phase_uniform: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Waveforms (..., hop * (T - 1)) of magnitudes (..., F, T); see `GriffinLim`."""
    solver = GriffinLim(n_fft, hop, win, iterations=iterations, momentum=momentum)
    return solver(magnitude, phase_uniform=phase_uniform, generator=generator)


def spectral_convergence(x: Tensor, magnitude: Tensor, n_fft: int, hop: int, win: int | None = None) -> Tensor:
    """|| |STFT(x)| - magnitude || / || magnitude ||: (...,) of waveforms (..., S) and magnitudes (..., F, T)."""
    solver = GriffinLim(n_fft, hop, win)
    got = solver.analyse(x.reshape(-1, x.shape[-1])).abs().transpose(1, 2).reshape(magnitude.shape)
    return (got - magnitude).flatten(-2).norm(dim=-1) / magnitude.flatten(-2).norm(dim=-1)


def _with_magnitude(spectrum: Tensor, magnitude: Tensor) -> Tensor:
    """The phases of one with the magnitudes of the other; on real numbers, as complex ones are several times slower."""
    parts = torch.view_as_real(spectrum)
    real, imaginary = parts[..., 0] + _TINY, parts[..., 1]
    scale = torch.addcmul(real * real, imaginary, imaginary).rsqrt_().mul_(magnitude)
    made = torch.empty_like(parts)
    torch.mul(real, scale, out=made[..., 0])
    torch.mul(imaginary, scale, out=made[..., 1])
    return torch.view_as_complex(made)


def _mark_last(items: Iterable[Tensor]) -> Iterator[tuple[bool, Tensor]]:
    iterator = iter(items)
    current = next(iterator, None)
    while current is not None:
        following = next(iterator, None)
        yield following is None, current
        current = following
