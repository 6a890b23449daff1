"""How intelligible and how good speech sounds beside its reference: STOI, ESTOI and PESQ, by the libraries that
published tables used, with the resampling before them named.

Taal et al. 2011 (STOI), Jensen and Taal 2016 (ESTOI), ITU-T P.862 (PESQ). A published PESQ is narrow-band at 8 kHz; how
the 16 kHz sound got there differs from paper to paper and moves the score by hundredths.

S samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from viseme.core.errors import ConfigError, DataError, DependencyError

__all__ = ["PESQ_CONVENTIONS", "PesqConvention", "SpeechScores", "estoi", "pesq", "speech_scores", "stoi"]

PesqConvention = Literal["nb_8k_soxr_hq", "nb_8k_kaiser_best", "nb_16k", "wb_16k"]
PESQ_CONVENTIONS: tuple[PesqConvention, ...] = get_args(PesqConvention)
"""`nb_8k_soxr_hq`: narrow-band at 8 kHz, resampled as librosa does since 0.10 (the default here). `nb_8k_kaiser_best`:
resampled as librosa did before (resampy's filter). `nb_16k`: narrow-band straight at 16 kHz, as VCA-GAN's validation on
LRS does: not comparable with the others. `wb_16k`: wide-band."""

RATE = 16_000


@dataclass(frozen=True)
class SpeechScores:
    """Scores of one clip; `pesq` is None where PESQ finds no utterance in one of the two."""

    stoi: float
    estoi: float
    pesq: float | None


def speech_scores(
    reference: np.ndarray, degraded: np.ndarray, *, pesq_convention: PesqConvention = "nb_8k_soxr_hq"
) -> SpeechScores:
    """All three scores of sound at 16 kHz, both cut to the shorter length.

    Raises:
        DataError: too short or too silent to score with STOI.
        DependencyError: pystoi or pesq is not installed.
    """
    length = min(len(reference), len(degraded))
    reference, degraded = reference[:length], degraded[:length]
    try:
        quality: float | None = pesq(reference, degraded, pesq_convention)
    except DataError:
        quality = None
    return SpeechScores(stoi(reference, degraded), estoi(reference, degraded), quality)


def stoi(reference: np.ndarray, degraded: np.ndarray, rate: int = RATE) -> float:
    """Short-time objective intelligibility, about 0 to 1, of two signals (S,) of equal length.

    Raises:
        DataError: lengths differ, or less than 0.4 s of the reference is not silence.
        DependencyError: pystoi is not installed.
    """
    return _stoi(reference, degraded, rate, extended=False)


def estoi(reference: np.ndarray, degraded: np.ndarray, rate: int = RATE) -> float:
    """Extended STOI, which also counts spectral correlation; as `stoi`."""
    return _stoi(reference, degraded, rate, extended=True)


def _stoi(reference: np.ndarray, degraded: np.ndarray, rate: int, *, extended: bool) -> float:
    try:
        from pystoi import stoi as score
    except ImportError as error:
        raise _missing("STOI", "pystoi") from error
    _check(reference, degraded)
    import warnings

    # pystoi only warns, and gives 1e-5, where it cannot score: that must not enter a mean.
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(score(reference.astype(np.float64), degraded.astype(np.float64), rate, extended=extended))
        except (RuntimeWarning, ValueError) as error:
            raise DataError(
                "too little sound to score with STOI", expected="0.4 s of speech", got=f"{len(reference) / rate:.2f} s"
            ) from error


def pesq(reference: np.ndarray, degraded: np.ndarray, convention: PesqConvention = "nb_8k_soxr_hq") -> float:
    """PESQ (a mean opinion score, about 1 to 4.5) of two signals (S,) at 16 kHz.

    Raises:
        DataError: lengths differ, PESQ finds no utterance, or less than a quarter of a second.
        ConfigError: no such convention.
        DependencyError: pesq is not installed.
    """
    if convention not in PESQ_CONVENTIONS:
        raise ConfigError("no such convention of PESQ", expected=" | ".join(PESQ_CONVENTIONS), got=convention)
    try:
        import pesq as library
    except ImportError as error:
        raise _missing("PESQ", "pesq") from error
    _check(reference, degraded)
    if not reference.any() or not degraded.any():
        raise DataError("PESQ cannot score silence")
    band, rate = convention[:2], RATE
    if "_8k_" in convention:
        rate = 8000
        reference, degraded = (to_8k(x, convention.removeprefix("nb_8k_")) for x in (reference, degraded))
    try:
        return float(library.pesq(rate, reference.astype(np.float32), degraded.astype(np.float32), band))
    except (library.PesqError, ValueError) as error:
        raise DataError("PESQ cannot score this sound", got=str(error)) from error


def to_8k(x: np.ndarray, resampler: str) -> np.ndarray:
    """16 kHz sound (S,) at 8 kHz, (S + 1) // 2 samples: `soxr_hq`, or resampy's `kaiser_best`."""
    if resampler == "soxr_hq":
        import soxr

        return soxr.resample(x, RATE, 8000, quality="HQ")
    return _kaiser_best(x)


def _kaiser_best(x: np.ndarray) -> np.ndarray:
    """Halved with the filter that resampy calls `kaiser_best`: a sinc of 50 zero crossings under a Kaiser window of
    beta 12.98, cut off at 0.917 of the lower Nyquist frequency."""
    crossings, beta, rolloff = 50, 12.984585247040012, 0.917347
    steps = np.arange(2 * crossings) / 2  # in crossings: one is two samples of the input
    window = np.i0(beta * np.sqrt(1 - (steps / crossings) ** 2)) / np.i0(beta)
    taps = 0.5 * rolloff * np.sinc(rolloff * steps) * window
    kernel = np.concatenate([taps[:0:-1], taps])
    count = (len(x) + 1) // 2
    filtered = np.convolve(x.astype(np.float64), kernel)[len(taps) - 1 :]
    return filtered[::2][:count].astype(np.float32)


def _check(reference: np.ndarray, degraded: np.ndarray) -> None:
    if reference.ndim != 1 or reference.shape != degraded.shape:
        raise DataError("two signals of one length are needed", expected=reference.shape, got=degraded.shape)
    for name, x in (("reference", reference), ("degraded", degraded)):
        if not np.isfinite(x).all():
            raise DataError(f"the {name} signal holds values that are not finite")


def _missing(what: str, package: str) -> DependencyError:
    return DependencyError(f"{what} needs {package}", hint="pip install 'viseme-core[metrics]'")
