"""Phonemes to mouth shapes: targets per viseme, blended by dominance functions.

Source of the blending: Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993. Each segment
pulls each parameter toward its target with a strength that decays with distance in time; a target that matters little
to a sound (the rounding of a /t/) has little dominance, so its neighbours' shape shows through.

T frames, N segments, P parameters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from viseme.core.errors import DataError
from viseme.core.synthetic.speech import Phoneme

__all__ = ["PARAMETERS", "VISEMES", "Viseme", "visemes_of", "mouth_track"]

PARAMETERS = ("open", "spread", "round", "raise", "press", "tuck", "tongue", "dental")
"""Jaw opening, corners out, corners in with protrusion, upper lip up, lips pressed together, lower lip under the upper
teeth (f, v), tongue tip at the ridge (t, l), tongue tip between the teeth (th). Each 0..1."""

_DECAY_S = dict(zip(PARAMETERS, (0.045, 0.06, 0.08, 0.045, 0.028, 0.03, 0.04, 0.03), strict=True))
_WEAK, _FIRM, _HARD = 0.25, 1.0, 12.0


@dataclass(frozen=True)
class Viseme:
    """A mouth shape: targets by parameter (0 where not named) and how firmly it holds them (`_FIRM` where named)."""

    targets: dict[str, float]
    dominance: dict[str, float] = field(default_factory=dict)

    def rows(self) -> tuple[list[float], list[float]]:
        targets = [self.targets.get(name, 0.0) for name in PARAMETERS]
        default = [_FIRM if name in self.targets else _WEAK for name in PARAMETERS]
        return targets, [self.dominance.get(name, value) for name, value in zip(PARAMETERS, default, strict=True)]


VISEMES: dict[str, Viseme] = {
    "silence": Viseme({"open": 0.02, "press": 0.1}, {"spread": 0.5, "round": 0.5}),
    "p": Viseme({"open": 0.0, "press": 1.0}, {"open": _HARD, "press": _HARD, "tuck": 2.0, "tongue": _FIRM}),
    "f": Viseme({"open": 0.08, "raise": 0.35, "tuck": 1.0}, {"open": _HARD, "tuck": _HARD, "raise": 3.0, "press": 3.0}),
    "th": Viseme({"open": 0.2, "raise": 0.15, "dental": 1.0}, {"open": 4.0, "dental": _HARD, "press": 2.0}),
    "t": Viseme({"open": 0.16, "spread": 0.2, "raise": 0.1, "tongue": 0.8}, {"spread": 0.4, "press": 2.0}),
    "s": Viseme({"open": 0.14, "spread": 0.45, "raise": 0.3}, {"open": 3.0, "raise": 2.0, "press": 2.0}),
    "sh": Viseme({"open": 0.14, "round": 0.55, "raise": 0.45}, {"open": 3.0, "round": 2.0, "raise": 2.0, "press": 2.0}),
    "k": Viseme({"open": 0.24}, {"open": 0.6, "press": 2.0}),
    "h": Viseme({"open": 0.25}, {"open": 0.3, "press": 2.0}),
    "r": Viseme({"open": 0.15, "round": 0.5, "tongue": 0.15}, {"round": 1.5, "press": 2.0}),
    "w": Viseme({"open": 0.08, "round": 1.0}, {"open": 4.0, "round": 4.0, "press": 2.0}),
    "l": Viseme({"open": 0.3, "spread": 0.1, "tongue": 1.0}, {"spread": 0.4, "tongue": 3.0, "press": 2.0}),
    "i": Viseme({"open": 0.2, "spread": 0.85, "raise": 0.1}, {"spread": 1.5, "press": 2.0}),
    "ih": Viseme({"open": 0.28, "spread": 0.4}, {"press": 2.0}),
    "e": Viseme({"open": 0.5, "spread": 0.45}, {"press": 2.0}),
    "a": Viseme({"open": 0.9, "spread": 0.25}, {"open": 1.3, "round": 0.6, "press": 2.0}),
    "ah": Viseme({"open": 0.7}, {"open": 1.2, "round": 0.6, "press": 2.0}),
    "uh": Viseme({"open": 0.36}, {"open": 0.8, "press": 2.0}),
    "o": Viseme({"open": 0.55, "round": 0.7}, {"round": 1.5, "press": 2.0}),
    "u": Viseme({"open": 0.16, "round": 0.95}, {"round": 2.0, "press": 2.0}),
}

_IPA = {
    symbol: viseme
    for viseme, symbols in {
        "p": "pbm",
        "f": "fv",
        "th": "θð",
        "t": "tdnɾ",
        "s": "sz",
        "sh": "ʃʒ",
        "k": "kɡgŋxʔ",
        "h": "h",
        "r": "rɹɚɝɜ",
        "w": "wʍ",
        "l": "lɫ",
        "i": "ij",
        "ih": "ɪᵻ",
        "e": "eɛ",
        "a": "aæ",
        "ah": "ɑʌɐ",
        "uh": "ə",
        "o": "oɔɒ",
        "u": "uʊʉ",
    }.items()
    for symbol in symbols
}
_AFFRICATES = {"tʃ": "ʃ", "dʒ": "ʒ"}
_MARKS = "ˈˌːˑ"


def visemes_of(symbol: str) -> tuple[str, ...]:
    """The visemes of an IPA symbol in order: one for most, two for a diphthong, `silence` for a pause.

    Raises:
        DataError: a symbol that no viseme stands for.
    """
    bare = "".join(c for c in symbol if c not in _MARKS and not unicodedata.combining(c)).strip()
    for affricate, single in _AFFRICATES.items():
        bare = bare.replace(affricate, single)
    if not bare:
        return ("silence",)
    unknown = [c for c in bare if c not in _IPA]
    if unknown:
        raise DataError("no viseme for this phoneme", got=f"{symbol!r} ({unknown[0]!r})")
    return tuple(_IPA[c] for c in bare)


def mouth_track(phonemes: Sequence[Phoneme], frames: int, fps: float) -> np.ndarray:
    """The mouth's parameters over time.

    Args:
        phonemes: in order; before the first and after the last there is silence.
        frames, fps: frame t is taken at its middle, (t + 0.5) / fps seconds.

    Returns:
        (T, P) float32 in [0, 1], columns as in PARAMETERS.
    """
    segments: list[tuple[str, float, float]] = []
    if phonemes and phonemes[0].start_s > 0:
        segments.append(("silence", 0.0, phonemes[0].start_s))
    for phoneme in phonemes:
        names = visemes_of(phoneme.symbol)
        edges = np.linspace(phoneme.start_s, phoneme.end_s, len(names) + 1)
        segments += [(name, edges[k], edges[k + 1]) for k, name in enumerate(names)]
    end_s = segments[-1][2] if segments else 0.0
    segments.append(("silence", end_s, max(frames / fps, end_s)))

    rows = [VISEMES[name].rows() for name, _, _ in segments]
    target_NP, dominance_NP = (np.array(column) for column in zip(*rows, strict=True))
    start_N, end_N = (np.array([segment[k] for segment in segments]) for k in (1, 2))
    time_T = (np.arange(frames) + 0.5) / fps
    away_TN = np.maximum(0, np.maximum(start_N - time_T[:, None], time_T[:, None] - end_N))
    decay_P = np.array([_DECAY_S[name] for name in PARAMETERS])
    weight_TNP = dominance_NP * np.exp(-((away_TN[..., None] / decay_P) ** 2)) + 1e-12
    track_TP = (weight_TNP * target_NP).sum(1) / weight_TNP.sum(1)

    # Lips cannot be pressed together and open.
    press = PARAMETERS.index("press")
    closed_T = np.clip((track_TP[:, press] - 0.3) / 0.5, 0, 1)
    for name in ("open", "raise", "tongue", "dental"):
        track_TP[:, PARAMETERS.index(name)] *= 1 - closed_T
    return track_TP.astype(np.float32)
